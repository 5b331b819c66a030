"""What is checked of billed rows beyond the readings themselves: functions in two lists, which give doubts. Pure.

Rule 1. A check never changes a number. Level `hold` keeps the row from being ready, `warn` and `info` explain it.
Rule 2. Its sentence names what was found and what was expected; its code is that of IEC 61968-9, without the origin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from collector.central.case import Case, Stretch, kwh
from collector.central.edge_value import VALID, Doubt, wall

OVERFALL, UNCHECKED, DERIVED = "6.4", "6.0", "11.0"

# A check of one register: the case, its OBIS code, the meters through the period (one at least, the last with an end).
RowCheck = Callable[[Case, str, Sequence[Stretch]], Iterable[Doubt]]
# A check of a point with all its registers; it names the meter that it is about.
PointCheck = Callable[[Case, Mapping[str, Sequence[Stretch]]], Iterable[tuple[str, Doubt]]]


def backwards(case: Case, code: str, stretches: Sequence[Stretch]) -> Iterable[Doubt]:
    """A dial that ends below its start."""
    for segment, start, end in stretches:
        if start.units is not None and end.units is not None and end.time is not None and end.units < start.units:
            low, high = (kwh(bound.units, case.utility.decimals) for bound in (end, start))
            text = f"{code} of {segment.meter} ends with {low} kWh, below the {high} kWh that it started from"
            yield Doubt("backwards", "hold", OVERFALL, end.time, text)


def replaced(case: Case, code: str, stretches: Sequence[Stretch]) -> Iterable[Doubt]:
    """The sum over meters, spelled out: start and end of such a row are of different dials."""
    if len(stretches) < 2:
        return
    parts = []
    for segment, start, end in stretches:
        dials = (kwh(bound.units, case.utility.decimals) for bound in (start, end))
        low, high = ("?" if dial is None else f"{dial:f}" for dial in dials)
        parts.append(f"{segment.meter} from {low} to {high} kWh")
    at = stretches[-1].segment.from_ms
    text = f"the meter was replaced; {code}: {', then '.join(parts)}"
    yield Doubt("replaced", "info", VALID, case.closing.at if at is None else at, text)


def derived(case: Case, code: str, stretches: Sequence[Stretch]) -> Iterable[Doubt]:
    """A total that is no register of the meter."""
    meter = stretches[-1].segment.meter
    if code == "1.8.0" and case.devices[meter].summed:
        yield Doubt("derived", "info", DERIVED, case.closing.at, f"the total of {meter} is the sum of its tariffs")


def without_act(case: Case, _code: str, stretches: Sequence[Stretch]) -> Iterable[Doubt]:
    """A meter that no act hung, where the centre bills from acts only."""
    for stretch in stretches:
        if case.require_act and stretch.segment.from_ms is None:
            text = f"no admitted act opens the billing of {stretch.segment.meter}, and require_act is true"
            yield Doubt("no-act", "hold", UNCHECKED, case.closing.at, text)


def unproven(case: Case, _rows: Mapping[str, Sequence[Stretch]]) -> Iterable[tuple[str, Doubt]]:
    """A meter of which nothing but its address says that it is the right one."""
    for segment in case.segments:
        device = case.devices[segment.meter]
        if not device.proven:
            text = f"{device.profile} has no readable serial number: nothing shows that this is {segment.serial_number}"
            yield segment.meter, Doubt("unproven", "info", VALID, case.closing.at, text)


def split(case: Case, rows: Mapping[str, Sequence[Stretch]]) -> Iterable[tuple[str, Doubt]]:
    """Registers of one point that are not from one asking."""
    ends = {code: stretches[-1].end for code, stretches in rows.items() if stretches}
    times = {code: end.time for code, end in ends.items() if end.time is not None}
    if len(set(times.values())) > 1:
        shown = ", ".join(f"{code} at {wall(time, case.point.time_zone)}" for code, time in times.items())
        text = f"the registers are not from one asking: {shown}"
        yield case.segments[-1].meter, Doubt("split", "info", VALID, case.closing.at, text)


ROW_CHECKS: tuple[RowCheck, ...] = (backwards, replaced, derived, without_act)
POINT_CHECKS: tuple[PointCheck, ...] = (unproven, split)
