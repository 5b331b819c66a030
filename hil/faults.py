"""Faults of a line and of a meter: the one list of them, when they strike, and the layer that makes them.

The layer lies between the meter's side of a protocol and the wire; neither knows of it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from drivers.dialogue import Done, More, Never
from drivers.meter_side import Held, MeterSide, Reaction, Wiring
from hil.faults_inside import HONEST, INSIDE_FAULTS, AilingMeter, Ailment
from hil.faults_wire import WIRE_FAULTS, Answer, Spoiler, two_at_one_address, wrong_baud
from hil.household import Household
from hil.line import Millis
from hil.meter import VirtualMeter

NEVER = 1 << 62
ECHO = "echo"  # an adapter's, not a meter's: the wire makes it


def _name(function: Spoiler | Ailment) -> str:
    return function.__name__.replace("_", "-")


SPOILERS: Mapping[str, Spoiler] = {_name(function): function for function in WIRE_FAULTS}
AILMENTS: Mapping[str, Ailment] = {_name(function): function for function in INSIDE_FAULTS}
FAULTS: Mapping[str, str] = {
    ECHO: "The adapter hears what it sends: each request comes back before its answer.",
    **{name: (make.__doc__ or "").strip() for name, make in (*SPOILERS.items(), *AILMENTS.items())},
}  # name -> its line of documentation


@dataclass(frozen=True)
class Fault:
    """A fault and when it strikes: from `start` to before `end` (ms since 1970), and then a `share` of the answers.

    What is inside a meter has no share, and does not end.
    """

    name: str
    share: float = 1.0
    start: int = 0
    end: int = NEVER

    def is_on(self, millis: int) -> bool:
        return self.start <= millis < self.end


class Faulty:
    """A meter with faults, as a wire takes it. `struck` counts how often each one struck.

    `said`: what every meter of the wire said last, by address, where one of them has foreign answers.
    """

    def __init__(
        self, meter: VirtualMeter, faults: Sequence[Fault], clock: Millis, seed: int, said: dict[str, Reaction]
    ) -> None:
        self.struck: Counter[str] = Counter()
        self.faults = [fault for fault in faults if fault.name in SPOILERS]
        self.said = said
        self.clock = clock
        self.chance = random.Random(f"{seed} {meter.address} {meter.serial_number}")
        self.meter = ailing(meter, faults)

    @property
    def address(self) -> str:
        return self.meter.address

    def side(self, usual: Wiring) -> MeterSide:
        """Its side, with what is wrong with it before it."""
        return FaultySide(self, self.meter.wiring or usual)

    def held(self, millis: int) -> Held:
        return self.meter.held(millis)

    def now(self) -> list[Fault]:
        """The faults between it and the wire that may strike now."""
        millis = self.clock.millis()
        return [fault for fault in self.faults if fault.is_on(millis)]


def ailing(meter: VirtualMeter, faults: Sequence[Fault], *, honest: bool = False) -> VirtualMeter:
    """The meter with the faults inside it; `honest`: with those only that are no lie, so that what it holds is true.

    Raises ValueError where it cannot have such a fault.
    """
    found = tuple(
        (AILMENTS[fault.name], fault.start)
        for fault in faults
        if fault.name in AILMENTS and (not honest or AILMENTS[fault.name] in HONEST)
    )
    if not found:
        return meter
    ill = AilingMeter(**{it.name: getattr(meter, it.name) for it in fields(VirtualMeter)}, ailments=found)
    _ = ill.inside  # raises
    return ill


def on_one_wire(
    meters: Sequence[tuple[VirtualMeter, Sequence[Fault]]], clock: Millis, seed: int
) -> list[VirtualMeter | Faulty]:
    """The meters of a wire, each with its faults; those without stay as they are unless another one's answer is to
    come in the place of a neighbour's."""
    listens = any(fault.name == "foreign" for _, faults in meters for fault in faults)
    said: dict[str, Reaction] = {}
    return [Faulty(meter, faults, clock, seed, said) if faults or listens else meter for meter, faults in meters]


class FaultySide:
    """The side of a meter with faults between it and the wire."""

    def __init__(self, faulty: Faulty, wiring: Wiring) -> None:
        self._faulty, self._wiring = faulty, wiring
        self._side = faulty.meter.side(wiring)
        self._twin: MeterSide | None = None
        if any(fault.name == _name(two_at_one_address) for fault in faulty.faults):
            self._twin_meter = _twin(faulty.meter)
            self._twin = self._twin_meter.side(wiring)

    @property
    def framing(self) -> str:
        return self._side.framing

    @property
    def gap(self) -> float:
        return self._side.gap

    @property
    def wakes(self) -> float | None:
        return self._side.wakes

    def baudrate(self, now: float) -> int:
        """The one it was set to, by whom ever."""
        wrong = any(fault.name == _name(wrong_baud) for fault in self._faulty.now())
        return self._side.baudrate(now) // (2 if wrong else 1)

    def hear(self, held: Held, buffer: bytes, now: float) -> More | Done[Reaction] | Never:
        """As the side itself, and then the faults of this moment one after the other."""
        outcome = self._side.hear(held, buffer, now)
        twin: Reaction = ()
        if self._twin is not None:
            other = self._twin.hear(self._twin_meter.held(self._faulty.clock.millis()), buffer, now)
            twin = other.frame if isinstance(other, Done) else ()
        if not isinstance(outcome, Done) or not any(say.data for say in outcome.frame):
            return outcome
        return Done(self._spoiled(outcome.frame, buffer[: outcome.used], twin), outcome.used)

    def _spoiled(self, reaction: Reaction, heard: bytes, twin: Reaction) -> Reaction:
        faulty = self._faulty
        others = [said for address, said in faulty.said.items() if address != faulty.address]
        faulty.said[faulty.address] = reaction
        answer = Answer(reaction, heard, faulty.meter.profile, self._wiring, faulty.chance, others, twin)
        for fault in faulty.now():
            if faulty.chance.random() < fault.share and answer.reaction:
                faulty.struck[fault.name] += 1
                spoiled = SPOILERS[fault.name](answer)
                answer = replace(answer, reaction=tuple(say for say in spoiled if say.data))
        return answer.reaction


def _twin(meter: VirtualMeter) -> VirtualMeter:
    """Another meter of the same kind and address: other numbers."""
    own = meter.household
    household = Household.of_seed(2_000_003 + own.day_wh, max(own.calendar), own.offset_ms)
    serial = meter.serial_number
    return VirtualMeter(
        meter.profile, meter.address, household, serial and ("7" if serial[0] != "7" else "6") + serial[1:], meter.zone,
        wiring=meter.wiring,
    )  # fmt: skip
