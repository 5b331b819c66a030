"""What the centre's spool file holds: what comes in, what is handed on, its state. Nothing here takes anything away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from collector.durable.file import DurableFile
from collector.durable.layout import Connect, Connection, Layout, Row, connect, digest

Kind = Literal["readings", "acts"]
Outcome = Literal["stored", "repeat", "conflict"]

# `settled` before it is: the last time that takes the same six bytes as any of our days, so that a row keeps its length
# when it is settled, and only one page of it is written again.
NEVER = (1 << 47) - 1

COLUMNS = ("gateway", "spool", "sequence", "kind", "received", "settled", "sha256", "payload")
SCHEMA = (
    """CREATE TABLE inbox (
        id INTEGER PRIMARY KEY, gateway TEXT NOT NULL, spool TEXT NOT NULL, sequence INTEGER NOT NULL,
        kind TEXT NOT NULL, received INTEGER NOT NULL, settled INTEGER NOT NULL, sha256 BLOB NOT NULL,
        payload BLOB NOT NULL)""",
    "CREATE UNIQUE INDEX inbox_key ON inbox (gateway, spool, sequence)",
    "CREATE INDEX inbox_settled ON inbox (settled, kind)",
    """CREATE TABLE unreadable (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, topic TEXT NOT NULL, reason TEXT NOT NULL,
        size INTEGER NOT NULL, payload BLOB NOT NULL)""",
)
INSERT = f"INSERT INTO inbox ({', '.join(COLUMNS)}) VALUES (?, ?, ?, ?, ?, {NEVER}, ?, ?)"


class Incoming(NamedTuple):
    """A batch with a readable key, as it came."""

    gateway: str
    spool: str
    sequence: int
    kind: Kind
    payload: bytes


class Stored(NamedTuple):
    """A batch in the file. `id` grows in the order of arrival; `sha256` is in hex, `received` in milliseconds."""

    id: int
    gateway: str
    spool: str
    sequence: int
    payload: bytes
    sha256: str
    received: int
    kind: Kind


class Unreadable(NamedTuple):
    """A message without a readable key: when it came (milliseconds), its size, and its first 64 KiB."""

    at: int
    topic: str
    reason: str
    size: int
    payload: bytes


class InboxState(NamedTuple):
    """What the file holds now.

    `unsettled` batches wait for their sinks (the oldest since `oldest`, milliseconds): what a dying disk would take.
    `bytes` are those of the pages in use; `unreadable` counts every message without a readable key so far.
    """

    unsettled: int
    oldest: int | None
    bytes: int
    unreadable: int
    damage: str | None


def _fits(values: Row) -> bool:
    """The columns have the table's types and ranges."""
    gateway, spool, sequence, kind, received, settled, sha256, payload = values
    return (
        isinstance(gateway, str)
        and isinstance(spool, str)
        and isinstance(sha256, bytes)
        and isinstance(sequence, int)
        and sequence > 0
        and kind in ("readings", "acts")
        and isinstance(received, int)
        and isinstance(settled, int)
        and isinstance(payload, bytes)
    )


def _nothing_to_say(_fresh: Connection, _rowid: int, _values: Row) -> None:
    """The gateway has its receipt: the count in `damage` is all there is."""


LAYOUT = Layout(
    application=0x4D4C_4931,  # "MLI1"
    table="inbox",
    columns=COLUMNS,
    key=3,
    schema=SCHEMA,
    fits=_fits,
    only_here=lambda values: values[5] == NEVER,
    only_here_sql=f"settled = {NEVER}",
    torn=_nothing_to_say,
)


class InboxFile:
    """The centre's spool without what may go of it (`collector.spool`). Every method may be called from any thread.

    `keep_ms` is how long a settled batch stays, for rebuilding the series. Every method raises SpoolFull when the disk
    is full (nothing was stored: no receipt may go out), SpoolUnusable when it refuses.
    """

    def __init__(self, path: Path, *, keep_ms: int, connect: Connect = connect) -> None:
        self._keep_ms = keep_ms
        self._file = DurableFile(path, LAYOUT, connect, lambda: False)

    def put(self, rows: Sequence[Incoming], now: int) -> list[Outcome]:
        """Commit what is new, as one. The same key with the same bytes is a repeat, with other bytes a conflict."""

        def work() -> list[Outcome]:
            return [self._put(row, now) for row in rows]

        return self._file.transact(work)

    def _put(self, row: Incoming, now: int) -> Outcome:
        sha256 = digest(row.payload)
        known = self._file.execute(
            "SELECT sha256 FROM inbox WHERE gateway = ? AND spool = ? AND sequence = ?", row[:3]
        ).fetchone()
        if known:
            return "repeat" if known[0] == sha256 else "conflict"
        self._file.execute(INSERT, (*row[:4], now, sha256, row.payload))
        return "stored"

    def unreadable(self, limit: int) -> list[Unreadable]:
        """The newest of them, newest first."""
        sql = "SELECT at, topic, reason, size, payload FROM unreadable ORDER BY id DESC LIMIT ?"
        return [Unreadable(*row) for row in self._read(sql, (limit,))]

    def unsettled(self, kind: Kind, limit: int) -> list[Stored]:
        """The oldest batches of one kind that wait for their sinks, in the order of their arrival."""
        return self._stored("WHERE settled = ? AND kind = ? ORDER BY id LIMIT ?", (NEVER, kind, limit))

    def unsettled_of(self, keys: Sequence[tuple[str, str, int]]) -> list[Stored]:
        """Those of these batches (gateway, spool, sequence) that wait for their sinks."""
        where = "WHERE gateway = ? AND spool = ? AND sequence = ? AND settled = ?"
        return [stored for key in keys for stored in self._stored(where, (*key, NEVER))]

    def settle(self, ids: Sequence[int], now: int) -> None:
        """Every sink has answered for these. Settled ones keep their first time."""
        self._change_each(
            "UPDATE inbox SET settled = ? WHERE id = ? AND settled = ?", [(now, number, NEVER) for number in ids]
        )

    def replay(self, after_id: int, limit: int) -> list[Stored]:
        """Batches behind that row number, settled or not, in the order of their arrival."""
        return self._stored("WHERE id > ? ORDER BY id LIMIT ?", (after_id, limit))

    def state(self) -> InboxState:
        """What the file holds now."""
        waiting = self._read("SELECT count(*), min(id) FROM inbox WHERE settled = ? GROUP BY kind", (NEVER,))
        oldest = [self._read("SELECT received FROM inbox WHERE id = ?", (first,))[0][0] for _count, first in waiting]
        (counted,) = self._read("SELECT ifnull(max(id), 0) FROM unreadable")
        return InboxState(
            unsettled=sum(count for count, _first in waiting),
            oldest=min(oldest, default=None),
            bytes=self._file.guarded(self._file.live_bytes),
            unreadable=counted[0],
            damage=self._file.guarded(self._file.damage),
        )

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _stored(self, where: str, parameters: tuple[object, ...]) -> list[Stored]:
        sql = f"SELECT id, gateway, spool, sequence, payload, lower(hex(sha256)), received, kind FROM inbox {where}"
        return [Stored(*row) for row in self._read(sql, parameters)]

    def _change_each(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        self._file.transact(lambda: self._file.connection.executemany(sql, rows))

    def _read(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        return self._file.guarded(lambda: self._file.execute(sql, parameters).fetchall())
