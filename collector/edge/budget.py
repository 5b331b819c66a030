"""The silent meters' budget: which share of a line's time those may have that did not answer lately, and who is next.

Rule 1. In any stretch of time the silent meters of a line have at most `share` of it, plus one asking that was under
        way, plus what they had left unused before (at most `SAVED` worth).
Rule 2. Only silence costs. A meter that answers again is asked at once and in whole; it is no silent one any more.
Rule 3. Pauses between the askings of one meter double. A boundary snapshot that is owed goes first, and is tried more
        often the nearer the end of its window comes.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

from collector.edge.schedule import growing

# Milliseconds of line time whose share may be saved up: at 5 % it is worth 30 s, some thirty probes of half a second's
# time-out at the next tick, and the neighbours' next reading never waits longer than one of them.
SAVED = 600_000

# Pauses of one silent meter, milliseconds. Ten seconds: a brown-out or a meter's restart takes a few. Ten minutes: less
# than the usual interval of 15, so that a meter which is back loses one reading at the most.
PAUSE_FIRST, PAUSE_MOST = 10_000, 600_000

# A boundary snapshot that is owed is tried at least so often in the time that its window has left.
TRIES_LEFT = 8


@dataclass(frozen=True, slots=True)
class Silence:
    """A meter that does not answer: since when, how many askings were in vain, the last one's instant, the next's."""

    since: int
    times: int
    last: int
    next: int

    def hastened(self, now: int) -> Silence:
        """The same without the rest of its pause."""
        return replace(self, next=min(self.next, now))

    def stepped_back(self, now: int) -> Silence:
        """The same when our clock went back to `now`."""
        return replace(self, last=min(self.last, now), next=min(self.next, now + PAUSE_MOST))


def fell_silent(before: Silence | None, now: int, until: int | None = None) -> Silence:
    """A meter that was asked in vain until `now`; `until`: the end of the window in which its boundary is owed."""
    times = before.times if before else 0
    pause = growing(times, PAUSE_FIRST, PAUSE_MOST)
    if until is not None:
        pause = min(pause, max(PAUSE_FIRST, (until - now) // TRIES_LEFT))
    return Silence(before.since if before else now, times + 1, now, now + pause)


class SilentBudget:
    """Line time that may be spent on silence. Times are milliseconds of the wall clock, spendings seconds."""

    def __init__(self, share: float, now: int) -> None:
        self.share = share
        self._balance = 0.0  # milliseconds that may be spent; below zero: what must be earned first
        self._seen = self._began = now
        self._spent: deque[tuple[int, float]] = deque()

    def allows(self, now: int) -> bool:
        """Whether a silent meter may be asked now."""
        self._earn(now)
        return self.share > 0 and self._balance >= 0

    def opens_at(self, now: int) -> int | None:
        """The first instant, `now` or later, at which one may be asked; None for a share of nothing: never."""
        if self.allows(now):
            return now
        return None if self.share <= 0 else now + math.ceil(-self._balance / self.share) + 1

    def spend(self, seconds: float, now: int) -> None:
        """A silent meter took `seconds` of the line until `now`."""
        self._earn(now)
        self._balance -= 1000 * seconds
        self._spent.append((now, 1000 * seconds))
        while self._spent[0][0] <= now - SAVED:
            self._spent.popleft()

    def used(self, now: int) -> float:
        """The share that the silent meters had of the last ten minutes. Any thread."""
        spent = tuple(self._spent)  # at once: the line's thread goes on spending
        recent = sum(cost for at, cost in spent if at > now - SAVED)
        return min(1.0, recent / min(SAVED, max(now - self._began, 1)))

    def _earn(self, now: int) -> None:
        # A clock that jumps gives no more than can be saved; one that goes back gives nothing and voids its records.
        elapsed = max(0, now - self._seen)
        if now < self._seen:
            self._began = now
            self._spent.clear()
        self._seen = now
        self._balance = min(self._balance + elapsed * self.share, SAVED * self.share)
