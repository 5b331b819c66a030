"""What a gateway's spool file holds, how it is read, and how fast it grows. Nothing here takes anything away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from collector.durable.layout import Connection, Layout, Row, digest, proven

KEEP, INTERVAL, TOMBSTONE = 0, 1, 2  # kind
# state: waiting for its receipt, refused for good, deletable. SQLite stores 0 and 1 without a byte and others with one:
# as long as a row keeps its length, a change of state changes one page and not all those of its payload.
WAITING, PARKED, RECEIPTED = 2, 3, 4
KINDS = {"keep": KEEP, "interval": INTERVAL}
CLASSES = {KEEP: "keep", INTERVAL: "interval", TOMBSTONE: "interval"}

HOUR = 3_600_000  # milliseconds
DAY = 24 * HOUR
ROW = 200  # bytes of an entry beside its payload: columns, three index entries and their share of the pages, rounded up

# (spool, sequence, snapshots, first, last) -> the bytes that are sent in the place of what is lost.
Tombstone = Callable[[str, int, int, int, int], bytes]

# `at`: when it was appended. `snapshots`, `first`, `last`: what a tombstone has to say. `original`: the digest of the
# batch that a tombstone stands for. `parked`: the code of the last refusal. The second index answers every question
# about order and size without a look at the table, whose rows carry payload.
COLUMNS = (
    "spool", "sequence", "kind", "state", "at", "snapshots", "first", "last", "size", "original", "parked",
    "sha256", "payload",
)  # fmt: skip
SCHEMA = (
    """CREATE TABLE outbox (
        id INTEGER PRIMARY KEY, spool TEXT NOT NULL, sequence INTEGER NOT NULL, kind INTEGER NOT NULL,
        state INTEGER NOT NULL, at INTEGER NOT NULL, snapshots INTEGER NOT NULL, first INTEGER NOT NULL,
        last INTEGER NOT NULL, size INTEGER NOT NULL, original BLOB, parked TEXT,
        sha256 BLOB NOT NULL, payload BLOB NOT NULL)""",
    "CREATE UNIQUE INDEX outbox_key ON outbox (spool, sequence)",
    "CREATE INDEX outbox_order ON outbox (state, kind, id, size)",
)
MARKS = ", ".join("?" * len(COLUMNS))
INSERT = f"INSERT INTO outbox ({', '.join(COLUMNS)}) VALUES ({MARKS})"


class Entry(NamedTuple):
    """A batch as it was committed: its key, its class (`interval`, `keep`), its bytes and their digest (hex)."""

    spool: str
    sequence: int
    class_: str
    payload: bytes
    sha256: str


class EntryRow(NamedTuple):
    """What is known of an entry without its bytes; digests in hex."""

    id: int
    spool: str
    sequence: int
    kind: int
    state: int
    at: int
    snapshots: int
    first: int
    last: int
    size: int
    original: str | None
    sha256: str


_IN_HEX = {"sha256": "lower(hex(sha256))", "original": "nullif(lower(hex(original)), '')"}
FIND = f"SELECT {', '.join(_IN_HEX.get(name, name) for name in EntryRow._fields)} FROM outbox "


class OutboxState(NamedTuple):
    """What the file holds now.

    `next` is the next sequence number. `unreceipted` batches have no receipt: what a dying disk would take; `refused`
    of them are parked. `evicted` counts the snapshots that are lost, to make room or to damage. `fill` is the share of
    the room (0 to 1) that is taken by what nobody else holds; `days_left` how long the rest lasts, without receipts,
    at the pace of the last two days (None: not known yet). `only_keep_left`: an interval batch would not be taken now.
    `oldest`: when the oldest batch without a receipt was appended (milliseconds). `bytes`: those of the pages in use.
    """

    id: str
    next: int
    unreceipted: int
    refused: int
    evicted: int
    fill: float
    days_left: float | None
    damage: str | None
    only_keep_left: bool
    oldest: int | None = None
    bytes: int = 0


def find(connection: Connection, spool: str, sequence: int) -> EntryRow | None:
    """The entry with that key."""
    row = connection.execute(FIND + "WHERE spool = ? AND sequence = ?", (spool, sequence)).fetchone()
    return EntryRow(*row) if row else None


def next_sequence(connection: Connection, spool: str) -> int:
    """The number after the newest one."""
    return (
        int(connection.execute("SELECT ifnull(max(sequence), 0) FROM outbox WHERE spool = ?", (spool,)).fetchone()[0])
        + 1
    )


def waiting(
    connection: Connection, limit: int, skip: Collection[tuple[str, int]], settled: Collection[int]
) -> tuple[list[Entry], list[EntryRow]]:
    """At most `limit` entries in the order in which they are sent, and those whose bytes are not what was committed.

    Without the keys in `skip` and the row numbers in `settled`.
    """
    entries: list[Entry] = []
    torn: list[EntryRow] = []
    most = limit + len(skip) + len(settled)
    for kind, order in ((KEEP, "ASC"), (INTERVAL, "DESC"), (TOMBSTONE, "ASC")):
        sql = FIND + f"WHERE state = {WAITING} AND kind = ? ORDER BY id {order} LIMIT ?"
        for row in map(EntryRow._make, connection.execute(sql, (kind, most)).fetchall()):
            if len(entries) == limit:
                return entries, torn
            if row.id in settled or (row.spool, row.sequence) in skip:
                continue
            sha256, payload = connection.execute(
                "SELECT sha256, payload FROM outbox WHERE id = ?", (row.id,)
            ).fetchone()
            if proven(sha256, payload):
                entries.append(Entry(row.spool, row.sequence, CLASSES[kind], payload, row.sha256))
            else:
                torn.append(row)
    return entries, torn


def oldest(connection: Connection, state: int, kinds: Collection[int]) -> EntryRow | None:
    """The first that was appended of those in a state and of some kinds."""
    of_each = " UNION ALL ".join(
        f"SELECT min(id) AS id FROM outbox WHERE state = {state} AND kind = {kind}" for kind in kinds
    )
    row = connection.execute(f"{FIND} WHERE id = (SELECT min(id) FROM ({of_each}))").fetchone()
    return EntryRow(*row) if row else None


def oldest_at(connection: Connection, settled: Collection[int]) -> int | None:
    """When the first was appended that has no receipt (milliseconds), without the row numbers in `settled`."""
    marks = ", ".join("?" * len(settled))
    of_each = " UNION ALL ".join(
        f"SELECT min(id) AS id FROM outbox WHERE state = {state} AND kind = {kind} AND id NOT IN ({marks})"
        for state in (WAITING, PARKED)
        for kind in (KEEP, INTERVAL, TOMBSTONE)
    )
    row = connection.execute(
        f"SELECT at FROM outbox WHERE id = (SELECT min(id) FROM ({of_each}))", (*settled,) * 6
    ).fetchone()
    return int(row[0]) if row else None


def newest(connection: Connection) -> int:
    """The row number of the entry that was appended last."""
    return int(connection.execute("SELECT ifnull(max(id), 0) FROM outbox").fetchone()[0])


def held(connection: Connection) -> tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]]:
    """How many entries, and how many bytes, there are by (state, kind)."""
    counts: Counter[tuple[int, int]] = Counter()
    sizes: Counter[tuple[int, int]] = Counter()
    for state, kind, count, size in connection.execute(
        "SELECT state, kind, count(*), sum(size) FROM outbox GROUP BY 1, 2"
    ):
        counts[state, kind], sizes[state, kind] = count, size + count * ROW
    return counts, sizes


class Growth:
    """How many bytes are appended in a day, seen over the last two; by the hour, so that it stays small."""

    WINDOW = 48  # hours: long enough for a boundary, short enough to follow a change of the interval

    def __init__(self) -> None:
        self._hours: dict[int, int] = {}
        self._since: int | None = None

    def add(self, at: int, size: int) -> None:
        """Count `size` bytes that were appended at `at` (milliseconds)."""
        hour = at // HOUR
        self._hours[hour] = self._hours.get(hour, 0) + size
        self._since = at if self._since is None else min(self._since, at)
        for old in [kept for kept in self._hours if not hour - self.WINDOW < kept <= hour + self.WINDOW]:
            del self._hours[old]

    def per_day(self, now: int) -> float | None:
        """Bytes in a day; None before an hour has been seen, or when nothing came."""
        newest = now // HOUR
        seen = {hour: size for hour, size in self._hours.items() if newest - self.WINDOW < hour <= newest}
        if not seen or self._since is None:
            return None
        span = now - max(self._since, min(seen) * HOUR)
        return sum(seen.values()) * DAY / span if span >= HOUR else None


def count_lost(connection: Connection, snapshots: int) -> None:
    """Add to the number of snapshots that are lost (a negative number: they turned out not to be)."""
    connection.execute(
        "INSERT INTO about VALUES ('evicted', ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        (snapshots,),
    )


def layout(tombstone: Tombstone) -> Layout:
    """The gateway's file. `tombstone` makes what is sent in the place of a batch whose bytes are lost."""

    def torn(fresh: Connection, rowid: int, values: Row) -> None:
        row: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
        payload = tombstone(row["spool"], row["sequence"], row["snapshots"], row["first"], row["last"])
        if row["kind"] != TOMBSTONE:
            count_lost(fresh, row["snapshots"])
            row |= {"kind": TOMBSTONE, "original": row["sha256"]}
        row |= {"state": WAITING, "parked": None, "size": len(payload), "payload": payload, "sha256": digest(payload)}
        fresh.execute(
            f"INSERT OR IGNORE INTO outbox (id, {', '.join(COLUMNS)}) VALUES (?, {MARKS})", (rowid, *row.values())
        )

    return Layout(
        application=0x4D4C_4F31,  # "MLO1"
        table="outbox",
        columns=COLUMNS,
        key=2,
        schema=SCHEMA,
        fits=_fits,
        only_here=lambda values: values[3] != RECEIPTED,
        only_here_sql=f"state < {RECEIPTED}",
        torn=torn,
    )


def _fits(values: Row) -> bool:
    """The columns have the table's types and ranges."""
    spool, sequence, kind, state, *numbers, original, parked, sha256, payload = values
    return (
        isinstance(spool, str)
        and isinstance(sequence, int)
        and sequence > 0
        and kind in CLASSES
        and state in (WAITING, PARKED, RECEIPTED)
        and all(isinstance(number, int) for number in numbers)
        and isinstance(original, bytes | None)
        and isinstance(parked, str | None)
        and isinstance(sha256, bytes)
        and isinstance(payload, bytes)
    )
