"""Whether a thread still moves: it says at each step by when it will be back, and somebody else looks at the time.

The systemd watchdog is fed only while every thread keeps its word (`collector.watchdog`). A thread that hangs in a
driver of the kernel or waits for a lock for ever looks, from outside, like one that has nothing to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# Seconds. The longest that any of our threads is away at once, many times over: a receive waits at most a minute for
# the next character, a transaction 10 s for another process and then as long as a worn flash card stalls.
STEP = 300.0


class Pulse:
    """One thread's word. `name` is what the operator reads. Begun with the first `beat`; until then nothing is due."""

    def __init__(self, name: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._monotonic = monotonic
        self._back: float | None = None

    def beat(self, rest: float = 0.0) -> None:
        """The thread moves; the next beat comes after at most `rest` seconds of sleep and one step."""
        self._back = self._monotonic() + max(0.0, rest) + STEP

    def end(self) -> None:
        """The thread has ended as it should."""
        self._back = None

    @property
    def late(self) -> float:
        """Seconds by which the thread has broken its word; 0 while it keeps it."""
        return 0.0 if self._back is None else max(0.0, self._monotonic() - self._back)
