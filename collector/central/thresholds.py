"""What a utility's profile says of the monthly checks: their thresholds, and the hours of its tariffs. Data only.

The defaults are usual in this trade and no law: validation rules of meter data systems give bands of this size, and a
utility that knows better says so in its profile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import time
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from collector.config_fields import Code, ListOf, Section, duration, from_text, one_of, whole

MINUTE, DAY_MINUTES = 60_000, 24 * 60


def _decimal(text: str) -> Decimal:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", text):
        raise ValueError("a decimal number such as 100 or 0.5 is wanted")
    return Decimal(text)


Kwh = Annotated[Decimal, from_text(_decimal)]
Percent = Annotated[int, whole(0, 1000)]
Months = Annotated[int, whole(1, 12)]


class Band(Section):
    """How far a month may lie from what was usual: `above` and `below` in percent, where usual is below `upto` kWh."""

    upto: Kwh | None = None
    above: Percent
    below: Percent


class Zero(Section):
    """After how many months in a row without consumption a row is warned of, and held."""

    warn: Months = 1
    hold: Months = 3


BANDS = (
    Band(upto=Decimal(100), above=70, below=40),
    Band(upto=Decimal(1000), above=60, below=30),
    Band(above=50, below=20),
)


class Checks(Section):
    """Thresholds. `clock` in ms, `drift` in seconds a day; `mean`: months of the trailing mean, `least` at least.

    `unusual`: what a month outside its band is, `estimated`: how many estimates in a row are too many, `flats`: by how
    many percent the flats together may differ from their building's meter.
    """

    clock: Annotated[int, duration("1s", "1h")] = 5 * MINUTE
    drift: Annotated[int, whole(1, 3600)] = 5
    zero: Zero = Zero()
    bands: ListOf[Band] = BANDS
    mean: Months = 6
    least: Months = 3
    unusual: Annotated[Literal["warn", "hold"], one_of("warn", "hold")] = "warn"
    estimated: Months = 3
    flats: Percent = 10

    def band(self, usual: Decimal) -> Band | None:
        """The band of what is usual; None where the profile has none for it."""
        for band in self.bands:
            if band.upto is None or usual < band.upto:
                return band
        return None


class Hours(NamedTuple):
    """Part of a day, in minutes since midnight, from start to before end; it may run over midnight."""

    start: int
    end: int

    def hold(self, minute: int) -> bool:
        """Whether a minute of the day is in it."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def _hours(text: str) -> Hours:
    match = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])", text)
    if match is None or match[1] + match[2] == match[3] + match[4]:
        raise ValueError("hours are two times of day, such as 07:00-23:00 or 23:00-07:00")
    first, second, third, fourth = map(int, match.groups())
    return Hours(60 * first + second, 60 * third + fourth)


# OBIS code -> the local hours in which it counts.
Calendar = Mapping[Code, Annotated[ListOf[Annotated[Hours, from_text(_hours)]], Field(min_length=1)]]


def overlap(hours: Mapping[str, Sequence[Hours]]) -> str | None:
    """A time of day at which not exactly one register counts, in words; None for a whole day without gap or overlap."""
    for minute in sorted({edge for parts in hours.values() for part in parts for edge in part}):
        counting = [code for code, parts in hours.items() if any(part.hold(minute) for part in parts)]
        if len(counting) != 1:
            shown = f"{time(minute // 60, minute % 60):%H:%M}"
            return f"at {shown} {' and '.join(counting) or 'no register'} would count; exactly one has to"
    return None
