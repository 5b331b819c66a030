"""What an act says against admitting its meter: checks in a list, each giving a coded ground or nothing. Pure.

Rule 1. The same list is run where the act is made, offline, and at the centre, which knows more of the registry.
Rule 2. A ground never changes a value. An act that is admitted in spite of one is refused by the centre.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

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


# What was found and what was expected, in English; collector/acts/words/ has the same names for those who sign.
SENTENCES: Mapping[str, str] = {
    "numbers": "over the wire {wire}, on the plate {plate}, in the registry {registry}",
    "days": "the days of the last and of the next verification are both needed",
    "overdue": "due by {due}, and it is {day}",
    "to-come": "verified on {verified}, which is still to come",
    "seal": "at least one seal that is set or intact is needed",
    "registers": "{tariffs} tariffs bill {wanted}; {lacking} not given by {profile}",
    "unread": "{register}: nobody read the display",
    "display": "{register}: the display says {display} kWh, the wire {wire} kWh",
    "point": "{register}: the display says {display} kWh, the wire {wire} kWh: is the decimal point right?",
    "check": "the check {check} says no",
    "clock": "the meter's clock is {offset} s from ours, at most {most} s are allowed; which of them is right?",
}


class Against(NamedTuple):
    """One ground; the name of what was found (in SENTENCES; "": nothing but the ground) and its facts."""

    ground: Ground
    name: str
    facts: Mapping[str, Any]

    @property
    def text(self) -> str:
        """What was found and what was expected, in English."""
        return SENTENCES[self.name].format(**self.facts) if self.name else ""


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
        facts = {"wire": numbers.wire, "plate": numbers.plate, "registry": numbers.registry}
        yield Against("serial-mismatch", "numbers", {side: number or "-" for side, number in facts.items()})


def _verification(act: Act, meter: Device) -> Iterable[Against]:
    due, day = meter.verify_by, act.made[:10]
    if act.kind not in ("commissioning", "replacement"):
        return
    if due is None or meter.verified is None:
        yield Against("verification-missing", "days", {})
    elif due <= day:
        yield Against(
            "verification-overdue", "overdue", {"due": date.fromisoformat(due), "day": date.fromisoformat(day)}
        )
    elif meter.verified > day:
        yield Against("verification-missing", "to-come", {"verified": date.fromisoformat(meter.verified)})


def _seal(act: Act, _meter: Device) -> Iterable[Against]:
    if act.kind in ("commissioning", "replacement", "sealing") and not any(seal.holds for seal in act.seals):
        yield Against("seal-missing", "seal", {})


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
        facts = {"wanted": ", ".join(wanted), "lacking": ", ".join(lacking), "profile": meter.profile}
        yield Against("register-count", "registers", {"tariffs": meter.tariffs, **facts})


def _display(act: Act, meter: Device) -> Iterable[Against]:
    if act.kind not in ("commissioning", "replacement", "control_reading", "reprogramming"):
        return
    wanted = billed(meter.tariffs)
    for it in act.readings:
        if it.wire_wh is None or (it.display is None and it.register_ not in wanted):
            continue
        if it.display is None:
            yield Against("display-mismatch", "unread", {"register": it.register_})
        elif why := display_fault(it.wire_wh, it.display, meter):
            facts = {"register": it.register_, "display": it.display, "wire": Decimal(it.wire_wh) / 1000}
            yield Against("display-mismatch", why, facts)


def _checks(act: Act, _meter: Device) -> Iterable[Against]:
    for name, good in act.checks.items():
        if good is False:
            yield Against(OF_CHECK[name], "check", {"check": name})


def _clock(_act: Act, meter: Device) -> Iterable[Against]:
    offset = meter.offset_s
    if meter.tariffs > 1 and offset is not None and abs(offset) > CLOCK_S:
        yield Against("clock", "clock", {"offset": f"{offset:+}", "most": CLOCK_S})


CHECKS: tuple[Callable[[Act, Device], Iterable[Against]], ...] = (
    _serial, _verification, _seal, _registers, _display, _checks, _clock,
)  # fmt: skip


def display_wh(display: str) -> Decimal:
    """What a display shows, in Wh."""
    return Decimal(display) * 1000


def display_fault(wire_wh: int, display: str, meter: Device) -> str | None:
    """Why what a person read does not go with what the meter sent, as a name of SENTENCES; None when it does.

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
            return "point"
    return "display"
