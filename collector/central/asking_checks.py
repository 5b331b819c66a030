"""What a single asking of a meter shows by itself: functions in a list. Run at the door, and on what proves a bill.

Rule 1. A check looks at one asking, at the meter's profile and at the utility's thresholds, nothing else: it is judged
        alike whenever it is judged.
Rule 2. A finding never drops a value.
Rule 3. It asks every reading that comes in, and nearly all are sound: what is sound is told by the fewest steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import gcd
from typing import NamedTuple

from collector import localtime
from collector.central.case import Device
from collector.central.edge_value import CLOCK, HOUR, Doubt
from collector.central.thresholds import Checks
from drivers.obis import TARIFFS, TOTAL
from drivers.values import kilo

TARIFF_SUM, BEYOND = "6.9", "5.256"  # quality codes of IEC 61968-9, without the origin
# Kinds of time differ by half an hour at least (Lord Howe Island's summer): what is nearer than half of that is it.
_QUARTER = HOUR // 4


class Asking(NamedTuple):
    """One asking. `took`: ms from question to answer. `clock`: the meter's own naive text; `zone`: the gateway's."""

    meter: str
    asked: int
    took: int
    registers: Mapping[str, int]
    clock: str | None
    zone: str | None


AskingCheck = Callable[[Asking, Device, Checks], Sequence[Doubt]]


def clock_off(asking: Asking, _device: Device, checks: Checks) -> Sequence[Doubt]:
    """The meter's clock against ours. A meter may keep local time, standard time without summer, or UTC."""
    if asking.clock is None or asking.zone is None:
        return ()
    off = offset(asking.clock, asking.asked, asking.zone)
    if off is None:
        text = f"{asking.meter} gives its time as {asking.clock!r}, which is none"
    elif abs(off) > checks.clock:
        text = f"the clock of {asking.meter} shows {asking.clock}: it is {round(off / 1000):+d} s off"
    else:
        return ()
    return (Doubt("clock", "warn", CLOCK, asking.asked, text),)


def tariff_sum(asking: Asking, device: Device, _checks: Checks) -> Sequence[Doubt]:
    """T1 + ... + Tn against the total: at most n units of the last digit, and what was counted while it was asked."""
    registers = asking.registers
    total = registers.get(TOTAL)
    if total is None or device.summed:
        return ()
    tariffs = device.tariffs or _tariffs_of(registers)
    try:
        parts = [registers[code] for code in tariffs]
    except KeyError:  # a part of them proves nothing
        return ()
    added = sum(parts)
    if abs(added - total) <= len(parts) or not parts:  # a Wh each: no digit is smaller
        return ()
    # The last digit that the meter's own numbers show: a profile of many meters names the coarsest of them alone. And
    # registers that are floating-point numbers carry 24 bits: see Growth.most.
    digits = device.growth.last_digit
    of_parts = gcd(max(digits.get(code, 1) for code in tariffs), *parts)
    digit = max(total >> 22, of_parts, gcd(digits.get(TOTAL, 1), total))
    allowed = len(parts) * digit + device.growth.watt * asking.took // HOUR
    if abs(added - total) <= allowed:
        return ()
    text = (
        f"the {len(parts)} tariffs of {asking.meter} add up to {kilo(added)} kWh, its total is {kilo(total)} "
        f"kWh; they may differ by {kilo(allowed)} kWh"
    )
    return (Doubt("tariff-sum", "warn", TARIFF_SUM, asking.asked, text),)


def _tariffs_of(registers: Mapping[str, int]) -> tuple[str, ...]:
    """The tariffs of a meter whose profile lists none: those it gave, T1 to Tn. A single one may be one of several."""
    if TARIFFS[1] not in registers:
        return ()
    given = tuple(code for code in TARIFFS if code in registers)
    return given if given[-1] == TARIFFS[len(given) - 1] else ()


def beyond_dial(asking: Asking, device: Device, _checks: Checks) -> Sequence[Doubt]:
    """A number that the meter's dial cannot show."""
    modulus = device.growth.modulus
    if modulus is None or max(asking.registers.values(), default=0) < modulus:
        return ()
    return [
        Doubt(
            "beyond-dial", "warn", BEYOND, asking.asked,
            f"{code} of {asking.meter} is {kilo(value)} kWh; its dial goes up to {kilo(modulus - 1)} kWh",
        )
        for code, value in asking.registers.items()
        if code.startswith("1.8.") and value >= modulus
    ]  # fmt: skip


ASKING_CHECKS: tuple[AskingCheck, ...] = (clock_off, tariff_sum, beyond_dial)


@lru_cache(maxsize=1024)  # a close asks twice of one asking, in two checks
def offset(clock: str, asked: int, zone: str) -> int | None:
    """How far (ms) a meter's clock is off, by the kind of time that fits best; None for a text that is no time."""
    try:
        naive = datetime.fromisoformat(clock)
        there = localtime.zone(zone)
        now = localtime.from_millis(asked)
    except (ValueError, OverflowError):
        return None
    if naive.tzinfo is not None:
        return None
    local = now.astimezone(there)
    off = (naive - local.replace(tzinfo=None)) // timedelta(milliseconds=1)
    if abs(off) < _QUARTER:
        return off
    summer = local.dst() or timedelta(0)
    candidates = (
        local.replace(tzinfo=None),
        (local - summer).replace(tzinfo=None),
        now.astimezone(UTC).replace(tzinfo=None),
    )
    return min(((naive - wall) // timedelta(milliseconds=1) for wall in candidates), key=abs)
