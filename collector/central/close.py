"""The month close of one point: what is known of it in, one row for each billed register out. Pure: no clock, no store.

Rule 1. Every billed register of a point gives exactly one row: ready, held, missing (or, later, estimated).
Rule 2. What is billed is the dial, cut to the utility's decimals. Consumption is the sum over meters of cut end minus
        cut start, times ratio: months add up, and none takes a fraction from the next.
Rule 3. A month starts from the number that the month before was billed with. Where none was billed, it starts from the
        value at the previous edge by the same rules; where there is none, the row is held without consumption.
Rule 4. A finding never changes a number; a finding of level `hold` keeps its row from being ready.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from collector.central.case import (
    EXACT,
    Bound,
    Case,
    Previous,
    Stretch,
    billed,
    hangs_at_closing,
    hangs_at_opening,
    kwh,
)
from collector.central.edge_value import AFTER, BEFORE, NOTHING_SEEN, VALID, Dial, Doubt, value_at, wall
from collector.central.monthly_checks import POINT_CHECKS, ROW_CHECKS, UNCHECKED
from collector.central.registry import Segment
from collector.model import BillingReading, Finding, RowStatus
from drivers.values import kilo

MANUAL, MISSING = "4.131", "5.259"  # quality codes of IEC 61968-9, without the origin
_UNIT = (1000, 100, 10, 1)  # Wh in a unit of the last billed place, by decimals of a kWh


class Row(NamedTuple):
    """A billed register. `reading.revision` is 0 until the ledger gives it one. `proof`: JSON, for the ledger.

    `findings`: those of the whole point (without a register) first.
    """

    reading: BillingReading
    findings: tuple[Finding, ...]
    proof: dict[str, Any]


def close_point(case: Case) -> list[Row]:
    """The rows of a point, in the order of its registers."""
    stretches = {
        code: [Stretch(item, _start(case, item, code), _end(case, item, code)) for item in case.segments]
        for code in billed(case.point.tariffs)
    }
    shared = tuple(
        _finding(case, meter, "", doubt) for check in POINT_CHECKS for meter, doubt in check(case, stretches)
    )
    return [_row(case, code, parts, shared) for code, parts in stretches.items()]


def quality(findings: Iterable[Finding]) -> str:
    """The quality of a row: every code that a finding gives it, by number, or that it is valid."""
    codes = {finding.quality for finding in findings} - {VALID}
    return " ".join(sorted(codes, key=lambda code: [int(part) for part in code.split(".")])) or VALID


def _row(case: Case, code: str, stretches: Sequence[Stretch], shared: tuple[Finding, ...]) -> Row:
    point, decimals = case.point, case.utility.decimals
    segment, start, end = stretches[-1] if stretches else (None, None, _no_meter(case))
    start = stretches[0].start if stretches else None
    meter = "" if segment is None else segment.meter
    findings = shared + tuple(_finding(case, meter, code, doubt) for doubt in _doubts(case, code, stretches, end))
    reading = BillingReading(
        period=case.period,
        utility=case.utility.id,
        account=point.account,
        point=point.point,
        meter=meter,
        serial_number="" if segment is None else segment.serial_number,
        register_=code,
        label=case.utility.label(code),
        start_time=None if start is None else start.time,
        start_kwh=None if start is None else kwh(start.units, decimals),
        end_time=end.time,
        end_kwh=kwh(end.units, decimals),
        ratio=point.ratio,
        consumption_kwh=_consumption(stretches, point.ratio, decimals),
        status=_status(end, findings),
        method=end.method,
        quality=quality(findings),
        revision=0,
    )
    return Row(reading, findings, _proof(case, stretches))


def _doubts(case: Case, code: str, stretches: Sequence[Stretch], end: Bound) -> Iterable[Doubt]:
    if end.units is None:
        return end.doubts
    # What only explains a reading is said of the one that is billed; what makes another one doubtful holds the row.
    others = [bound for stretch in stretches for bound in (stretch.start, stretch.end) if bound is not end]
    found = [doubt for bound in others for doubt in bound.doubts if doubt.level != "info"]
    return (*found, *end.doubts, *(doubt for check in ROW_CHECKS for doubt in check(case, code, stretches)))


def _status(end: Bound, findings: Iterable[Finding]) -> RowStatus:
    if end.units is None:
        return "missing"
    return "held" if any(finding.level == "hold" for finding in findings) else "ready"


def _finding(case: Case, meter: str, code: str, doubt: Doubt) -> Finding:
    return Finding(
        point=case.point.point,
        meter=meter,
        register_=code,
        time=doubt.time,
        check=doubt.check,
        level=doubt.level,
        quality=doubt.quality,
        text=doubt.text,
    )


# ----------------------------------------------------------------------------- the two ends of a segment


class _Act(NamedTuple):
    """An act that hung or took down a meter: when, its readings, its words, and what it means where one is lacking."""

    time: int
    readings: Mapping[str, int] | None
    done: str
    which: str
    lacking: str
    quality: str


def _end(case: Case, segment: Segment, code: str) -> Bound:
    if not hangs_at_closing(segment, case.closing.at):
        assert segment.to_ms is not None  # else it hangs there still
        act = _Act(segment.to_ms, segment.final, "took down", "final", "no-final", MISSING)
        return _by_act(case, segment, code, act)
    value = value_at(case.closing, _dial(case, segment, code), case.at_closing.get(segment.meter, NOTHING_SEEN))
    if value is None:
        first, last = (wall(case.closing.at + offset, case.point.time_zone) for offset in (-BEFORE, AFTER))
        text = f"no accepted reading of {code} of {segment.meter} from {first} to {last}"
        return Bound(None, None, "", None, (Doubt("missing", "hold", MISSING, case.closing.at, text),))
    return Bound(_cut(case, value.wh), value.time, value.method, value.proof, value.doubts)


def _start(case: Case, segment: Segment, code: str) -> Bound:
    opening = case.opening.at
    if not hangs_at_opening(segment, opening):
        assert segment.from_ms is not None  # else it hung there since ever
        act = _Act(segment.from_ms, segment.initial, "hung", "initial", "no-start", UNCHECKED)
        return _by_act(case, segment, code, act)
    before = case.previous.get(code)
    if before is not None and before.status == "ready" and before.meter == segment.meter:
        return _from_ledger(case, before)
    value = value_at(case.opening, _dial(case, segment, code), case.at_opening.get(segment.meter, NOTHING_SEEN))
    if value is None:
        text = f"{segment.meter} has no value at the start of the period, {wall(opening, case.point.time_zone)}"
        return Bound(None, None, "", None, (Doubt("no-start", "hold", UNCHECKED, opening, text),))
    # What explains the value was said when the month before was closed; what makes it doubtful holds this one too.
    doubts = (doubt._replace(text=f"start: {doubt.text}") for doubt in value.doubts if doubt.level == "hold")
    return Bound(_cut(case, value.wh), value.time, value.method, value.proof, tuple(doubts))


def _from_ledger(case: Case, before: Previous) -> Bound:
    assert before.end_kwh is not None and before.end_time is not None  # a ready row has both
    units = int(before.end_kwh.scaleb(case.utility.decimals, EXACT))
    doubts: tuple[Doubt, ...] = ()
    if (cut := kwh(units, case.utility.decimals)) != before.end_kwh:
        text = f"{before.period} ended with {before.end_kwh} kWh, to more decimals; this period starts from {cut} kWh"
        doubts = (Doubt("decimals", "warn", VALID, before.end_time, text),)
    proof = {
        "method": "ledger",
        "period": before.period,
        "revision": before.revision,
        "digest": before.digest,
        "time": before.end_time,
        "kwh": f"{before.end_kwh:f}",
    }
    return Bound(units, before.end_time, "", proof, doubts)


def _by_act(case: Case, segment: Segment, code: str, act: _Act) -> Bound:
    """The act's reading where a meter was hung or taken down inside the period. It is a reading taken on the spot."""
    if act.readings is None or code not in act.readings:
        text = f"the act that {act.done} {segment.meter} gives no {act.which} reading of {code}"
        return Bound(None, None, "", None, (Doubt(act.lacking, "hold", act.quality, act.time, text),))
    wh = act.readings[code]
    text = f"{kilo(wh)} kWh is the {act.which} reading of the act that {act.done} {segment.meter}"
    doubt = Doubt("act", "info", MANUAL, act.time, text)
    return Bound(_cut(case, wh), act.time, "manual", {"method": "act", "time": act.time, "wh": wh}, (doubt,))


def _no_meter(case: Case) -> Bound:
    text = "no meter hangs at this point: it is read by hand, and no reading was entered"
    return Bound(None, None, "", None, (Doubt("missing", "hold", MISSING, case.closing.at, text),))


def _dial(case: Case, segment: Segment, code: str) -> Dial:
    initial = None if segment.initial is None else segment.initial.get(code)
    growth = case.devices[segment.meter].growth
    return Dial(segment.meter, code, growth, case.point.time_zone, segment.from_ms, segment.to_ms, initial)


# ----------------------------------------------------------------------------- arithmetic and proof


def _cut(case: Case, wh: int) -> int:
    """A dial in units of the last billed place, further digits cut off (a dial is never negative)."""
    return wh // _UNIT[case.utility.decimals]


def _consumption(stretches: Sequence[Stretch], ratio: Decimal, decimals: int) -> Decimal | None:
    """The sum over meters of end minus start, times ratio, cut towards zero; None where one of them is not known."""
    units = 0
    for _, start, end in stretches:
        if start.units is None or end.units is None:
            return None
        units += end.units - start.units
    if not stretches:
        return None
    total = EXACT.multiply(Decimal(units).scaleb(-decimals, EXACT), ratio)
    cut = total.quantize(Decimal(1).scaleb(-decimals), context=EXACT)
    return EXACT.add(cut, Decimal(0))  # -0.5 is cut to 0, not to -0


def _proof(case: Case, stretches: Sequence[Stretch]) -> dict[str, Any]:
    point, utility = case.point, case.utility
    return {
        "schema": 1,
        "point": {
            "receipt_order": point.receipt_order,
            "valid_from": point.valid_from,
            "tariffs": point.tariffs,
            "time_zone": point.time_zone,
            "opening": case.opening.at,
            "closing": case.closing.at,
        },
        "utility": {"id": utility.id, "digest": utility.digest, "decimals": utility.decimals},
        "segments": [
            {
                "meter": segment.meter,
                "serial_number": segment.serial_number,
                "profile": {"id": case.devices[segment.meter].profile, "digest": case.devices[segment.meter].digest},
                "from": segment.from_ms,
                "to": segment.to_ms,
                "start": start.proof,
                "end": end.proof,
            }
            for segment, start, end in stretches
        ],
    }
