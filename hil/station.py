"""One meter on a simulated wire: what it has heard so far, and what it does on it."""

from __future__ import annotations

from typing import Protocol

from drivers.dialogue import Done, More
from drivers.meter_side import Held, MeterSide, Reaction, Wiring
from hil.characters import Setting, received


class Answering(Protocol):
    """A meter of the bench."""

    @property
    def address(self) -> str: ...

    def side(self, usual: Wiring) -> MeterSide:
        """A new meter's side on a wire; `usual` is how meters hang on it that do not say otherwise."""
        ...

    def held(self, millis: int) -> Held: ...


class Station:
    """A meter where it hangs. `now` is in seconds of a steady clock."""

    def __init__(self, meter: Answering, usual: Wiring) -> None:
        self.meter = meter
        self.side = meter.side(usual)
        self._buffer = b""
        self._heard = 0.0  # when the last character came

    def setting(self, now: float) -> Setting:
        """How it listens."""
        return Setting(self.side.baudrate(now), self.side.framing)

    def hear(self, data: bytes, sent: Setting, begun: float, now: float, millis: int) -> Reaction:
        """What it does on characters that were on the wire from `begun` to `now`."""
        if begun - self._heard > self.side.gap:
            self._buffer = b""
        self._heard = now
        self._buffer += received(data, sent, self.setting(now))
        return self.react(now, millis)

    def react(self, now: float, millis: int) -> Reaction:
        """What it does on what it has heard so far."""
        held = self.meter.held(millis)
        while True:
            outcome = self.side.hear(held, self._buffer, now)
            if isinstance(outcome, More):
                return ()
            if not isinstance(outcome, Done):
                self._buffer = b""
                return ()
            self._buffer = self._buffer[outcome.used :]
            if outcome.frame or not outcome.used or not self._buffer:
                return outcome.frame
