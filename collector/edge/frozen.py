"""Which calendar month a meter's frozen registers belong to: from its stamp or its counter, or none. Pure.

Rule 1. A label is the local calendar month that ended when the meter froze. So the closing, read as the meter's time
        is meant (local, standard or UTC), must be a local first of a month, 00:00. A meter that freezes at another
        instant, by a manual reset or because its midnight is not the local one (a clock on standard time, in summer),
        gives no label: its value is not the one at the edge, and the boundary snapshot is nearer.
Rule 2. A stamp is the meter's own word. A counter says nothing by itself: the closing is worked out from the meter's
        clock, which must be within an hour of ours, and past the edge that our clock has passed.
Rule 3. While the meter's clock is about to pass an edge there is no label: clock, counter and registers may have been
        read on two sides of it.
"""

from __future__ import annotations

from datetime import datetime

from collector.edge.meter_clock import MeterTime, parse_clock, to_instant
from collector.localtime import from_millis, local_date, midnight, month_text, next_month, parse_month, to_millis
from drivers.dialogue import FrozenSet

HOUR = 3_600_000  # how far a meter's clock may be from ours (docs/contract.md, Frozen)
MINUTE = 60_000  # a closing is at 00:00 of the clock's minutes; meters write stamps some seconds late

# Milliseconds before an edge of the meter's in which an asking might straddle it: the longest asking there is, a full
# readout at 300 baud, takes four to five minutes (IEC 62056-21 meters with load history), and that twice over.
BEFORE = 600_000

# Milliseconds after its edge before a counter is believed: no manual says how soon a meter has written its closing;
# those that stamp it do so within seconds. An asking that comes earlier is repeated a minute later anyway.
AFTER = 10_000


def month_label(
    frozen: FrozenSet, meter_clock: str | None, now_ms: int, zone: str, meter_time: MeterTime
) -> str | None:
    """The month ("2026-10") whose end these registers are, or None where nobody can know.

    `meter_clock`: the meter's own text as read in the same asking; `now_ms`: our time at the end of that asking
    (milliseconds UTC); `zone`: the gateway's; `meter_time`: what the meter's texts mean.
    """
    clock = parse_clock(meter_clock)
    if clock is not None and _about_to_close(clock):
        return None
    if frozen.stamp is not None:
        closing = parse_clock(frozen.stamp)
    else:
        closing = _counted(frozen.back or 0, clock, now_ms, zone, meter_time)
    if closing is None:
        return None
    instant = to_instant(closing, zone, meter_time)
    day = local_date(from_millis(instant), zone)
    late = instant - to_millis(midnight(day, zone))
    if day.day != 1 or not 0 <= late < MINUTE or instant > now_ms + HOUR:
        return None
    return next_month(month_text(day.year, day.month), -1)


def ended_month(now_ms: int, zone: str) -> str:
    """The local calendar month that ended last."""
    today = local_date(from_millis(now_ms), zone)
    return next_month(month_text(today.year, today.month), -1)


def _about_to_close(clock: datetime) -> bool:
    left = _first_of(clock, 1) - clock
    return left.total_seconds() * 1000 < BEFORE


def _counted(back: int, clock: datetime | None, now_ms: int, zone: str, meter_time: MeterTime) -> datetime | None:
    """The closing (the meter's own time) that a counter means, 1 for the last; None while it cannot be believed."""
    if clock is None or back < 1:
        return None
    instant = to_instant(clock, zone, meter_time, near=now_ms)
    last = to_instant(_first_of(clock, 0), zone, meter_time)
    our_edge = to_millis(midnight(local_date(from_millis(now_ms), zone).replace(day=1), zone))
    if abs(instant - now_ms) > HOUR or instant < max(last, our_edge) + AFTER:
        return None
    return _first_of(clock, 1 - back)


def _first_of(moment: datetime, months: int) -> datetime:
    """The first of the month `months` after (before, if negative) that of `moment`, 00:00."""
    year, month = parse_month(next_month(month_text(moment.year, moment.month), months))
    return datetime(year, month, 1)  # noqa: DTZ001 - the meter's own, naive
