"""Which register advanced in which hour, and which one the utility's calendar says: a hint that tariffs are swapped.

A meter that switches at the wrong hour, or whose T1 and T2 are taken for each other, counts every kWh, and bills it at
the wrong price. The values next to an edge show which register was counting then, without a further question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from collector import localtime
from collector.central.case import Case, Stretch
from collector.central.edge_value import HOUR, NOTHING_SEEN, Doubt, wall
from collector.central.store.series import TimedValue
from collector.central.thresholds import Hours, counting
from drivers.values import kilo

TARIFFS = "6.9"  # quality code of IEC 61968-9, without the origin
# In a longer step more than one register may rightly have counted.
LONGEST = HOUR


class Advance(NamedTuple):
    """A step between two askings: how far each register came (Wh), and which one the calendar says (None: several)."""

    start: int
    end: int
    came: Mapping[str, int]
    expected: str | None

    @property
    def wrong(self) -> Sequence[str]:
        """Registers that advanced and should not have."""
        return [
            code for code, wh in self.came.items() if wh > 0 and self.expected is not None and code != self.expected
        ]


def advances(
    values: Mapping[str, Sequence[TimedValue]], hours: Mapping[str, Sequence[Hours]], zone: str, longest: int = LONGEST
) -> list[Advance]:
    """The steps between askings that had every register, oldest first."""
    by_time: dict[int, dict[str, int]] = {}
    for code, given in values.items():
        for time, wh in given:
            by_time.setdefault(time, {})[code] = wh
    whole = [time for time in sorted(by_time) if len(by_time[time]) == len(values)]
    found = []
    for start, end in pairwise(whole):
        if end - start > longest:
            continue
        came = {code: by_time[end][code] - by_time[start][code] for code in values}
        found.append(Advance(start, end, came, _expected(hours, start, end, zone)))
    return found


def switched(case: Case, rows: Mapping[str, Sequence[Stretch]]) -> Iterable[tuple[str, Doubt]]:
    """A register that advanced next to the edge in an hour that is another's."""
    hours = case.utility.calendar
    if len(rows) < 2 or not hours or not case.segments:
        return
    meter = case.segments[-1].meter
    seen = case.at_closing.get(meter, NOTHING_SEEN)
    if any(code not in seen.live or code not in hours for code in rows):
        return
    for step in advances({code: seen.live[code] for code in rows}, hours, case.point.time_zone):
        if step.wrong:
            said = " and ".join(f"{code} by {kilo(step.came[code])} kWh" for code in step.wrong)
            first, last = (wall(time, case.point.time_zone) for time in (step.start, step.end))
            text = (
                f"from {first} to {last} {said} advanced; the calendar of {case.utility.id} says {step.expected} then: "
                "the tariffs are swapped, or the meter's calendar or clock is wrong"
            )
            yield meter, Doubt("tariff-hours", "warn", TARIFFS, step.end, text)
            return


def _expected(hours: Mapping[str, Sequence[Hours]], start: int, end: int, zone: str) -> str | None:
    """The one register whose hours hold the whole step."""
    there = localtime.zone(zone)
    minutes = []
    for time in (start, end - 1):
        local = localtime.from_millis(time).astimezone(there)
        minutes.append(60 * local.hour + local.minute)
    first, last = (counting(hours, minute) for minute in minutes)
    return first if first == last else None
