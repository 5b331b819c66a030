"""A multi-drop wire of simulated meters on a pseudo terminal, which takes the time that the wire would take.

What the client writes is on the wire for its characters' time; the meter thinks for `turnaround`; its answer arrives
character by character (in pieces of a few milliseconds, as a serial adapter hands them over). A client whose speed is
not the wire's is heard by nobody.
"""

from __future__ import annotations

import os
import pty
import select
import termios
import threading
import time
import tty
from collections.abc import Sequence
from typing import Protocol

from drivers.dialogue import Done, Held, More, character_seconds
from drivers.profile import Profile
from drivers.table import driver

PIECE = 0.004  # seconds of answer handed over at once; USB serial adapters gather for 1 to 16 ms
SPEEDS = {getattr(termios, name): int(name[1:]) for name in dir(termios) if name[:1] == "B" and name[1:].isdigit()}


class Answering(Protocol):
    """A meter on the wire."""

    @property
    def profile(self) -> Profile: ...

    @property
    def address(self) -> str: ...

    def held(self, millis: int) -> Held: ...


class Millis(Protocol):
    """The part of a clock that the bench needs."""

    def millis(self) -> int: ...


class Wire:
    """One simulated wire. `path` is what a client opens; `mute` holds addresses that do not answer."""

    def __init__(
        self,
        meters: Sequence[Answering],
        clock: Millis,
        *,
        baudrate: int = 9600,
        framing: str = "8N1",
        turnaround: float = 0.005,
    ) -> None:
        self.meters = list(meters)
        self.mute: set[str] = set()
        self.turnaround = turnaround
        self._clock = clock
        self._baudrate = baudrate
        self._character = character_seconds(baudrate, framing)
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._stop_read, self._stop_write = os.pipe()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name=f"wire {self.path}", daemon=True)

    def __enter__(self) -> Wire:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        for end in (self._master, self._slave, self._stop_read, self._stop_write):
            os.close(end)
        if self._failed is not None:
            raise RuntimeError(f"the simulated wire {self.path} had ended by a bug") from self._failed

    def _live(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self._failed = error
            raise

    def _run(self) -> None:
        buffer = b""
        free = 0.0  # when the wire has carried everything that was written so far
        while True:
            # A request that stays incomplete for longer than any gap inside a frame was noise: forget it.
            patience = None if not buffer else max(0.05, free - time.monotonic() + 10 * self._character)
            ready, _, _ = select.select([self._master, self._stop_read], [], [], patience)
            if self._stop_read in ready:
                return
            if not ready:
                buffer = b""
                continue
            data = os.read(self._master, 4096)
            free = max(free, time.monotonic()) + len(data) * self._character
            if SPEEDS.get(termios.tcgetattr(self._slave)[4]) != self._baudrate:
                continue
            buffer, answer = self._hear(buffer + data)
            if answer:
                free = self._say(answer, free + self.turnaround)

    def _hear(self, buffer: bytes) -> tuple[bytes, bytes]:
        """What is left of the buffer, and the answer of whoever was asked (nothing: nobody, or not yet)."""
        now = self._clock.millis()
        used, waiting, answer = 0, False, b""
        for meter in self.meters:
            outcome = driver(meter.profile.protocol).answer(meter.profile, meter.address, meter.held(now), buffer)
            if isinstance(outcome, More):
                waiting = True
            elif isinstance(outcome, Done):
                used = max(used, outcome.used)
                if outcome.frame and meter.address not in self.mute:
                    answer = outcome.frame
        if answer:
            return buffer[used:], answer
        return (buffer if waiting else buffer[used:]), b""

    def _say(self, answer: bytes, start: float) -> float:
        """Put the answer on the wire from `start` on; returns when its last character has arrived."""
        piece = max(1, int(PIECE / self._character))
        for begin in range(0, len(answer), piece):
            end = min(begin + piece, len(answer))
            pause = start + end * self._character - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            os.write(self._master, answer[begin:end])
        return start + len(answer) * self._character
