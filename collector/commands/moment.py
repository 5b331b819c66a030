"""A moment as it is typed behind an option: RFC 3339, or a date, which is midnight in some time zone."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

from collector import localtime
from collector.exits import UsageFault

Moment = date | int  # a date, which is another instant in each zone, or milliseconds UTC


def moment(text: str, option: str) -> Moment:
    """What was typed behind an option. Raises UsageFault."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return date.fromisoformat(text)
        return localtime.to_millis(localtime.parse_time(text))
    except ValueError as error:
        raise UsageFault(f"{option}: {error}; a date such as 2026-11-01 is possible too") from None


@lru_cache(maxsize=1024)  # `meterline readings` asks it for every row
def millis(when: Moment, zone: str) -> int:
    """The instant in milliseconds UTC, of a date its midnight in the zone."""
    return localtime.to_millis(localtime.midnight(when, zone)) if isinstance(when, date) else when


def instant(text: str, option: str, zone: str) -> int:
    """Both at once, where the zone is known. Raises UsageFault."""
    return millis(moment(text, option), zone)
