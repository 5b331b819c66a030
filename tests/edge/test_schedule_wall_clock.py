"""Ticks and midnights of real zones: changes of clocks, at midnight and over it, days that are not."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings

from collector.edge.schedule import DAY, HOUR, MINUTE, last_midnight, next_midnight, next_tick
from collector.localtime import from_millis, midnight, to_millis, zone
from tests.edge.simulation import QUARTER, at, instants, intervals, ticks, wall, zones


def test_a_quarter_of_an_hour_is_asked_at_the_quarters_of_the_local_hour() -> None:
    start = at("Asia/Kathmandu", 2026, 5, 4, 10, 7, 31)  # UTC+05:45
    assert [wall(t, "Asia/Kathmandu") for t in ticks(start, start + HOUR, QUARTER, "Asia/Kathmandu")] == [
        "04 10:15", "04 10:30", "04 10:45", "04 11:00",
    ]  # fmt: skip


def test_an_instant_on_a_tick_is_followed_by_the_next_one() -> None:
    tick = at("Europe/Moscow", 2026, 5, 4, 10, 15)
    assert next_tick(tick - 1, QUARTER, "Europe/Moscow") == tick
    assert next_tick(tick, QUARTER, "Europe/Moscow") == tick + QUARTER


def test_an_interval_that_does_not_divide_a_day_begins_anew_at_midnight() -> None:
    start = at("Europe/Moscow", 2026, 5, 4)
    assert [wall(t, "Europe/Moscow") for t in ticks(start - 1, start + 30 * HOUR, 7 * HOUR, "Europe/Moscow")] == [
        "04 00:00", "04 07:00", "04 14:00", "04 21:00", "05 00:00",
    ]  # fmt: skip


def test_a_day_of_23_hours_has_no_ticks_in_the_hour_that_is_skipped() -> None:
    start = at("Europe/Kyiv", 2026, 3, 29)
    found = ticks(start - 1, next_midnight(start, "Europe/Kyiv") - 1, QUARTER, "Europe/Kyiv")
    assert len(found) == 23 * 4
    assert {b - a for a, b in pairwise(found)} == {QUARTER}
    assert not [t for t in found if wall(t, "Europe/Kyiv").startswith("29 03")]


def test_a_day_of_25_hours_has_the_ticks_of_the_hour_that_comes_twice_twice() -> None:
    start = at("Europe/Kyiv", 2026, 10, 25)
    found = ticks(start - 1, next_midnight(start, "Europe/Kyiv") - 1, QUARTER, "Europe/Kyiv")
    assert len(found) == 25 * 4
    assert [wall(t, "Europe/Kyiv") for t in found].count("25 03:30") == 2


def test_a_two_hour_interval_stays_on_even_local_hours_over_a_change() -> None:
    start = at("Europe/Berlin", 2026, 3, 29)
    assert [wall(t, "Europe/Berlin") for t in ticks(start - 1, start + 9 * HOUR, 2 * HOUR, "Europe/Berlin")] == [
        "29 00:00", "29 04:00", "29 06:00", "29 08:00", "29 10:00",
    ]  # fmt: skip


def test_a_midnight_that_is_skipped_is_the_instant_of_the_change() -> None:
    change = at("America/Havana", 2026, 3, 8, 1)  # 00:00 does not exist there
    assert last_midnight(change, "America/Havana") == change
    assert last_midnight(change - 1, "America/Havana") == change - DAY
    assert wall(change - 1, "America/Havana") == "07 23:59"


def test_a_midnight_that_comes_twice_is_the_first_of_the_two() -> None:
    first = at("America/Havana", 2026, 11, 1)
    second = at("America/Havana", 2026, 11, 1, fold=1)
    assert second == first + HOUR
    assert last_midnight(first - 1, "America/Havana") < first
    assert last_midnight(second + 5, "America/Havana") == first
    assert next_midnight(first, "America/Havana") == first + 25 * HOUR


def test_a_clock_that_goes_back_over_midnight_does_not_bring_the_boundary_again() -> None:
    first = at("America/St_Johns", 2010, 11, 7)  # a minute later it is 23:01 of the 6th again
    assert wall(first + MINUTE, "America/St_Johns") == "06 23:01"
    assert last_midnight(first + 30 * MINUTE, "America/St_Johns") == first
    assert last_midnight(first + HOUR + MINUTE, "America/St_Johns") == first
    assert next_midnight(first + 30 * MINUTE, "America/St_Johns") == at("America/St_Johns", 2010, 11, 8)


def test_a_day_that_a_zone_skips_has_no_boundary_of_its_own() -> None:
    change = at("Pacific/Apia", 2011, 12, 31)  # the 30th did not take place
    assert last_midnight(change, "Pacific/Apia") == change
    assert next_midnight(change - 1, "Pacific/Apia") == change
    assert last_midnight(change - 1, "Pacific/Apia") == change - DAY


@settings(deadline=None)
@given(instants, zones, intervals)
def test_a_tick_is_the_first_instant_whose_wall_clock_is_a_multiple_of_the_interval(
    now: int, zone_name: str, interval: int
) -> None:
    def multiple(instant: int) -> bool:
        here = from_millis(instant).astimezone(zone(zone_name))
        since = timedelta(hours=here.hour, minutes=here.minute, seconds=here.second, microseconds=here.microsecond)
        return since % timedelta(milliseconds=interval) == timedelta(0)

    tick = next_tick(now, interval, zone_name)
    assert tick > now
    assert multiple(tick)
    whole_minutes = range(now - now % MINUTE + MINUTE, tick, MINUTE)  # all zones are whole minutes from UTC since 1972
    assert not any(multiple(instant) for instant in whole_minutes)


@settings(deadline=None)
@given(instants, zones)
def test_midnights_are_those_of_the_calendar_and_enclose_every_instant(now: int, zone_name: str) -> None:
    before, behind = last_midnight(now, zone_name), next_midnight(now, zone_name)
    assert before <= now < behind
    today = from_millis(now).date()
    calendar = [to_millis(midnight(today + timedelta(days=days), zone_name)) for days in range(-4, 5)]
    assert before == max(instant for instant in calendar if instant <= now)
    assert behind == min(instant for instant in calendar if instant > now)
