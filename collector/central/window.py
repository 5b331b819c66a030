"""The days on which a utility takes readings: data of its profile, and the instants that they are in a period.

A window lies in the month that the period is called after; one that ends before it begins runs on into the next month
(Ukraine: from two days before the month's end to the 3rd). A day that a month does not have is its last.
"""

from __future__ import annotations

import calendar
import re
from datetime import date, timedelta
from typing import Annotated

from collector import localtime
from collector.config_fields import Section, from_text, whole


def _first(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,2}", text) or not (-27 <= int(text) <= -1 or 1 <= int(text) <= 31):
        raise ValueError("a day of the month from 1 to 31, or -1 to -27: so many days before the month's last")
    return int(text)


class Window(Section):
    """The days of the month, both included, on which the utility takes readings.

    `first` below 0 counts from the month's last day. `first` > `last`, or below 0: the window crosses the month's end.
    """

    first: Annotated[int, from_text(_first)]
    last: Annotated[int, whole(1, 31)]

    def of(self, period: str, zone: str) -> tuple[int, int]:
        """When it opens and when it is over (ms UTC; the first instant after it) for the period YYYY-MM."""
        ends = localtime.next_month(period) if self.first < 0 or self.first > self.last else period
        opens, last = _day(period, self.first), _day(ends, self.last)
        closes = localtime.midnight(last + timedelta(days=1), zone)
        return localtime.to_millis(localtime.midnight(opens, zone)), localtime.to_millis(closes)


def _day(month: str, day: int) -> date:
    year, number = localtime.parse_month(month)
    days = calendar.monthrange(year, number)[1]
    return date(year, number, days + day if day < 0 else min(day, days))
