"""A simulated household: registers never fall, tariffs fill the day, energy is what was asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from hil.household import CALENDARS, DAY_MS, HOUR_MS, MONDAY_MS, WEEK_MS, Household

INSTANT = some.integers(MONDAY_MS, MONDAY_MS + 60 * 365 * DAY_MS)


@given(INSTANT, some.integers(0, WEEK_MS), some.integers(1, 4), some.integers(0, 999))
def test_no_register_ever_falls(at: int, later: int, tariffs: int, seed: int) -> None:
    flat = Household.of_seed(seed, tariffs)
    assert all(a <= b for a, b in zip(flat.tariffs(at), flat.tariffs(at + later), strict=True))


@given(INSTANT, some.integers(1, 4))
def test_a_week_uses_seven_mean_days(at: int, tariffs: int) -> None:
    flat = Household(day_wh=10_000, calendar=CALENDARS[tariffs])
    used = sum(flat.tariffs(at + WEEK_MS)) - sum(flat.tariffs(at))
    assert abs(used - 70_000) <= tariffs  # each register drops its part of a Wh


@given(some.integers(0, 20_000), some.integers(0, 23))
def test_only_the_tariff_of_the_hour_counts(day: int, hour: int) -> None:
    flat = Household(day_wh=10_000_000, calendar=CALENDARS[3])
    start = MONDAY_MS + day * DAY_MS + hour * HOUR_MS
    before, after = flat.tariffs(start), flat.tariffs(start + HOUR_MS)
    moved = [n + 1 for n in range(4) if after[n] > before[n]]
    assert moved == [CALENDARS[3][hour]]


def test_the_calendar_runs_by_the_meters_own_time() -> None:
    night_in_moscow = Household(day_wh=10_000_000, calendar=CALENDARS[2], offset_ms=3 * HOUR_MS)
    at = MONDAY_MS + 365 * DAY_MS + 20 * HOUR_MS  # 23:00 in Moscow
    before, after = night_in_moscow.tariffs(at), night_in_moscow.tariffs(at + HOUR_MS)
    assert after[0] == before[0]
    assert after[1] > before[1]


def test_power_is_the_slope_of_the_registers() -> None:
    flat = Household.of_seed(7, 1)
    at = MONDAY_MS + 400 * DAY_MS + 19 * HOUR_MS
    assert abs((flat.tariffs(at + HOUR_MS)[0] - flat.tariffs(at)[0]) - flat.power(at)) <= 1
