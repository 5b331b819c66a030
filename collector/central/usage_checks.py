"""Whether what was used in a month is likely: against months before, against what the meter can carry. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from collector import localtime
from collector.central.case import UNIT, Case, Stretch, consumption, kwh, most_in
from collector.central.edge_value import Doubt
from collector.central.estimation import PastMonths
from collector.model import Level
from drivers.values import kilo

ZERO, ABOVE, BELOW, BEYOND = "6.1", "6.3", "6.4", "5.256"  # quality codes of IEC 61968-9, without the origin


def too_much(case: Case, code: str, stretches: Sequence[Stretch]) -> Iterable[Doubt]:
    """More than the meter can carry: Imax x U x phases x hours."""
    unit = UNIT[case.utility.decimals]
    for stretch in stretches:
        segment, start, end, _, came, _ = stretch
        if came is None or start.time is None or end.time is None:
            continue
        came *= unit
        most = most_in(case.devices[segment.meter].growth, start.time, end.time) + unit
        if came > most:
            named = f"{code} of {segment.meter or 'the point'}"
            text = f"{named} counted {kilo(came)} kWh; it can carry {kilo(most)} kWh in that time"
            yield Doubt("capacity", "hold", BEYOND, end.time, text)


def unusual(case: Case, code: str, stretches: Sequence[Stretch]) -> Iterable[Doubt]:
    """Far above or below both the same month last year and the mean of the last months, as far as they are known."""
    used, before = consumption(case, stretches), case.previous.get(code)
    # Nothing used is said by `zero`; less than nothing by `backwards`; an estimate is made up for in one month.
    if used is None or used <= 0 or before is None or before.status == "estimated":
        return
    checks, percents = case.utility.checks, 100 * used
    level, beyond = checks.unusual, []
    for named, value in usual_of(case, before.months):
        band = checks.band(value)
        if band is None or value <= 0:
            return
        high, low = value * (100 + band.above), value * (100 - band.below)
        if low <= percents <= high:
            return
        likely = f"({low / 100:.0f} to {high / 100:.0f} were likely)"
        beyond.append((percents > high, f"{named} {value:.0f} kWh {likely}"))
    if beyond and len({high for high, _ in beyond}) == 1:
        much, at = beyond[0][0], stretches[-1].end.time or case.closing.at
        text = f"{used:f} kWh is unusually {'much' if much else 'little'}: {', '.join(words for _, words in beyond)}"
        yield Doubt("high" if much else "low", level, ABOVE if much else BELOW, at, text)


def usual_of(case: Case, months: PastMonths) -> Iterable[tuple[str, Decimal]]:
    """The same month last year and the mean of the last ones, as far as they were read."""
    checks = case.utility.checks
    last_year = months.read_in(localtime.next_month(case.period, -12))
    if last_year is not None:
        yield "the same month last year", last_year
    read = months.read(checks.mean)
    if len(read) >= checks.least:
        yield f"the mean of {len(read)} months", sum(read, Decimal(0)) / len(read)


def zero(case: Case, rows: Mapping[str, Sequence[Stretch]]) -> Iterable[tuple[str, Doubt]]:
    """Nothing was used on any register, and for how many months. One tariff alone may well count nothing."""
    ends = [stretches[-1].end for stretches in rows.values() if stretches]
    if not ends or any(consumption(case, stretches) != 0 for stretches in rows.values()):
        return
    months, month = 1, localtime.next_month(case.period, -1)
    while _nothing(case, rows, month):
        months, month = months + 1, localtime.next_month(month, -1)
    limits = case.utility.checks.zero
    if months < min(limits.warn, limits.hold):
        return
    level: Level = "hold" if months >= limits.hold else "warn"
    span = "this month" if months == 1 else f"for {months} months"
    dials = ", ".join(f"{kwh(end.units, case.utility.decimals):f}" for end in ends)
    text = f"nothing was used {span}; the registers stand at {dials} kWh"
    yield case.segments[-1].meter, Doubt("zero", level, ZERO, case.closing.at, text)


def _nothing(case: Case, codes: Iterable[str], month: str) -> bool:
    """Whether all registers gave nothing in a month."""
    past = [case.previous[code].months.get(month) if code in case.previous else None for code in codes]
    return all(used is not None and used.how != "estimated" and used.kwh == 0 for used in past)
