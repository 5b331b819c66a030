"""Keeps every reading until another has it: the gateway's Outbox, the centre's Inbox. ONLY THIS FILE DELETES A READING.

Rule 1. A batch is committed to the disk before anybody is told of it. Its bytes never change.
Rule 2. Its key is (spool, sequence). `spool` is made with the file, sequences begin at 1 and have no holes, and no key
        is given twice: the newest entry of a file stays, so that its number is remembered.
Rule 3. Only a receipt with the key and the digest of the bytes makes a batch deletable. It goes, oldest first, when
        space or age asks for it. Until then it can be sent again, to a centre that has lost it.
Rule 4. When that is not enough, un-receipted `interval` batches go, oldest first. Each leaves a tombstone under its
        key, which is sent in its place and keeps the digest of what it stands for. `keep` never goes.
Rule 5. When nothing may go any more, `interval` is refused (SpoolFull), and `keep` is still taken as long as the disk
        has room. On a full disk the file grows no further, for either class, and a ballast beside it is given up: its
        room is for the log, without which nothing could be deleted and no receipt be written.
Rule 6. The centre's batches go when every sink has answered and `keep` has passed since.
Rule 7. What a power cut may undo costs a repeat, never a reading: receipts are noted in RAM and written with the next
        change, since one that is forgotten brings the same batch, and the same receipt, once more.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Collection
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from collector import outbox
from collector.durable.ballast import Ballast
from collector.durable.file import DurableFile
from collector.durable.layout import (
    PAGE,
    Connect,
    Cursor,
    SpoolFull,
    SpoolUnusable,
    connect,
    digest,
    in_words,
    prepare,
    transaction,
)
from collector.inbox import InboxFile, InboxState, Incoming, Stored, Unreadable
from collector.outbox import (
    INTERVAL,
    KEEP,
    KINDS,
    PARKED,
    RECEIPTED,
    ROW,
    TOMBSTONE,
    WAITING,
    Entry,
    EntryRow,
    OutboxState,
)

__all__ = [
    "Entry", "Inbox", "InboxState", "Incoming", "Outbox", "OutboxState", "SpoolFull", "SpoolUnusable", "Stored",
    "Unreadable", "resend_beside",
]  # fmt: skip

T = TypeVar("T")
log = logging.getLogger(__name__)

NOTED = 64  # receipts in RAM at most: eight windows of the publisher to be sent again after a power cut
OLD_AT_ONCE = 16  # entries past `keep` that go with one append: more than it adds, and never a long transaction
REMEMBERED = 5_000  # entries that tell the pace at start: two days of a large gateway
SPARE = 16 * PAGE  # by which one append may grow the file beside its payload: three b-trees split a few pages each
TYPICAL = 16 << 10  # bytes of an interval batch: with less room than this, interval asking has to stop
PURGED_AT_ONCE = 500  # batches in one transaction of a purge, so that nobody waits long for the file
UNREADABLE_ROWS = 1_000  # with UNREADABLE_BYTES each at most 64 MiB: enough to see what is wrong, no way to fill a disk
UNREADABLE_BYTES = 64 << 10


class _Noted(NamedTuple):
    """A receipt in RAM: its entry, and how many snapshots turned out not to be lost."""

    row: EntryRow
    regained: int


class Outbox:
    """The gateway's spool. Every method may be called from any thread.

    `max_bytes` bounds the pages in use (the log beside the file adds about 1 MiB); `keep_ms` is how long a receipted
    batch stays. `tombstone` makes the bytes that are sent in the place of a batch that had to go. Every method raises
    SpoolUnusable when the disk refuses.
    """

    def __init__(
        self, path: Path, *, max_bytes: int, keep_ms: int, tombstone: outbox.Tombstone, connect: Connect = connect
    ) -> None:
        self._max_bytes, self._keep_ms, self._tombstone = max_bytes, keep_ms, tombstone
        self._noted: dict[int, _Noted] = {}  # by row number
        self._disk_full = False
        self._torn = 0
        self._ballast = Ballast(path.with_name(path.name + ".ballast"))
        self._file = DurableFile(path, outbox.layout(tombstone), connect, self._make_room)
        self._ballast.restore()
        self._growth = outbox.Growth()
        newest = "SELECT at, size FROM outbox ORDER BY id DESC LIMIT ?"
        for at, size in reversed(self._file.guarded(lambda: self._file.execute(newest, (REMEMBERED,)).fetchall())):
            self._growth.add(at, size + ROW)

    @property
    def id(self) -> str:
        """The spool id of what is appended now."""
        return self._file.guarded(self._id)

    @property
    def damage(self) -> str | None:
        """What was found damaged, in words; until the file that was set aside has been taken away."""
        return self._file.guarded(self._damage)

    def append(
        self, class_: str, encode: Callable[[str, int], bytes], *, count: int, first: int, last: int, now: int
    ) -> Entry:
        """Commit what `encode(spool, sequence)` gives: `count` snapshots asked from `first` to `last` (milliseconds).

        When it returns, a power cut loses nothing. `encode` may be called again with another key, and must not call the
        spool. Raises SpoolFull: for `interval` stop asking, for `keep` try again when there is room.
        """
        kind = KINDS[class_]

        def work() -> Entry:
            self._let_old_go(now)
            spool = self._id()
            sequence = outbox.next_sequence(self._file.connection, spool)
            payload = encode(spool, sequence)
            self._make_way(len(payload), kind)
            sha256 = digest(payload)
            columns = (spool, sequence, kind, WAITING, now, count, first, last, len(payload), None, None)
            self._file.execute(outbox.INSERT, (*columns, sha256, payload))
            return Entry(spool, sequence, class_, payload, sha256.hex())

        with self._file.lock:
            if not self._ballast.held and self._ballast.restore():
                self._disk_full = False
            entry = self._change(work)
            self._growth.add(now, len(entry.payload) + ROW)
            return entry

    def pending(self, limit: int, skip: Collection[tuple[str, int]] = ()) -> list[Entry]:
        """At most `limit` batches that wait for a receipt, without those in `skip`: keep before new before old.

        `keep` comes oldest first, `interval` newest first, tombstones last.
        """

        def look() -> tuple[list[Entry], list[EntryRow]]:
            return outbox.waiting(self._file.connection, limit, skip, self._noted)

        with self._file.lock:
            entries, torn = self._file.guarded(look)
            if torn:
                log.error("%d payloads do not have their digest any more; tombstones take their places", len(torn))
                self._torn += len(torn)
                self._change(lambda: self._bury_all(torn))
                entries, _ = self._file.guarded(look)
            return entries

    def settle(self, spool: str, sequence: int, sha256: str) -> bool:
        """The centre has stored it. False when no such batch with these bytes is known: it may have gone long ago."""
        with self._file.lock:
            row = self._find(spool, sequence)
            if row is None or sha256 not in (row.sha256, row.original):
                return False
            if row.state != RECEIPTED:
                self._note(row, original_arrived=sha256 == row.original)
            return True

    def park(self, spool: str, sequence: int, sha256: str, code: str) -> bool:
        """The centre refuses it for good: it stays, unsent, until `resend`. False as in `settle`, or when receipted.

        A `conflict` about a tombstone says that the centre holds the batch that the tombstone stands for: settled.
        """
        with self._file.lock:
            row = self._find(spool, sequence)
            if row is None or sha256 != row.sha256 or row.state == RECEIPTED or row.id in self._noted:
                return False
            if row.kind == TOMBSTONE and code == "conflict":
                log.info("spool %s, sequence %d: the centre holds the batch that was evicted here", spool, sequence)
                self._note(row, original_arrived=True)
            else:
                sql = "UPDATE outbox SET state = ?, parked = ? WHERE id = ?"
                self._change(lambda: self._file.execute(sql, (PARKED, code, row.id)))
            return True

    def resend(self, since: int | None = None) -> int:
        """Let every parked batch be sent again and, with `since`, each appended at or after it (milliseconds).

        For a centre that has lost what it had receipted: to one that has not, a repeat is a no-op. How many they are.
        """
        with self._file.lock:
            return self._change(lambda: _resend(self._file.execute, since))

    def state(self, now: int) -> OutboxState:
        """What the file holds at `now` (milliseconds)."""
        with self._file.lock:
            return self._file.guarded(lambda: self._state(now))

    def close(self) -> None:
        """Write the receipts that are only in RAM, and let go of the file."""
        with self._file.lock:
            with suppress(SpoolFull, SpoolUnusable):  # rule 7
                self._write_noted()
            self._noted.clear()
            self._file.close()

    def _id(self) -> str:
        return str(self._file.about("id"))

    def _damage(self) -> str | None:
        torn = f"{self._torn} payloads lost their bytes on the disk since the start" if self._torn else None
        return "; ".join(filter(None, (self._file.damage(), torn))) or None

    def _find(self, spool: str, sequence: int) -> EntryRow | None:
        return self._file.guarded(lambda: outbox.find(self._file.connection, spool, sequence))

    # ------------------------------------------------------------------------- changing

    def _change(self, work: Callable[[], T]) -> T:
        """One transaction that begins with the receipts in RAM (rule 7)."""

        def with_receipts() -> T:
            for noted in self._noted.values():
                self._file.execute("UPDATE outbox SET state = ? WHERE id = ?", (RECEIPTED, noted.row.id))
                if noted.regained:
                    outbox.count_lost(self._file.connection, -noted.regained)
            return work()

        result = self._file.transact(with_receipts)
        self._noted.clear()
        return result

    def _write_noted(self) -> None:
        if self._noted:
            self._change(lambda: None)

    def _note(self, row: EntryRow, *, original_arrived: bool) -> None:
        self._noted.setdefault(row.id, _Noted(row, row.snapshots if original_arrived else 0))
        if len(self._noted) >= NOTED:
            with suppress(SpoolFull):  # then they stay in RAM
                self._write_noted()

    def _let_old_go(self, now: int) -> None:
        """Receipted entries past `keep`, a few at a time."""
        for _ in range(OLD_AT_ONCE):
            row = self._oldest_receipted()
            if row is None or row.at >= now - self._keep_ms:
                return
            self._delete(row)

    def _make_way(self, size: int, kind: int) -> None:
        """Let entries go until `size` bytes fit (rules 3 to 5). Raises SpoolFull."""
        limit = self._limit()
        while self._file.live_bytes() + size + SPARE > limit:
            if self._let_one_go():
                continue
            if self._disk_full:
                raise SpoolFull(f"{self._file.path}: the disk is full, and of what stands there nothing may be deleted")
            if kind == INTERVAL:
                raise SpoolFull(
                    f"{self._file.path}: {limit} bytes are full of what nobody else holds yet; interval readings stop "
                    "until the centre has taken some. Check the connection to the broker"
                )
            return

    def _let_one_go(self) -> bool:
        if row := self._oldest_receipted():
            self._delete(row)
            return True
        waiting, parked = (outbox.oldest(self._file.connection, state, (INTERVAL,)) for state in (WAITING, PARKED))
        row = min(filter(None, (waiting, parked)), default=None)
        if row:
            self._bury(row)
        return row is not None

    def _oldest_receipted(self) -> EntryRow | None:
        """Of those that may be deleted: the newest entry of the file stays (rule 2)."""
        row = outbox.oldest(self._file.connection, RECEIPTED, (KEEP, INTERVAL, TOMBSTONE))
        return row if row and row.id < outbox.newest(self._file.connection) else None

    def _delete(self, row: EntryRow) -> None:
        self._file.execute("DELETE FROM outbox WHERE id = ?", (row.id,))

    def _bury_all(self, rows: list[EntryRow]) -> None:
        for row in rows:
            self._bury(row)

    def _bury(self, row: EntryRow) -> None:
        """Put a tombstone in the place of an entry; in the place of a tombstone, the same one again."""
        payload = self._tombstone(row.spool, row.sequence, row.snapshots, row.first, row.last)
        self._file.execute(
            "UPDATE outbox SET kind = ?, state = ?, original = ifnull(original, sha256), size = ?, sha256 = ?, "
            "payload = ? WHERE id = ?",
            (TOMBSTONE, WAITING, len(payload), digest(payload), payload, row.id),
        )
        if row.kind != TOMBSTONE:
            outbox.count_lost(self._file.connection, row.snapshots)

    def _limit(self) -> int:
        """Bytes that the pages in use may take. A full disk lets the file grow no further."""
        return min(self._max_bytes, self._file.file_bytes()) if self._disk_full else self._max_bytes

    def _make_room(self) -> bool:
        """The disk is full: give up the ballast, let the file grow no further. True if that is worth another try."""
        fresh_news, self._disk_full = not self._disk_full, True
        return self._ballast.give_up() or fresh_news

    def _state(self, now: int) -> OutboxState:
        counts, sizes = outbox.held(self._file.connection)
        for row, _regained in self._noted.values():
            counts[row.state, row.kind] -= 1
            sizes[row.state, row.kind] -= row.size + ROW
            sizes[RECEIPTED, KEEP] += row.size + ROW
        ours = sum(size for (state, _kind), size in sizes.items() if state != RECEIPTED)
        live, limit = self._file.live_bytes(), self._limit()
        taken = live * ours / sizes.total() if ours else 0.0
        per_day = self._growth.per_day(now)
        may_go = self._noted or counts[WAITING, INTERVAL] or counts[PARKED, INTERVAL] or self._oldest_receipted()
        spool = self._id()
        return OutboxState(
            id=spool,
            next=outbox.next_sequence(self._file.connection, spool),
            unreceipted=sum(count for (state, _kind), count in counts.items() if state != RECEIPTED),
            refused=sum(count for (state, _kind), count in counts.items() if state == PARKED),
            evicted=int(self._file.about("evicted") or 0),
            fill=round(min(1.0, taken / limit), 4),
            days_left=round(max(0.0, limit - taken) / per_day, 1) if per_day else None,
            damage=self._damage(),
            only_keep_left=not may_go and live + TYPICAL + SPARE > limit,
            oldest=outbox.oldest_at(self._file.connection, self._noted),
            bytes=live,
        )


def _resend(execute: Callable[..., Cursor], since: int | None) -> int:
    again, bound = f"state = {PARKED}", tuple[int, ...]()
    if since is not None:
        # Not a receipted tombstone: it stands for readings that nobody has, or that the centre had after all.
        again, bound = f"{again} OR (state = {RECEIPTED} AND kind != {TOMBSTONE} AND at >= ?)", (since,)
    (count,) = execute(f"SELECT count(*) FROM outbox WHERE {again}", bound).fetchone()
    execute(f"UPDATE outbox SET state = {WAITING} WHERE {again}", bound)
    return int(count)


def resend_beside(path: Path, since: int | None) -> int:
    """`Outbox.resend` from another process. Raises SpoolFull, SpoolUnusable.

    A gateway that runs beside it notices; but the receipts that it holds in RAM (rule 7) it will write all the same: of
    those that came last some may stay receipted. So a running one is better asked itself (`collector.control`).
    """
    if not path.exists():
        raise SpoolUnusable(f"{path} is not there; check spool.path in gateway.yaml")
    try:
        with closing(connect(path)) as connection, transaction(prepare(connection)):
            return _resend(connection.execute, since)
    except sqlite3.Error as error:
        raise in_words(error, path) from error


class Inbox(InboxFile):
    """The centre's spool: what `collector.inbox` stores and hands on, and what may go of it."""

    def purge(self, now: int) -> int:
        """Let go what was settled more than `keep` ago. The answer says how many batches."""
        old = f"SELECT id FROM inbox WHERE settled < ? ORDER BY settled LIMIT {PURGED_AT_ONCE}"
        gone = 0
        while ids := self._read(old, (now - self._keep_ms,)):
            self._change_each("DELETE FROM inbox WHERE id = ?", ids)
            gone += len(ids)
        return gone

    def keep_unreadable(self, topic: str, payload: bytes, reason: str, now: int) -> None:
        """Count a message without a readable key and keep its first 64 KiB, of the newest thousand such messages."""

        def work() -> None:
            self._file.execute(
                "INSERT INTO unreadable (at, topic, reason, size, payload) VALUES (?, ?, ?, ?, ?)",
                (now, topic, reason, len(payload), payload[:UNREADABLE_BYTES]),
            )
            self._file.execute(
                "DELETE FROM unreadable WHERE id <= (SELECT max(id) FROM unreadable) - ?", (UNREADABLE_ROWS,)
            )

        self._file.transact(work)
