"""Faults inside a meter: what it counts, what its clock shows, what it froze, who it says that it is.

The first line of each docstring is its documentation; its name with hyphens is its name in bench.yaml. Each begins at
an instant (`since`) and stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, reduce
from typing import Any

from collector.localtime import from_millis, local_date, midnight, to_millis
from drivers.meter_side import Held
from hil.household import HOUR_MS, Household
from hil.meter import VirtualMeter

FALL = 5_000  # Wh that a register falls by: whole kWh, as a lost store does
JUMP_MS = 2 * HOUR_MS  # whole hours, so that the tariff hours move by whole hours too
SUMMER_MS = HOUR_MS


@dataclass(frozen=True)
class Inside:
    """A meter's inside as functions: registers (Wh) by instant, what its clock shows by instant, and so on.

    `own`, `passed`: as in `VirtualMeter`; `closed`: registers frozen when the clock showed that; `gone`: whether the
    registers are not available.
    """

    meter: VirtualMeter
    energy: Callable[[int], Mapping[str, int]]
    own: Callable[[int], int]
    passed: Callable[[int], int]
    closed: Callable[[int], Mapping[str, Any]]
    serial: Callable[[int], str | None]
    gone: Callable[[int], bool]

    @classmethod
    def of(cls, meter: VirtualMeter) -> Inside:
        """A healthy one."""
        return cls(
            meter, meter.energy, meter.own, meter.passed, meter.closed, lambda _: meter.serial_number, lambda _: False
        )

    def counting(self, energy: Callable[[int], Mapping[str, int]]) -> Inside:
        """The same with other registers, which it freezes too."""
        return replace(self, energy=energy, closed=lambda edge: energy(self.passed(edge)))


Ailment = Callable[[Inside, int], Inside]


def stuck(inside: Inside, since: int) -> Inside:
    """All energy registers stand still, whatever is used."""
    return inside.counting(lambda at: inside.energy(min(at, since)))


def backwards(inside: Inside, since: int) -> Inside:
    """All energy registers fall by 5 kWh once, and count on."""

    def energy(at: int) -> Mapping[str, int]:
        lost = FALL if at >= since else 0
        return {code: max(0, wh - lost) for code, wh in inside.energy(at).items()}

    return inside.counting(energy)


def reset(inside: Inside, since: int) -> Inside:
    """All energy registers begin again at zero."""

    def energy(at: int) -> Mapping[str, int]:
        held = inside.energy(at)
        lost: Mapping[str, int] = inside.energy(since) if at >= since else {}
        return {code: wh - lost.get(code, 0) for code, wh in held.items()}

    return inside.counting(energy)


def rollover(inside: Inside, since: int) -> Inside:
    """All energy registers are full, and begin again at zero as their dial does."""
    digits = inside.meter.profile.digits
    if digits is None:
        raise ValueError(f"{inside.meter.profile.id}: nobody knows how many digits its dial has")
    modulus = 1000 * 10**digits

    def energy(at: int) -> Mapping[str, int]:
        full = inside.energy(since)
        return {code: (wh - full[code]) % modulus for code, wh in inside.energy(at).items()}

    return inside.counting(energy)


def swap(inside: Inside, since: int) -> Inside:
    """Somebody hangs another meter in its place, with another serial number and other registers."""
    own = inside.meter
    drawn = Household.of_seed(
        1_000_003 + own.household.day_wh, max(own.household.calendar), own.household.offset_ms
    )  # as likely as any
    other = replace(own, household=drawn)

    def energy(at: int) -> Mapping[str, int]:
        return other.energy(at) if at >= since else inside.energy(at)

    def serial(at: int) -> str | None:
        known = inside.serial(at)
        return known if known is None or at < since else ("8" if known[0] == "9" else "9") + known[1:]

    return replace(inside.counting(energy), serial=serial)


def tariffs_swapped(inside: Inside, since: int) -> Inside:
    """What belongs to tariff 1 counts as tariff 2, and the other way round; the total is right."""

    def energy(at: int) -> Mapping[str, int]:
        held = dict(inside.energy(at))
        if at >= since:
            before = inside.energy(since)
            for group in ("1.8", "2.8", "15.8"):
                one, two = f"{group}.1", f"{group}.2"
                if one in held and two in held:
                    came = held[one] - before[one], held[two] - before[two]
                    held[one], held[two] = before[one] + came[1], before[two] + came[0]
        return held

    return inside.counting(energy)


def clock_jump(inside: Inside, since: int) -> Inside:
    """The clock jumps two hours ahead; tariffs and closings follow it."""
    return _ahead(inside, since, JUMP_MS)


def dst_error(inside: Inside, since: int) -> Inside:
    """The clock goes over to summer time where there is none, and is an hour ahead."""
    return _ahead(inside, since, SUMMER_MS)


def _ahead(inside: Inside, since: int, by: int) -> Inside:
    household = inside.meter.household
    hours = by // HOUR_MS
    early = replace(
        inside.meter, household=replace(household, calendar=household.calendar[hours:] + household.calendar[:hours])
    )

    def energy(at: int) -> Mapping[str, int]:
        held = inside.energy(at)
        if at < since:
            return held
        before, begun, now = inside.energy(since), early.energy(since), early.energy(at)
        return {code: before[code] + now[code] - begun[code] for code in held}

    def own(at: int) -> int:
        return inside.own(at) + (by if at >= since else 0)

    def passed(wall: int) -> int:
        usual = inside.passed(wall)
        return usual if usual < since else max(since, usual - by)

    ahead = replace(inside, own=own, passed=passed)
    return ahead.counting(energy)


def not_available(inside: Inside, since: int) -> Inside:
    """Energy is not available: NaN in a float, the marker in an integer, nothing in a readout, zeros where none is."""
    return replace(inside, gone=lambda at: at >= since or inside.gone(at))


def power_cut_freezing(inside: Inside, since: int) -> Inside:
    """The power fails while a month is frozen: every second register of the closing is of the month before."""
    meter = inside.meter

    def closed(edge: int) -> Mapping[str, Any]:
        registers = inside.closed(edge)
        if inside.passed(edge) < since:
            return registers
        last = local_date(from_millis(edge - HOUR_MS), meter.zone).replace(day=1)
        before = inside.closed(to_millis(midnight(last, meter.zone)))
        stale = set(sorted(registers)[1::2])
        return {code: before[code] if code in stale else wh for code, wh in registers.items()}

    return replace(inside, closed=closed)


INSIDE_FAULTS: tuple[Ailment, ...] = (
    swap, reset, rollover, backwards, stuck, not_available, clock_jump, dst_error, tariffs_swapped, power_cut_freezing,
)  # fmt: skip
HONEST: tuple[Ailment, ...] = (rollover,)  # the meter does what it should: what it shows is the truth


@dataclass(frozen=True)
class AilingMeter(VirtualMeter):
    """A virtual meter with faults inside, each with the instant from which on it has it."""

    ailments: tuple[tuple[Ailment, int], ...] = ()

    @cached_property
    def inside(self) -> Inside:
        healthy = VirtualMeter(**{it.name: getattr(self, it.name) for it in fields(VirtualMeter)})
        return reduce(lambda inside, ailment: ailment[0](inside, ailment[1]), self.ailments, Inside.of(healthy))

    def held(self, millis: int) -> Held:
        return replace(super().held(millis), serial_number=self.inside.serial(millis))

    def own(self, millis: int) -> int:
        return self.inside.own(millis)

    def passed(self, own: int) -> int:
        return self.inside.passed(own)

    def energy(self, millis: int) -> dict[str, int]:
        return {} if self.inside.gone(millis) else dict(self.inside.energy(millis))

    def closed(self, edge: int) -> Mapping[str, Any]:
        return self.inside.closed(edge)
