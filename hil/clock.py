"""A clock that runs 1:1 and can be moved on: a demo steps from one due time to the next while nobody is busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

POLL = 0.005  # seconds of real time between two looks at a jump or an event; a demo has some ten waiting threads
CALM = 6  # looks in a row at which nobody may be busy before the clock moves


class SteppingClock:
    """Wall time that starts at `start` (milliseconds UTC), runs 1:1 and is moved on by `advance`."""

    def __init__(self, start: int) -> None:
        self._lock = threading.Lock()
        self._offset = start - self._real()
        self._busy = 0
        self._until: dict[int, int] = {}

    @staticmethod
    def _real() -> int:
        return time.monotonic_ns() // 1_000_000

    def millis(self) -> int:
        return self._real() + self._offset

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, until: int, wake: Event) -> bool:
        me = threading.get_ident()
        with self._lock:
            self._until[me] = until
        try:
            while self.millis() < until:
                if wake.wait(POLL):
                    return True
            return wake.is_set()
        finally:
            with self._lock:
                self._until.pop(me, None)

    @contextmanager
    def busy(self) -> Iterator[None]:
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def leap(self, to: int) -> None:
        """Set the clock to `to`, which must not be in its past; whatever was due in between is due now."""
        with self._lock:
            if to < self.millis():
                raise ValueError("a stepping clock does not go back")
            self._offset += to - self.millis()

    def advance(self, to: int, calm: Callable[[], bool], told: Callable[[int], None]) -> None:
        """Move on to `to`, from one waited-for instant to the next, each time after everybody has come to rest.

        `calm()` says whether work that no clock sees (messages under way) is done; `told(now)` is called at each step.
        """
        while (now := self.millis()) < to:
            told(now)
            looks = 0
            while looks < CALM:
                time.sleep(POLL)
                with self._lock:
                    at_rest = self._busy == 0 and bool(self._until) and min(self._until.values()) > self.millis()
                looks = looks + 1 if at_rest and calm() else 0
            with self._lock:
                due = min((until for until in self._until.values()), default=to)
                self._offset += max(0, min(due, to) - self.millis())
