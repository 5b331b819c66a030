"""What is checked of billed rows beyond the readings themselves: functions in two lists, which give doubts. Pure.

The lists are the register of all monthly checks; those of consumption, of single askings and of tariff hours have files
of their own (usage_checks, asking_checks, tariff_hours).

Rule 1. A check never changes a number. Level `hold` keeps the row from being ready, `warn` and `info` explain it.
Rule 2. Its sentence names what was found and what was expected; its code is that of IEC 61968-9, without the origin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from collector.central.asking_checks import ASKING_CHECKS, Asking, offset
from collector.central.case import Case, Stretch, hangs_at_closing, kwh
from collector.central.edge_value import CLOCK, HOUR, NOTHING_SEEN, SUSPECT, VALID, Doubt, Kept, wall
from collector.central.tariff_hours import switched
from collector.central.usage_checks import too_much, unusual, zero

OVERFALL, OVERFLOW, UNCHECKED, DERIVED = "6.4", "4.1", "6.0", "11.0"
_DAY = 24 * HOUR
# Two looks at a clock that shows whole seconds measure its drift to a second in so many hours.
_APART = 20 * HOUR

# A check of one register: the case, its OBIS code, the meters through the period (one at least, the last with an end).
RowCheck = Callable[[Case, str, Sequence[Stretch]], Iterable[Doubt]]
# A check of a point with all its registers; it names the meter that it is about.
PointCheck = Callable[[Case, Mapping[str, Sequence[Stretch]]], Iterable[tuple[str, Doubt]]]


def backwards(case: Case, code: str, stretches: Sequence[Stretch]) -> Iterable[Doubt]:
    """A dial that ends below its start, and did not turn over."""
    for stretch in stretches:
        segment, start, end, turned, _, _ = stretch
        if start.units is None or end.units is None or end.time is None or end.units >= start.units:
            continue
        if not turned:
            low, high = (kwh(bound.units, case.utility.decimals) for bound in (end, start))
            named = f"{code} of {segment.meter or 'the point'}"
            text = f"{named} ends with {low} kWh, below the {high} kWh that it started from"
            yield Doubt("backwards", "hold", OVERFALL, end.time, text)


def rollover(case: Case, code: str, stretches: Sequence[Stretch]) -> Iterable[Doubt]:
    """A dial that began again from 0: the cause of an end below its start."""
    for stretch in stretches:
        if over := stretch.turned:
            start, end, whole = (kwh(n, case.utility.decimals) for n in (stretch.start.units, stretch.end.units, over))
            text = f"{code} of {stretch.segment.meter} turned over: from {start} kWh through {whole} kWh to {end} kWh"
            yield Doubt("rollover", "warn", OVERFLOW, stretch.end.time or case.closing.at, text)


def below_sent(case: Case, code: str, stretches: Sequence[Stretch]) -> Iterable[Doubt]:
    """A number below the last one that was sent: cut to fewer places since, or behind months that were not billed."""
    before, last = case.previous.get(code), stretches[-1]
    if before is None or before.sent is None:
        return
    end, now, sent = last.end, kwh(last.end.units, case.utility.decimals), before.sent
    if now is None or now >= sent.kwh or sent.meter != last.segment.meter or last.turned:
        return
    if last.start.units is not None and end.units is not None and end.units < last.start.units:
        return  # it went backwards, and that is said
    why = "to more decimals than now; accept it if the utility knows, or bill with those decimals again"
    if sent.period != before.period:
        why = "and no month since was billed: look at the dial, then accept or reject"
    text = f"{now} kWh is below the {sent.kwh} kWh that were sent for {sent.period}, {why}"
    yield Doubt("below-sent", "hold", OVERFALL, end.time or case.closing.at, text)


def replaced(case: Case, code: str, stretches: Sequence[Stretch]) -> Iterable[Doubt]:
    """The sum over meters, spelled out: start and end of such a row are of different dials."""
    if len(stretches) < 2:
        return
    parts = []
    for segment, start, end, _, _, ratio in stretches:
        dials = (kwh(bound.units, case.utility.decimals) for bound in (start, end))
        low, high = ("?" if dial is None else f"{dial:f}" for dial in dials)
        times = "" if ratio == case.point.ratio else f" x {ratio}"
        parts.append(f"{segment.meter} from {low} to {high} kWh{times}")
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
            text = (
                f"no admitted act opens the billing of {stretch.segment.meter or 'this point'}, and require_act is true"
            )
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


def strangers(case: Case, _rows: Mapping[str, Sequence[Stretch]]) -> Iterable[tuple[str, Doubt]]:
    """Near the edge another serial number answered in the place of a meter."""
    for meter, reasons in case.strangers.items():
        text = f"near the edge not {meter} answered: {reasons[0]}" + (
            f" (and {n} more)" if (n := len(reasons) - 1) else ""
        )
        yield meter, Doubt("serial", "hold", SUSPECT, case.closing.at, text)


def by_themselves(case: Case, rows: Mapping[str, Sequence[Stretch]]) -> Iterable[tuple[str, Doubt]]:
    """What each asking that proves a number of this month shows by itself."""
    looked: set[tuple[str, int]] = set()
    for stretches in rows.values():
        if not stretches:
            continue
        meter, proof = stretches[-1].segment.meter, stretches[-1].end.proof
        kept = _kept(case, meter, proof)
        if proof is None or kept is None or (meter, kept.snapshot["asked"]) in looked:
            continue
        asking = _asking(meter, proof, kept)
        looked.add((meter, asking.asked))
        for check in ASKING_CHECKS:
            for doubt in check(asking, case.devices[meter], case.utility.checks):
                yield meter, doubt


def _kept(case: Case, meter: str, proof: Mapping[str, Any] | None) -> Kept | None:
    """The first asking that gave a number, if its snapshot is kept."""
    askings = () if proof is None else proof.get("askings", ())
    if not askings or (asked := askings[0].get("asked")) is None:
        return None
    return case.at_closing[meter].askings[asked]


def _asking(meter: str, proof: Mapping[str, Any], kept: Kept) -> Asking:
    snapshot = kept.snapshot
    registers = snapshot.get("registers", {})
    if proof["method"] == "frozen":
        registers = snapshot.get("frozen", {}).get(proof["month"], {})
    took = max(0, snapshot.get("answered", snapshot["asked"]) - snapshot["asked"])
    return Asking(meter, snapshot["asked"], took, registers, snapshot.get("clock"), kept.zone)


def drift(case: Case, _rows: Mapping[str, Sequence[Stretch]]) -> Iterable[tuple[str, Doubt]]:
    """A clock that gains or loses more in a day than it may: the next edge will be off."""
    for segment in case.segments:
        clocks = case.at_closing.get(segment.meter, NOTHING_SEEN).clocks
        times = sorted(time for time in clocks if time <= case.closing.at + HOUR)
        if not times or times[-1] - times[0] < _APART:
            continue
        first, last = times[0], times[-1]
        offs = [offset(clocks[time][0], time, clocks[time][1]) for time in (first, last)]
        if offs[0] is None or offs[1] is None:
            continue
        a_day = (offs[1] - offs[0]) * _DAY // (last - first)
        # The clock shows whole seconds: what is less than two of them in a day is not seen.
        if abs(a_day) > case.utility.checks.drift * 1000 + 1000:
            text = (
                f"the clock of {segment.meter} went {a_day / 1000:+.0f} s in a day (at most "
                f"{case.utility.checks.drift} s are usual); set it, or have the meter looked at"
            )
            yield segment.meter, Doubt("drift", "warn", CLOCK, last, text)


def after_removal(case: Case, _rows: Mapping[str, Sequence[Stretch]]) -> Iterable[tuple[str, Doubt]]:
    """A meter that was taken down here and hangs nowhere else, and still answers, or still counts."""
    for segment in case.segments:
        if segment.to_ms is None or hangs_at_closing(segment, case.closing.at):
            continue
        live = case.at_closing.get(segment.meter, NOTHING_SEEN).live
        late = [(code, value) for code, values in live.items() for value in values if value.time > segment.to_ms]
        if not late:
            continue
        code, value = max(late, key=lambda item: item[1].time)
        final = (segment.final or {}).get(code)
        zone = case.point.time_zone
        down = wall(segment.to_ms, zone)
        text = f"{segment.meter} answered at {wall(value.time, zone)}, after it was taken down at {down}"
        if final is not None and value.value > final:
            text += (
                f", and {code} has gone on by {(value.value - final) / 1000:.3f} kWh since: nobody is billed for that"
            )
            yield segment.meter, Doubt("inactive", "warn", UNCHECKED, value.time, text)
        else:
            yield segment.meter, Doubt("after-removal", "info", UNCHECKED, value.time, text)


def ratio(case: Case, _rows: Mapping[str, Sequence[Stretch]]) -> Iterable[tuple[str, Doubt]]:
    """The registry's ratio is another than when the month began and no act says so, or another than the act's."""
    if not case.segments:
        return
    last, now = case.segments[-1], case.point.ratio
    hung_since = any((item.from_ms or 0) > case.opening.at for item in case.segments)
    if last.ratio is not None and last.ratio != now:
        text = f"the act that hung {last.meter} says ratio {last.ratio}, the registry {now}"
    elif case.was is None or case.was.ratio == now or hung_since:
        return
    else:
        text = f"the ratio was {case.was.ratio} when the month began and is {now}, and no act changed the meter"
    yield last.meter, Doubt("ratio", "hold", UNCHECKED, case.closing.at, text)


ROW_CHECKS: tuple[RowCheck, ...] = (
    backwards, rollover, below_sent, too_much, unusual, replaced, derived, without_act,
)  # fmt: skip
POINT_CHECKS: tuple[PointCheck, ...] = (
    unproven, strangers, split, by_themselves, drift, zero, switched, after_removal, ratio,
)  # fmt: skip
