"""The two ends of a meter's part of a period: the ledger's number, the value at the edge, an act, a person. Pure.

Rule 1. The end is the first of: the meter's frozen value, its live value, a reading by hand, nothing. An estimate comes
        only after everything else was looked at, and only where the utility says so.
Rule 2. The start is the number that the month before was billed with; else the value at that edge by Rule 1.
Rule 3. A meter that was hung or taken down inside the period begins or ends with its act.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from collector.central.case import (
    EXACT,
    UNIT,
    Bound,
    Case,
    Entered,
    Previous,
    Stretch,
    hangs_at_closing,
    hangs_at_opening,
    kwh,
)
from collector.central.edge_value import AFTER, BEFORE, NOTHING_SEEN, SUSPECT, VALID, Dial, Doubt, Seen, value_at, wall
from collector.central.estimation import NO_MONTHS, estimate, in_a_row
from collector.central.monthly_checks import UNCHECKED
from collector.central.registry import Segment
from collector.central.store.series import TimedValue
from collector.localtime import rfc3339
from collector.model import Finding
from drivers.values import kilo

MANUAL, MISSING, ESTIMATED = "4.131", "5.259", "8.0"  # quality codes of IEC 61968-9, without the origin
_BILLED = ("ready", "estimated")  # what was sent to the utility, so that the next month begins there


class _Act(NamedTuple):
    """An act that hung or took down a meter: when, its readings, its words, and what it means where one is lacking."""

    time: int
    readings: Mapping[str, int] | None
    done: str
    which: str
    lacking: str
    quality: str


def end_of(case: Case, segment: Segment, code: str) -> Bound:
    """Where the meter's part of the period ends."""
    if not hangs_at_closing(segment, case.closing.at):
        assert segment.to_ms is not None  # else it hangs there still
        act = _Act(segment.to_ms, segment.final, "took down", "final", "no-final", MISSING)
        return _by_act(case, segment, code, act)
    seen = case.at_closing.get(segment.meter, NOTHING_SEEN)
    value = value_at(case.closing, _dial(case, segment, code), seen)
    if value is not None:
        return Bound(_cut(case, value.wh), value.time, value.method, value.proof, value.doubts)
    entered = case.entered_at_closing.get(code)
    if entered is not None and entered.meter == segment.meter:
        return _by_hand(case, segment, seen, entered)
    return _missing(case, segment, code)


def start_of(case: Case, segment: Segment, code: str) -> Bound:
    """Where the meter's part of the period begins."""
    opening = case.opening.at
    if not hangs_at_opening(segment, opening):
        assert segment.from_ms is not None  # else it hung there since ever
        act = _Act(segment.from_ms, segment.initial, "hung", "initial", "no-start", UNCHECKED)
        return _by_act(case, segment, code, act)
    before = case.previous.get(code)
    if before is not None and before.status in _BILLED and before.meter == segment.meter:
        return _from_ledger(case, before)
    if before is not None and before.rejected:
        return _no_start(case, f"the value of {segment.meter or 'the point'} at the start of the period was rejected")
    seen = case.at_opening.get(segment.meter, NOTHING_SEEN)
    value = value_at(case.opening, _dial(case, segment, code), seen)
    if value is not None:
        # What explains the value was said when the month before was closed; what makes it doubtful holds this one too.
        held = (doubt._replace(text=f"start: {doubt.text}") for doubt in value.doubts if doubt.level == "hold")
        return Bound(_cut(case, value.wh), value.time, value.method, value.proof, tuple(held))
    entered = case.entered_at_opening.get(code)
    if entered is not None and entered.meter == segment.meter:
        return _by_hand(case, segment, seen, entered)
    named = segment.meter or "the point"
    return _no_start(case, f"{named} has no value at the start of the period, {wall(opening, case.point.time_zone)}")


def no_meter(case: Case) -> Bound:
    """What a point ends with at which nothing hangs."""
    text = "no meter hangs at this point: it is read by hand, and no reading was entered"
    return Bound(None, None, "", None, (Doubt("missing", "hold", MISSING, case.closing.at, text),))


def told_instead(case: Case, code: str, stretches: Sequence[Stretch]) -> Bound | None:
    """The reading by hand that takes the place of what the meter itself gave, where a person has taken that back."""
    entered = case.entered_at_closing.get(code)
    if entered is None or not stretches or stretches[-1].end.method not in ("frozen", "live"):
        return None
    segment = stretches[-1].segment
    return _by_hand(case, segment, NOTHING_SEEN, entered) if entered.meter == segment.meter else None


def estimated_end(case: Case, code: str, stretch: Stretch, findings: Iterable[Finding]) -> Bound | None:
    """What the utility's cascade gives; None where it gives nothing, or there is no start to count from."""
    rule, start = case.utility.estimation, stretch.start
    if rule is None or start.units is None or any(item.check == "no-final" for item in findings):
        return None
    before = case.previous.get(code)
    zone = case.point.time_zone
    months = before.months if before else NO_MONTHS
    guess = estimate(rule, code, case.period, months, lambda month: case.utility.edge_of(month, zone).at)
    if guess is None:
        return None
    advance = int(EXACT.divide(guess.kwh, case.point.ratio).scaleb(case.utility.decimals, EXACT))
    shown = EXACT.quantize(guess.kwh, Decimal("0.001"))
    made_of = "; ".join(f"{item['step']}: {item.get('inputs', item)}" for item in guess.tried)
    text = f"estimated by {guess.step}: {shown.normalize():f} kWh ({made_of})"
    proof = {"method": "estimated", "step": guess.step, "kwh": f"{guess.kwh:f}", "tried": list(guess.tried)}
    doubts = [Doubt("estimated", "info", ESTIMATED, case.closing.at, text)]
    count = 1 + in_a_row(months, case.period)
    if count > case.utility.checks.estimated:
        text = f"nobody has read it for {count} months; at most {case.utility.checks.estimated} may be in a row"
        doubts.append(Doubt("estimated-often", "warn", ESTIMATED, case.closing.at, text))
    return Bound(start.units + advance, case.closing.at, "estimated", proof, tuple(doubts))


# ----------------------------------------------------------------------------- where a number comes from


def _missing(case: Case, segment: Segment, code: str) -> Bound:
    if not segment.meter:
        return no_meter(case)
    first, last = (wall(case.closing.at + offset, case.point.time_zone) for offset in (-BEFORE, AFTER))
    text = f"no accepted reading of {code} of {segment.meter} from {first} to {last}"
    return Bound(None, None, "", None, (Doubt("missing", "hold", MISSING, case.closing.at, text),))


def _no_start(case: Case, text: str) -> Bound:
    return Bound(None, None, "", None, (Doubt("no-start", "hold", UNCHECKED, case.opening.at, text),))


def _from_ledger(case: Case, before: Previous) -> Bound:
    assert before.end_kwh is not None and before.end_time is not None  # a billed row has both
    units = int(before.end_kwh.scaleb(case.utility.decimals, EXACT))
    doubts: list[Doubt] = []
    if (cut := kwh(units, case.utility.decimals)) != before.end_kwh:
        text = f"{before.period} ended with {before.end_kwh} kWh, to more decimals; this period starts from {cut} kWh"
        doubts.append(Doubt("decimals", "warn", VALID, before.end_time, text))
    if before.status == "estimated":
        text = f"{before.period} ended with an estimate, {before.end_kwh} kWh: this period makes up for it"
        doubts.append(Doubt("after-estimate", "warn", ESTIMATED, before.end_time, text))
    proof = {
        "method": "ledger",
        "period": before.period,
        "revision": before.revision,
        "digest": before.digest,
        "time": before.end_time,
        "kwh": f"{before.end_kwh:f}",
    }
    return Bound(units, before.end_time, "", proof, tuple(doubts))


def _by_act(case: Case, segment: Segment, code: str, act: _Act) -> Bound:
    """The act's reading where a meter was hung or taken down inside the period. It is a reading taken on the spot."""
    if act.readings is None or code not in act.readings:
        text = f"the act that {act.done} {segment.meter} gives no {act.which} reading of {code}"
        return Bound(None, None, "", None, (Doubt(act.lacking, "hold", act.quality, act.time, text),))
    wh = act.readings[code]
    text = f"{kilo(wh)} kWh is the {act.which} reading of the act that {act.done} {segment.meter}"
    doubt = Doubt("act", "info", MANUAL, act.time, text)
    return Bound(_cut(case, wh), act.time, "manual", {"method": "act", "time": act.time, "wh": wh}, (doubt,))


def _by_hand(case: Case, segment: Segment, seen: Seen, entered: Entered) -> Bound:
    """A reading that somebody told us. What the meter itself said near the edge, if anything, has to allow it."""
    code, own = entered.register, TimedValue(entered.taken, entered.wh)
    text = f"{kilo(entered.wh)} kWh, entered by {entered.who} at {rfc3339(entered.at)} ({entered.source})"
    if entered.earlier:
        before = ", ".join(f"{kilo(wh)} kWh" for wh in entered.earlier)
        text += f"; it takes the place of {before}: {entered.reason}"
    doubts = [Doubt("by-hand", "info", MANUAL, entered.taken, text)]
    growth = case.devices[segment.meter].growth
    for value in seen.live.get(code, ()):
        first, second = sorted((own, value))
        if not 0 <= growth.ahead(first.value, second.value) <= growth.most(code, first, second):
            shown = f"{kilo(value.value)} kWh at {wall(value.time, case.point.time_zone)}"
            said = f"{kilo(entered.wh)} kWh by hand does not fit what {segment.meter} itself said, {shown}"
            doubts.append(Doubt("unconfirmed", "hold", SUSPECT, entered.taken, said))
            break
    proof = {
        "method": "manual",
        "wh": entered.wh,
        "time": entered.taken,
        "entered": {"at": entered.at, "who": entered.who, "source": entered.source, "reason": entered.reason},
    }
    return Bound(_cut(case, entered.wh), entered.taken, "manual", proof, tuple(doubts))


def _dial(case: Case, segment: Segment, code: str) -> Dial:
    initial = None if segment.initial is None else segment.initial.get(code)
    growth = case.devices[segment.meter].growth
    return Dial(segment.meter, code, growth, case.point.time_zone, segment.from_ms, segment.to_ms, initial)


def _cut(case: Case, wh: int) -> int:
    """A dial in units of the last billed place, further digits cut off (a dial is never negative)."""
    return wh // UNIT[case.utility.decimals]
