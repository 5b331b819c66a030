"""Local midnights and month edges as UTC instants: the one place where both ends turn a zone into an instant.

A midnight that a change of clocks skips is the instant of the change; one that comes twice is the first of the two.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


@lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises ValueError that says what was expected."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone; expected an IANA name such as Europe/Moscow") from None


def to_millis(moment: datetime) -> int:
    """Whole milliseconds since 1970 of an aware instant, exactly."""
    return (moment - EPOCH) // MILLISECOND


def from_millis(millis: int) -> datetime:
    """The aware UTC instant. Raises OverflowError beyond year 9999."""
    return EPOCH + timedelta(milliseconds=millis)


def rfc3339(millis: int) -> str:
    """`2026-10-31T21:01:02.120Z`: milliseconds and Z, as in files and on stdout."""
    return from_millis(millis).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def instant(day: date, at: time, zone_name: str) -> datetime:
    """The UTC instant of a local wall-clock time (the first of two, the change itself if skipped)."""
    return datetime.combine(day, at, tzinfo=zone(zone_name)).astimezone(UTC)


def midnight(day: date, zone_name: str) -> datetime:
    """The UTC instant at which the local day begins."""
    return instant(day, time(0), zone_name)


def local_date(moment: datetime, zone_name: str) -> date:
    """The local date at an instant."""
    return moment.astimezone(zone(zone_name)).date()


def parse_month(text: str) -> tuple[int, int]:
    """("2026-10") -> (2026, 10). Raises ValueError."""
    match = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", text)
    if match is None or match[1] == "0000":
        raise ValueError(f"{text!r} is not a month; expected YYYY-MM such as 2026-10")
    return int(match[1]), int(match[2])


def month_text(year: int, month: int) -> str:
    """(2026, 10) -> "2026-10"."""
    return f"{year:04d}-{month:02d}"


@lru_cache(maxsize=4096)
def next_month(text: str, step: int = 1) -> str:
    """The month `step` months later (or earlier, if negative) as YYYY-MM."""
    year, month = parse_month(text)
    index = year * 12 + month - 1 + step
    return month_text(index // 12, index % 12 + 1)


def month_end(text: str, zone_name: str) -> datetime:
    """The UTC instant at which the calendar month ends: the first of the next month, local 00:00."""
    year, month = parse_month(next_month(text))
    return midnight(date(year, month, 1), zone_name)


def parse_time(text: str) -> datetime:
    """RFC 3339 with a zone to a UTC instant. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time; expected RFC 3339 such as 2026-10-31T21:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no zone; add Z for UTC")
    return moment.astimezone(UTC)
