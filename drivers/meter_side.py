"""The meter's side of a protocol: what a simulated meter holds, and how it behaves on its wire.

Rule 1. Pure, as all of `drivers`: no port, no clock. Seconds (`now`) come from any steady clock, what the meter holds
        comes with each call; only the state of a session is kept.
Rule 2. Characters are eight bits, as a port that is open for 8N1 sends and gets them: the side of a 7E1 meter finds the
        parity bit in bit 7 and puts it there itself.
Rule 3. `hear` has the three outcomes of a parser. It is called with all that came since it last said `Done` (and
        `used` of it is taken away), again at `wakes`, and in a loop until it says `More`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from drivers.dialogue import Done, More, Never


@dataclass(frozen=True, slots=True)
class HeldFrozen:
    """A closing in a simulated meter: when (the meter's own naive time), months back, and the registers then."""

    moment: datetime
    back: int
    registers: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Held:
    """What a simulated meter holds at one instant: the other side of `Readout`.

    `registers`: whole Wh (int) of energy codes, Decimal in the SI unit of the others; a code that is missing is
    answered with the meter's "not available" marker, or zero where it has none. `clock`: the meter's own, naive.
    """

    registers: Mapping[str, Any]
    serial_number: str | None = None
    clock: datetime | None = None
    frozen: tuple[HeldFrozen, ...] = ()


@dataclass(frozen=True, slots=True)
class Wiring:
    """How a simulated meter hangs on its wire: the speed and framing it waits with, its password if not the usual one.

    `tcp`: the port frames messages itself (Modbus TCP).
    """

    baudrate: int = 9600
    framing: str = "8N1"
    password: bytes | None = None
    tcp: bool = False


@dataclass(frozen=True, slots=True)
class Say:
    """Characters that a meter sends at `baudrate`, after `pause` seconds of silence (None: the bench's turnaround)."""

    data: bytes
    baudrate: int
    pause: float | None = None


Reaction = tuple[Say, ...]
"""What a meter does on what it heard, one after the other; empty: it stays silent."""


class MeterSide(Protocol):
    """One simulated meter, with the state of its session."""

    @property
    def framing(self) -> str:
        """How a port is opened that carries its characters: 8N1 for a 7E1 meter, whose side does parity itself."""
        ...

    @property
    def gap(self) -> float:
        """Seconds of silence inside a request after which what came of it is forgotten."""
        ...

    @property
    def wakes(self) -> float | None:
        """When `hear` is to be called though nothing came (a reaction of its own, a pushed readout); None: never."""
        ...

    def baudrate(self, now: float) -> int:
        """The speed it listens at: that of its session, or the one it waits with when the session timed out."""
        ...

    def hear(self, held: Held, buffer: bytes, now: float) -> More | Done[Reaction] | Never:
        """What it does on `buffer`. `More`: it waits for the rest. `Never`: by TCP, the connection is to be closed.

        Requests for others and rubbish are `Done` with an empty reaction. Raises ValueError where a held value does
        not fit the profile's register.
        """
        ...
