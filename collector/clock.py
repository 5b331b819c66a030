"""Time as the daemons see it. Whatever waits asks a `Clock`, so that a demo can step from one due time to the next."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from threading import Event
from typing import Protocol

from collector.localtime import from_millis


class Clock(Protocol):
    """A source of time and the way to wait for it."""

    def millis(self) -> int:
        """Wall clock: milliseconds since 1970 UTC."""

    def monotonic(self) -> float:
        """Seconds that never jump, for timeouts on the wire. Always real time."""

    def wait(self, until: int, wake: Event) -> bool:
        """Wait until the wall clock shows `until` (milliseconds) or `wake` is set; True if it is set.

        Where the clock is set back meanwhile, it is over when it would have been over without that.
        """

    def busy(self) -> AbstractContextManager[object]:
        """While the context is open, time passes 1:1 (a line is working); a stepping clock may not jump."""


class SystemClock:
    """The computer's own clock."""

    # A sleep is cut into pieces so that a wall clock set forward is noticed within this many seconds.
    PIECE = 30.0

    def millis(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, until: int, wake: Event) -> bool:
        # No longer than it seemed at first: after a wall clock was set back by a day nobody sleeps for a day.
        end = self.monotonic() + (until - self.millis()) / 1000 + 0.001
        while not wake.is_set():
            left = min((until - self.millis()) / 1000, end - self.monotonic())
            if left <= 0:
                return False
            wake.wait(min(left, self.PIECE))
        return True

    def busy(self) -> AbstractContextManager[object]:
        return nullcontext()


def now(clock: Clock) -> datetime:
    """The clock's wall time as an aware UTC instant."""
    return from_millis(clock.millis()).astimezone(UTC)
