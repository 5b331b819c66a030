"""Which register advanced in which hour, and which one the utility's calendar says: a hint that tariffs are swapped.

A meter that switches at the wrong hour, or whose T1 and T2 are taken for each other, counts every kWh, and bills it at
the wrong price. The values next to an edge show which register was counting then, without a further question.

Rule 1. A healthy meter is not spoken of. Its clock may be off by what the utility permits (`clock`), and what it
        answers may be older or newer than the question: in a step that ends next to a switch two may have counted.
Rule 2. All that allowed, a register that advanced is in the wrong where its hours do not touch the step, or leave it
        less time than so many kWh take.
Rule 3. Where they touch its ends only, it is in the wrong if it got nearly all, and those whose hours the rest of the
        step certainly is, half an hour of it at least, next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from collector import localtime
from collector.central.case import Case, Stretch
from collector.central.edge_value import HOUR, MINUTE, NOTHING_SEEN, STALE, Doubt, Growth, wall
from collector.central.store.series import TimedValue
from collector.central.thresholds import Hours
from drivers.values import kilo

TARIFFS = "6.9"  # quality code of IEC 61968-9, without the origin
# A meter is asked hourly at least, and a quarter of an hour later where its line is busy: longer steps say little.
LONGEST = HOUR + 15 * MINUTE
# From question to value: the longest asking there is, a full readout at 300 baud (see collector.edge.frozen).
ANSWERED = 5 * MINUTE
# Rule 3. A flat uses something in half an hour, if only by its refrigerator; an empty one uses nothing at the switch.
CERTAIN = 30 * MINUTE
# Rule 3. What a register got on its own is nothing if it is a minute's part of an hour: so far apart are two askings
# and the switches of a meter whose clock is whole hours off.
NEXT_TO_NOTHING = 50
_DAY = 24 * HOUR


class Step(NamedTuple):
    """From one asking to the next (ms): how far each register came (Wh), and where it stands since."""

    start: int
    end: int
    came: Mapping[str, int]
    now: Mapping[str, int]


class Advance(NamedTuple):
    """A step, for a person to read. `expected`: the register whose hours hold all of it; None: several have a part."""

    start: int
    end: int
    came: Mapping[str, int]
    expected: str | None


class Wrong(NamedTuple):
    """A step in which registers advanced that should not have. `instead`: those that the calendar says."""

    step: Step
    codes: Sequence[str]
    instead: Sequence[str]


def advances(
    values: Mapping[str, Sequence[TimedValue]], hours: Mapping[str, Sequence[Hours]], zone: str
) -> list[Advance]:
    """The steps between askings that had every register, oldest first."""
    found = []
    for step in _steps(values):
        said = _said(hours, step, zone)
        found.append(Advance(step.start, step.end, step.came, said[0] if len(said) == 1 else None))
    return found


def switched(case: Case, rows: Mapping[str, Sequence[Stretch]]) -> Iterable[tuple[str, Doubt]]:
    """A register that advanced next to the edge in an hour that is another's."""
    hours = case.utility.calendar
    if hours.keys() != rows.keys() or not case.segments:
        return  # two tariffs have other hours than three
    meter, zone = case.segments[-1].meter, case.point.time_zone
    seen = case.at_closing.get(meter, NOTHING_SEEN)
    if any(code not in seen.live for code in rows):
        return
    growth, off = case.devices[meter].growth, case.utility.checks.clock
    for step in _steps({code: seen.live[code] for code in rows}):
        wrong = _wrong(step, hours, zone, growth, off)
        if wrong is not None:
            yield meter, _doubt(wrong, case)
            return


def _steps(values: Mapping[str, Sequence[TimedValue]]) -> Iterator[Step]:
    by_time: dict[int, dict[str, int]] = {}
    for code, given in values.items():
        for time, wh in given:
            by_time.setdefault(time, {})[code] = wh
    whole = [time for time in sorted(by_time) if len(by_time[time]) == len(values)]
    for start, end in pairwise(whole):
        if end - start <= LONGEST:
            before, now = by_time[start], by_time[end]
            yield Step(start, end, {code: now[code] - before[code] for code in values}, now)


def _wrong(step: Step, hours: Mapping[str, Sequence[Hours]], zone: str, growth: Growth, off: int) -> Wrong | None:
    """What is wrong with a step, if anything. `off`: how far (ms) the meter's clock may be off."""
    early, late = off + STALE, off + ANSWERED
    shift = _shift(step.start - early, zone)
    if shift != _shift(step.end + late, zone):
        return None  # the clocks change: nobody knows when this meter's did
    start, end = step.start + shift, step.end + shift
    certain = (start + late, end - early) if end - early - start - late >= CERTAIN else None
    found = []
    for code, came in step.came.items():
        if came <= 0 or (possible := _held(hours[code], start - early, end + late)) >= end - start:
            continue
        digit = _digit(growth, code, step)
        if not possible or came > growth.watt * possible // HOUR + digit:
            found.append(code)
        # A last digit may move for what came long before: two of them are this step's.
        elif certain and came > 2 * digit:
            rest = sum(abs(wh) for other, wh in step.came.items() if _held(hours[other], *certain))
            if NEXT_TO_NOTHING * rest <= came:
                found.append(code)
    return Wrong(step, found, _said(hours, step, zone)) if found else None


def _digit(growth: Growth, code: str, step: Step) -> int:
    """Wh of the last digit of a register that advanced: its profile's, or less where what it shows is finer."""
    shown, digit = step.now[code], growth.last_digit.get(code, 1)
    while digit > 1 and (shown % digit or step.came[code] % digit):
        digit //= 10
    return max(digit, shown >> 22)  # as in Growth.most


def _said(hours: Mapping[str, Sequence[Hours]], step: Step, zone: str) -> list[str]:
    """The registers that the calendar says from question to question."""
    start, end = step.start + _shift(step.start, zone), step.end + _shift(step.end - 1, zone)
    return [code for code, parts in hours.items() if _held(parts, start, end)]


def _doubt(wrong: Wrong, case: Case) -> Doubt:
    step, zone = wrong.step, case.point.time_zone
    said = " and ".join(f"{code} advanced by {kilo(step.came[code])} kWh" for code in wrong.codes)
    text = (
        f"from {wall(step.start, zone)} to {wall(step.end, zone)} {said}; the calendar of {case.utility.id} says "
        f"{' and '.join(wrong.instead)} then: the tariffs are swapped, or the meter's calendar or clock is wrong"
    )
    return Doubt("tariff-hours", "warn", TARIFFS, step.end, text)


# ----------------------------------------------------------------------------- hours of the day


def _held(parts: Sequence[Hours], start: int, end: int) -> int:
    """How much (ms) of an interval of local time lies in these hours; it is shorter than a day."""
    midnight = start - start % _DAY
    found = 0
    for part in parts:
        first = midnight + part.start * MINUTE
        last = first + (part.end - part.start) % (24 * 60) * MINUTE
        for day in (-_DAY, 0, _DAY):
            found += max(0, min(end, last + day) - max(start, first + day))
    return found


def _shift(time: int, zone: str) -> int:
    """What makes local time (ms) of an instant."""
    return _shift_of(time // (15 * MINUTE), zone)  # no zone changes inside a quarter of an hour


@lru_cache(maxsize=4096)  # meters are asked about the same time
def _shift_of(quarter: int, zone: str) -> int:
    offset = localtime.from_millis(quarter * 15 * MINUTE).astimezone(localtime.zone(zone)).utcoffset()
    assert offset is not None  # the zone is there
    return round(offset.total_seconds() * 1000)
