"""Which month a frozen value belongs to, in the domain's own words: stamps, counters, clocks, zones."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.edge.frozen import AFTER, BEFORE, ended_month, month_label
from collector.edge.meter_clock import MeterTime, to_instant
from collector.localtime import month_end, next_month, to_millis, zone
from drivers.dialogue import FrozenSet, Measured

VALUES = {"1.8.0": Measured(20044610, "kWh", b"\x01")}


def stamped(text: str) -> FrozenSet:
    return FrozenSet(VALUES, stamp=text)


def counted(back: int) -> FrozenSet:
    return FrozenSet(VALUES, back=back)


def day(text: str) -> datetime:
    """A naive midnight."""
    return datetime.fromisoformat(text)


def at(text: str, zone_name: str = "Europe/Moscow") -> int:
    """The instant of a local wall clock text."""
    return to_millis(datetime.fromisoformat(text).replace(tzinfo=zone(zone_name)))


# ----------------------------------------------------------------------------- stamps


@pytest.mark.parametrize(
    ("stamp", "label"),
    [
        ("2026-11-01T00:00:00", "2026-10"),
        ("2026-11-01T00:00:07", "2026-10"),  # meters write some seconds late
        ("2026-11-01", "2026-10"),
        ("2027-01-01T00:00:00", None),  # to come
        ("2026-01-01T00:00:00", "2025-12"),
        ("2024-03-01T00:00:00", "2024-02"),
        ("2026-10-31T23:59:59", None),
        ("2026-11-01T00:01:00", None),
        ("2026-11-01T12:00:00", None),  # a manual reset
        ("2026-10-15T00:00:00", None),  # another billing day than the month's
        ("2026-11-31T00:00:00", None),
        ("", None),
        ("nonsense", None),
        ("2026-11-01T00:00:00+03:00", None),  # a meter's text has no zone; who wrote this?
    ],
)
def test_a_stamp_at_the_first_of_a_month_names_the_month_that_ended_there(stamp: str, label: str | None) -> None:
    now = at("2026-11-03T10:00:00")
    assert month_label(stamped(stamp), None, now, "Europe/Moscow", "local") == label


def test_a_stamp_counts_although_the_meters_clock_is_hours_off() -> None:
    now = at("2026-11-01T05:00:00")
    assert (
        month_label(stamped("2026-11-01T00:00:00"), "2026-11-01T00:10:00", now, "Europe/Moscow", "local") == "2026-10"
    )


def test_a_stamp_is_of_no_use_while_the_meter_is_about_to_close_again() -> None:
    now = at("2026-10-31T23:59:58")
    sept = stamped("2026-10-01T00:00:00")
    assert month_label(sept, "2026-10-31T23:59:58", now, "Europe/Moscow", "local") is None
    assert month_label(sept, "2026-10-31T23:40:00", now, "Europe/Moscow", "local") == "2026-09"


def test_a_meter_that_shows_utc_closes_at_the_local_edge_or_not_at_all() -> None:
    now = at("2026-11-03T10:00:00")
    assert month_label(stamped("2026-10-31T21:00:00"), None, now, "Europe/Moscow", "utc") == "2026-10"
    assert month_label(stamped("2026-11-01T00:00:00"), None, now, "Europe/Moscow", "utc") is None  # 03:00 local
    assert month_label(stamped("2026-11-01T00:00:00"), None, now, "UTC", "utc") == "2026-10"


def test_a_meter_on_standard_time_closes_at_the_local_edge_in_winter_only() -> None:
    winter, summer = at("2026-11-03T10:00:00", "Europe/Kyiv"), at("2026-07-03T10:00:00", "Europe/Kyiv")
    assert month_label(stamped("2026-11-01T00:00:00"), None, winter, "Europe/Kyiv", "standard") == "2026-10"
    assert month_label(stamped("2026-07-01T00:00:00"), None, summer, "Europe/Kyiv", "standard") is None  # 01:00 local
    assert month_label(stamped("2026-06-30T23:00:00"), None, summer, "Europe/Kyiv", "standard") == "2026-06"


def test_a_first_of_a_month_whose_midnight_comes_twice_has_one_month() -> None:
    now = at("2026-11-03T10:00:00", "America/Havana")  # Havana's clocks go back at 01:00 of 1 November 2026
    assert month_label(stamped("2026-11-01T00:00:00"), None, now, "America/Havana", "local") == "2026-10"


# ----------------------------------------------------------------------------- counters


def test_a_counter_counts_back_from_the_meters_own_month() -> None:
    now, clock = at("2026-11-01T00:01:02"), "2026-11-01T00:00:59"
    labels = [month_label(counted(back), clock, now, "Europe/Moscow", "local") for back in (1, 2, 11)]
    assert labels == ["2026-10", "2026-09", "2025-12"]


@pytest.mark.parametrize(
    ("clock", "label"),
    [
        ("2026-11-01T00:00:30", "2026-10"),
        ("2026-11-01T00:00:05", None),  # it may not have written its closing yet
        ("2026-10-31T23:59:59", None),  # not past the edge
        ("2026-10-31T23:30:00", None),
        ("2026-11-01T01:00:59", "2026-10"),
        ("2026-11-01T01:01:01", None),  # more than an hour ahead of ours
        ("2025-11-01T00:00:30", None),
        (None, None),
        ("2000-00-00T00:00:00", None),
    ],
)
def test_a_counter_counts_only_when_the_meters_clock_is_near_ours_and_past_the_edge(
    clock: str | None, label: str | None
) -> None:
    assert month_label(counted(1), clock, at("2026-11-01T00:01:00"), "Europe/Moscow", "local") == label


def test_a_counter_is_not_believed_while_our_clock_is_past_the_edge_and_the_meters_is_not() -> None:
    now = at("2026-11-01T00:30:00")
    assert month_label(counted(1), "2026-10-31T23:45:00", now, "Europe/Moscow", "local") is None


def test_a_counter_is_not_believed_shortly_before_the_meters_own_edge() -> None:
    now = at("2026-10-31T23:30:00")
    assert month_label(counted(1), "2026-10-31T23:55:00", now, "Europe/Moscow", "local") is None
    assert month_label(counted(1), "2026-10-31T23:45:00", now, "Europe/Moscow", "local") == "2026-09"


def test_a_counter_on_standard_time_gives_winter_months_only() -> None:
    now = at("2026-11-03T10:00:00", "Europe/Berlin")
    labels = {
        back: month_label(counted(back), "2026-11-03T10:00:10", now, "Europe/Berlin", "standard")
        for back in range(1, 9)
    }
    assert labels == {1: "2026-10", **dict.fromkeys(range(2, 9))}  # 1 April to 1 October are in summer
    assert month_label(counted(9), "2026-11-03T10:00:10", now, "Europe/Berlin", "standard") == "2026-02"


def test_a_set_without_stamp_and_counter_belongs_to_no_month() -> None:
    now = at("2026-11-03T10:00:00")
    assert month_label(FrozenSet(VALUES), "2026-11-03T10:00:00", now, "Europe/Moscow", "local") is None


# ----------------------------------------------------------------------------- laws

zones = st.sampled_from(["Europe/Moscow", "Europe/Kyiv", "America/Havana", "Asia/Gaza", "Pacific/Apia", "UTC"])
meter_times: st.SearchStrategy[MeterTime] = st.sampled_from(["local", "standard", "utc"])
moments = st.datetimes(day("2005-01-01"), day("2040-01-01")).map(lambda moment: moment.replace(microsecond=0))


@settings(deadline=None)
@given(st.one_of(moments, st.builds(lambda m: m.replace(day=1, hour=0, minute=0), moments)), zones, meter_times)
def test_a_label_is_given_exactly_when_the_closing_was_in_the_first_minute_of_a_local_month(
    stamp: datetime, zone_name: str, meter_time: MeterTime
) -> None:
    closing = to_instant(stamp, zone_name, meter_time)
    now = closing + 5 * 86_400_000
    label = month_label(stamped(stamp.isoformat()), None, now, zone_name, meter_time)
    month = ended_month(closing, zone_name)
    edge = to_millis(month_end(month, zone_name))
    assert label == (month if edge <= closing < edge + 60_000 else None)


@settings(deadline=None)
@given(moments, st.integers(-4000, 4000), st.integers(1, 24), zones)
def test_a_counter_never_names_a_month_that_had_not_ended_by_the_meters_clock(
    now: datetime, drift: int, back: int, zone_name: str
) -> None:
    ours = at(now.isoformat(), zone_name)
    clock = now + timedelta(seconds=drift)
    label = month_label(counted(back), clock.isoformat(), ours, zone_name, "local")
    if label is not None:
        assert abs(drift) <= 3600 + 3600  # a change of clocks may lie between the two texts
        assert label == next_month(f"{clock:%Y-%m}", -back)
        theirs = to_instant(clock, zone_name, "local", near=ours)
        ended = to_millis(month_end(next_month(label, back - 1), zone_name))
        assert theirs >= ended + AFTER
        following = to_instant(day(f"{next_month(f'{clock:%Y-%m}')}-01"), zone_name, "local")
        assert following - theirs >= BEFORE - 3_600_000
        assert next_month(label, back - 1) >= ended_month(ours, zone_name)
