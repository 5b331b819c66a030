"""A meter's own naive clock text as an instant of ours, and by how much the meter is off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from collector.localtime import from_millis, to_millis, zone

# What a meter's clock shows: the wall clock of its zone, the zone's standard time all the year, or UTC.
MeterTime = Literal["local", "standard", "utc"]


def parse_clock(text: str | None) -> datetime | None:
    """The naive time that a meter's text names; None where it is none ("2000-00-00T00:00:00" of an unset clock)."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo is None else None


def to_instant(naive: datetime, zone_name: str, meter_time: MeterTime, near: int | None = None) -> int:
    """The instant (milliseconds UTC) at which the meter shows `naive`.

    A local time that comes twice is the one nearer to `near`, or the first; a skipped one counts by the offset that
    ended. A local midnight is thus the one of `localtime.midnight`.
    """
    if meter_time == "utc":
        return to_millis(naive.replace(tzinfo=UTC))
    local = naive.replace(tzinfo=zone(zone_name), fold=0)
    if meter_time == "standard":
        standard = (local.utcoffset() or timedelta(0)) - (local.dst() or timedelta(0))
        return to_millis(naive.replace(tzinfo=UTC) - standard)
    first, second = to_millis(local), to_millis(local.replace(fold=1))
    if near is not None and abs(second - near) < abs(first - near):
        return second
    return first


def from_instant(now: int, zone_name: str, meter_time: MeterTime) -> datetime:
    """What a meter's clock that is right shows at an instant (milliseconds UTC): the other way of `to_instant`."""
    moment = from_millis(now)
    if meter_time != "utc":
        local = moment.astimezone(zone(zone_name))
        moment = local - (local.dst() or timedelta(0)) if meter_time == "standard" else local
    return moment.replace(tzinfo=None, fold=0)


def drift_seconds(text: str | None, now: int, zone_name: str, meter_time: MeterTime) -> int | None:
    """Seconds that the meter's clock is ahead of ours at `now` (milliseconds UTC); None where it has no sound clock."""
    naive = parse_clock(text)
    if naive is None:
        return None
    return round((to_instant(naive, zone_name, meter_time, near=now) - now) / 1000)
