"""A meter's own clock text as an instant, and its drift."""

from __future__ import annotations

from datetime import datetime

import pytest

from collector.edge.meter_clock import MeterTime, drift_seconds, parse_clock, to_instant
from collector.localtime import midnight, to_millis, zone


def at(text: str, zone_name: str, fold: int = 0) -> int:
    return to_millis(datetime.fromisoformat(text).replace(tzinfo=zone(zone_name), fold=fold))


@pytest.mark.parametrize("text", [None, "", "2000-00-00T00:00:00", "25:00", "2026-11-01T00:00:00Z"])
def test_a_text_that_is_no_naive_time_is_none(text: str | None) -> None:
    assert parse_clock(text) is None
    assert drift_seconds(text, 0, "UTC", "local") is None


@pytest.mark.parametrize(
    ("meter_time", "text"),
    [("local", "2026-07-01T12:00:30"), ("standard", "2026-07-01T11:00:30"), ("utc", "2026-07-01T09:00:30")],
)
def test_what_the_clock_shows_is_compared_as_it_is_meant(meter_time: MeterTime, text: str) -> None:
    now = at("2026-07-01T12:00:00", "Europe/Kyiv")
    assert drift_seconds(text, now, "Europe/Kyiv", meter_time) == 30


def test_a_clock_that_is_behind_has_a_negative_drift() -> None:
    now = at("2026-11-01T00:01:02", "Europe/Moscow")
    assert drift_seconds("2026-11-01T00:00:59", now, "Europe/Moscow", "local") == -3


@pytest.mark.parametrize("fold", [0, 1])
def test_in_the_hour_that_comes_twice_a_clock_means_the_nearer_one(fold: int) -> None:
    now = at("2026-10-25T03:30:00", "Europe/Kyiv", fold)
    assert drift_seconds("2026-10-25T03:30:05", now, "Europe/Kyiv", "local") == 5


def test_a_local_midnight_is_the_one_of_the_calendar_also_where_it_comes_twice_or_never() -> None:
    for day in map(datetime.fromisoformat, ("2026-11-01", "2026-03-08")):
        assert to_instant(day, "America/Havana", "local") == to_millis(midnight(day.date(), "America/Havana"))
