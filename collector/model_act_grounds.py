"""What an act says against admitting its meter: checks in a list, each giving a coded ground or nothing. Pure.

Rule 1. The same list is run where the act is made, offline, and at the centre, which knows more of the registry.
Rule 2. A ground never changes a value. An act that is admitted in spite of one is refused by the centre.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from collector.model_act import Act, Device, Ground, Reading

_VOLTS = 253  # EN 50160, 4.2.2: the supply voltage is at most 230 V + 10 %
# A meter's clock further off than this tariffs wrongly (the usual limit at a monthly check, quality 1.9).
CLOCK_S = 300
# A check that says no, and the ground that it is.
OF_CHECK: dict[str, Ground] = {
    "serial": "serial-mismatch", "verifier_mark": "verifier-mark", "no_damage": "damage", "wiring": "wiring",
    "current_direction": "current-direction", "phase_order": "phase-order", "voltage": "voltage",
    "communication": "no-communication", "clock": "clock", "tariff_calendar": "tariff-calendar",
}  # fmt: skip


class Against(NamedTuple):
    """One ground and, in English, what was found and what was expected."""

    ground: Ground
    text: str


def billed(tariffs: int) -> tuple[str, ...]:
    """The registers that are billed at a point with so many tariffs (docs/contract.md, points.csv)."""
    return ("1.8.0",) if tariffs == 1 else tuple(f"1.8.{tariff}" for tariff in range(1, tariffs + 1))


def against(act: Act) -> list[Against]:
    """Everything that speaks against admitting the meter that hangs after this act; each ground once."""
    meter = act.meter
    if meter is None or act.kind in ("unsealing", "refusal"):
        return []
    found: dict[Ground, Against] = {}
    for check in CHECKS:
        for item in check(act, meter):
            found.setdefault(item.ground, item)
    return list(found.values())


def _serial(_act: Act, meter: Device) -> Iterable[Against]:
    numbers = meter.serial_number
    if not numbers.agree:
        text = f"over the wire {numbers.wire}, on the plate {numbers.plate}, in the registry {numbers.registry}"
        yield Against("serial-mismatch", text)


def _verification(act: Act, meter: Device) -> Iterable[Against]:
    due, day = meter.verify_by, act.made[:10]
    if act.kind not in ("commissioning", "replacement"):
        return
    if due is None or meter.verified is None:
        yield Against("verification-missing", "the days of the last and of the next verification are both needed")
    elif due <= day:
        yield Against("verification-overdue", f"due by {due}, and it is {day}")
    elif meter.verified > day:
        yield Against("verification-missing", f"verified on {meter.verified}, which is still to come")


def _seal(act: Act, _meter: Device) -> Iterable[Against]:
    if act.kind in ("commissioning", "replacement", "sealing") and not any(seal.holds for seal in act.seals):
        yield Against("seal-missing", "at least one seal that is set or intact is needed")


def _registers(act: Act, meter: Device) -> Iterable[Against]:
    if act.kind not in ("commissioning", "replacement", "control_reading", "reprogramming"):
        return
    yield from _lacking(meter, act.readings)


def _lacking(meter: Device, readings: Sequence[Reading]) -> Iterable[Against]:
    wanted = billed(meter.tariffs)
    # A meter that answers has its registers on the wire; a display alone may show what is no register of it.
    wired = {it.register_ for it in readings if it.wire_wh is not None}
    given = wired or {it.register_ for it in readings if it.display is not None}
    if lacking := [code for code in wanted if code not in given]:
        text = f"{meter.tariffs} tariffs bill {', '.join(wanted)}; {', '.join(lacking)} not given by {meter.profile}"
        yield Against("register-count", text)


def _display(act: Act, meter: Device) -> Iterable[Against]:
    if act.kind not in ("commissioning", "replacement", "control_reading", "reprogramming"):
        return
    wanted = billed(meter.tariffs)
    for it in act.readings:
        if it.wire_wh is None or (it.display is None and it.register_ not in wanted):
            continue
        if it.display is None:
            yield Against("display-mismatch", f"{it.register_}: nobody read the display")
        elif why := display_fault(it.wire_wh, it.display, meter):
            yield Against("display-mismatch", f"{it.register_}: {why}")


def _checks(act: Act, _meter: Device) -> Iterable[Against]:
    for name, good in act.checks.items():
        if good is False:
            yield Against(OF_CHECK[name], f"the check {name} says no")


def _clock(_act: Act, meter: Device) -> Iterable[Against]:
    offset = meter.offset_s
    if meter.tariffs > 1 and offset is not None and abs(offset) > CLOCK_S:
        text = f"the meter's clock is {offset:+} s from ours, at most {CLOCK_S} s are allowed; which of them is right?"
        yield Against("clock", text)


CHECKS: tuple[Callable[[Act, Device], Iterable[Against]], ...] = (
    _serial, _verification, _seal, _registers, _display, _checks, _clock,
)  # fmt: skip


def display_wh(display: str) -> Decimal:
    """What a display shows, in Wh."""
    return Decimal(display) * 1000


def display_fault(wire_wh: int, display: str, meter: Device) -> str | None:
    """Why what a person read does not go with what the meter sent; None when it does.

    A display cuts: it may show up to one unit of its last digit less. Between wire and eye a minute may pass, in which
    the meter counts at most what its largest current carries.
    """
    shown = display_wh(display)
    unit = Decimal(1000).scaleb(-len(display.partition(".")[2]))
    minute = Decimal((meter.max_current or 100) * _VOLTS * (meter.phases or 3)) / 60
    if abs(shown - wire_wh) <= unit + minute:
        return None
    for places in (-4, -3, -2, -1, 1, 2, 3, 4):
        if wire_wh > 1000 and abs(shown.scaleb(places) - wire_wh) <= unit.scaleb(places) + minute:
            return (
                f"the display says {display} kWh, the wire {Decimal(wire_wh) / 1000} kWh: is the decimal point right?"
            )
    return f"the display says {display} kWh, the wire {Decimal(wire_wh) / 1000} kWh"
