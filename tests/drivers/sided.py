"""A dialogue between a driver and the meter's side of any protocol, in simulated time, on a line that loses nothing."""

from __future__ import annotations

from typing import Any

from drivers.dialogue import (
    DamagedFrame,
    Dialogue,
    Done,
    Drain,
    DriverError,
    More,
    Never,
    NoAnswer,
    Pause,
    Receive,
    Send,
    SetLine,
    character_seconds,
)
from drivers.meter_side import Held, MeterSide

TURNAROUND = 0.005


class Sided:
    """One meter's side, and what is on its way from it."""

    def __init__(self, side: MeterSide, held: Held, baudrate: int) -> None:
        self._side, self._held, self._rate = side, held, baudrate
        self.now = 1000.0
        self._buffer = b""  # what the meter has heard
        self._coming = b""  # what it has said and nobody took
        self.sent = 0  # messages of ours

    def carry(self, dialogue: Dialogue[Any]) -> Any:
        """Carry out a dialogue to its end; its value, or the error that it raises."""
        back: Any = None
        trouble: DriverError | None = None
        while True:
            try:
                step = dialogue.throw(trouble) if trouble else dialogue.send(back)
            except StopIteration as end:
                return end.value
            back = trouble = None
            match step:
                case Send(data=data):
                    self._say(data)
                case SetLine(baudrate=baudrate):
                    self._rate = baudrate
                case Pause(seconds=seconds):
                    self._wait(self.now + seconds)
                case Drain(seconds=seconds):
                    self._wait(self.now + seconds)
                    self._coming = b""
                case Receive():
                    try:
                        back = self._hear(step)
                    except DriverError as error:
                        trouble = error

    def _say(self, data: bytes) -> None:
        self.sent += 1
        self.now += len(data) * character_seconds(self._rate, self._side.framing)
        if self._side.baudrate(self.now) == self._rate:
            self._buffer += data
            self._react()

    def _react(self) -> None:
        while True:
            match self._side.hear(self._held, self._buffer, self.now):
                case Done(frame=says, used=used):
                    self._buffer = self._buffer[used:]
                    for say in says:
                        self.now += TURNAROUND if say.pause is None else say.pause
                        self.now += len(say.data) * character_seconds(say.baudrate, self._side.framing)
                        self._coming += say.data  # our speed is asked when we listen: we switch while it thinks
                    if says or not used or not self._buffer:
                        return
                case _:
                    return

    def _wait(self, until: float) -> None:
        while self._side.wakes is not None and self._side.wakes <= until:
            self.now = max(self.now, self._side.wakes)
            self._react()
        self.now = max(self.now, until)

    def _hear(self, step: Receive) -> Any:
        deadline = self.now + step.first
        while True:
            outcome = step.parse(self._coming) if self._coming else More()
            match outcome:
                case Done(frame=frame, used=used):
                    self._coming = self._coming[used:]
                    return frame
                case Never(error=error):
                    self._coming = b""
                    raise error
            if self._side.wakes is None or self._side.wakes > deadline:
                self.now = deadline
                if self._coming:
                    text, self._coming = f"broken off: {self._coming!r}", b""
                    raise DamagedFrame(text)
                raise NoAnswer("simulated silence")
            before = self._coming
            self._wait(self._side.wakes)
            if self._coming == before:
                deadline = self.now
