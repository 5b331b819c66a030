"""Snapshots between the wire and the spool: read, and not committed yet. None is dropped.

Rule 1. What was read is committed at the end of a pass, or a second and a half after its first snapshot.
Rule 2. A snapshot carries with it whether our clock could be trusted when it was asked; only like goes with like.
Rule 3. What the spool does not take (no room, a disk that fails) stays here and is tried again. While interval
        snapshots stay, no more of them are to be asked for; while too many of any kind stay, nothing is. So this does
        not grow without bounds, and what could not be read is still in the meter, not lost on its way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from collector.clock import Clock
from collector.model import BatchClass, Snapshot
from collector.spool import SpoolFull, SpoolUnusable

log = logging.getLogger(__name__)

# Commits snapshots of one class as one or more batches; the flag says whether our clock could be trusted for them.
# Raises SpoolFull or SpoolUnusable when nothing of them, or not all, could be stored.
Commit = Callable[[Sequence[Snapshot], bool], None]

# Seconds that a snapshot waits for the end of its pass. docs/contract.md, Custody, allows 2; half a second is left for
# the rest of the way, so that from a meter's answer to the point in InfluxDB it is less than 2 (docs/benchmarks.md).
AGE = 1.5
AGAIN = 60_000  # milliseconds between two tries on a full spool: receipts make room by the minute, not by the second

# Snapshots held in memory while the spool takes none: ten boundary passes of a full line, some 5 MB.
MOST = 1000

CLASSES: tuple[BatchClass, ...] = ("keep", "interval")  # what may not be lost goes first


class Pending:
    """What one line has read and not committed."""

    def __init__(self, line: str, commit: Commit, clock: Clock) -> None:
        self._line = line
        self._commit = commit
        self._clock = clock
        self._held: list[tuple[Snapshot, bool]] = []
        self._first: float | None = None  # when the oldest one came that has not been tried yet
        self._again: dict[BatchClass, int] = {}  # classes that the spool refuses, and when they are tried again

    @property
    def interval_stopped(self) -> bool:
        """Whether interval snapshots could not be committed: no more of them are to be asked for."""
        return "interval" in self._again

    @property
    def full(self) -> bool:
        """Whether nothing more is to be asked for."""
        return len(self._held) >= MOST

    @property
    def again(self) -> int | None:
        """When a refused commit is to be tried again (milliseconds since 1970); None when nothing was refused."""
        return min(self._again.values(), default=None)

    def __len__(self) -> int:
        return len(self._held)

    def add(self, snapshot: Snapshot, synced: bool) -> None:
        """Take a snapshot over."""
        self._held.append((snapshot, synced))
        if self._first is None:
            self._first = self._clock.monotonic()

    def commit_aged(self) -> None:
        """Commit if the oldest snapshot has waited long enough."""
        if self._first is not None and self._clock.monotonic() - self._first >= AGE:
            self.commit()

    def commit(self, *, last: bool = False) -> None:
        """Commit everything, also (`last`: nobody will come back) what was refused a moment ago."""
        self._first = None
        now = self._clock.millis()
        for kind in CLASSES:
            again = self._again.get(kind)
            if again is None or last or not now < again <= now + AGAIN:
                self._commit_class(kind, now)

    def _commit_class(self, kind: BatchClass, now: int) -> None:
        for synced in (True, False):
            group = [snapshot for snapshot, known in self._held if (snapshot.batch_class, known) == (kind, synced)]
            if not group:
                continue
            try:
                self._commit(group, synced)
            except (SpoolFull, SpoolUnusable) as error:
                if kind not in self._again:
                    log.error("line %s: %d %s snapshots wait for the spool: %s", self._line, len(group), kind, error)
                self._again[kind] = now + AGAIN
                return
            self._held = [item for item in self._held if (item[0].batch_class, item[1]) != (kind, synced)]
        if self._again.pop(kind, None) is not None:
            log.warning("line %s: the spool takes %s snapshots again", self._line, kind)
