"""Utility profiles: every shipped one loads, faults name their line, and months end where local calendars say."""

from __future__ import annotations

import itertools
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import localtime
from collector.central import utility
from drivers.strict_yaml import ConfigError

PLAIN = {"schema": "1", "id": "own", "title": "Own", "labels": "{1.8.0: total}"}


def text(**keys: str) -> bytes:
    return "\n".join(f"{key}: {value}" for key, value in {**PLAIN, **keys}.items()).encode()


def faults(data: bytes) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        utility.parse(data, "own.yaml")
    return refused.value.faults


def ends(period: str, zone: str, **keys: str) -> str:
    """The edge as local wall time with its offset."""
    edge = utility.parse(text(**keys), "own.yaml").edge_of(period, zone)
    return localtime.from_millis(edge.at).astimezone(localtime.zone(zone)).isoformat(sep=" ")


@pytest.mark.parametrize("name", utility.known())
def test_every_shipped_profile_loads_and_labels_what_can_be_billed(name: str) -> None:
    profile = utility.load(name)
    assert profile.id == name
    assert profile.digest.startswith("sha256:")
    assert {"1.8.0", "1.8.1", "1.8.2", "1.8.3", "1.8.4"} <= set(profile.labels)


def test_the_generic_utility_takes_whole_kwh_as_of_the_months_end() -> None:
    generic = utility.load("generic")
    assert (generic.edge.day, generic.edge.time, generic.decimals, generic.estimation) == (
        1,
        utility.MIDNIGHT,
        0,
        None,
    )
    assert [generic.label(code) for code in ("1.8.0", "1.8.1", "1.8.2", "2.8.0")] == ["total", "T1", "T2", "2.8.0"]


def test_an_unknown_utility_is_refused_with_those_that_are_known() -> None:
    for name in ("nobody", "../meters/abb-b23", "Generic", ""):
        with pytest.raises(ConfigError, match=r"is not known; known are .*generic"):
            utility.load(name)


def test_all_faults_of_a_profile_are_named_at_once_with_line_and_what_would_be_right() -> None:
    bad = text(edge="{day: 29, time: '24:00'}", decimals="4", time_zone="Mars/Base", labels="{1.8: T1}", price="7")
    assert faults(bad) == [
        "own.yaml:7: time_zone: 'Mars/Base' is not a time zone; expected an IANA name such as Europe/Moscow "
        "(here: 'Mars/Base')",
        "own.yaml:5: edge.day: a decimal whole number from 1 to 28 is wanted (here: '29')",
        "own.yaml:5: edge.time: a time of day is HH:MM, such as 00:00 (here: '24:00')",
        "own.yaml:6: decimals: a decimal whole number from 0 to 3 is wanted (here: '4')",
        "own.yaml:4: labels.1.8.[key]: '1.8' is not an OBIS code C.D.E such as 1.8.0 (three numbers 0-255 with dots) "
        "(here: '1.8')",
        "own.yaml:8: price: unknown key; see the documentation for the keys of this file",
    ]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"schema": "2"}, "schema: a decimal whole number from 1 to 1"),
        ({"id": "a/b"}, "id: a name is 1 to 63 of"),
        ({"title": '""'}, "title: 1 to 200 printable characters"),
        ({"labels": '{1.8.0: "a\\nb"}'}, "labels.1.8.0: 1 to 40 printable characters"),
        ({"estimation": "mean"}, "estimation: a mapping of keys is wanted here: steps, months"),
        ({"window": "{first: 23}"}, "window.last: this key is required"),
        ({"digest": "sha256:00"}, "digest: unknown key"),
        ({"edge": "1"}, "edge: a mapping of keys is wanted here: day, time"),
    ],
)
def test_a_profile_that_says_what_nobody_can_mean_is_refused(keys: dict[str, str], said: str) -> None:
    assert any(said in fault for fault in faults(text(**keys))), faults(text(**keys))


def test_a_profile_is_called_as_its_file(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_bytes(text())
    with pytest.raises(ConfigError, match="the file is called other, the profile own"):
        utility.load_file(path)


def test_a_window_may_cross_the_months_end() -> None:
    window = utility.parse(text(window="{first: 28, last: 3}"), "own.yaml").window
    assert window is not None
    assert (window.first, window.last) == (28, 3)


def test_a_month_ends_at_the_first_midnight_of_the_next_and_there_frozen_values_belong() -> None:
    edge = utility.load("generic").edge_of("2026-10", "Europe/Moscow")
    assert localtime.rfc3339(edge.at) == "2026-10-31T21:00:00.000Z"
    assert edge.label == "2026-10"


@pytest.mark.parametrize("edge", ["{day: 25}", "{day: 2}", "{day: 1, time: '06:00'}", "{time: '00:01'}"])
def test_no_other_edge_has_frozen_values(edge: str) -> None:
    assert utility.parse(text(edge=edge), "own.yaml").edge_of("2026-10", "Europe/Moscow").label is None


@pytest.mark.parametrize(
    ("period", "zone", "edge", "at"),
    [
        ("2026-10", "Europe/Moscow", "{day: 25}", "2026-10-25 00:00:00+03:00"),
        ("2026-10", "Europe/Moscow", "{day: 1, time: '06:30'}", "2026-11-01 06:30:00+03:00"),
        ("2026-12", "Europe/Moscow", "{day: 1}", "2027-01-01 00:00:00+03:00"),
        ("2028-02", "Europe/Moscow", "{day: 1}", "2028-03-01 00:00:00+03:00"),  # 29 February lies before it
        ("2028-02", "Europe/Moscow", "{day: 28}", "2028-02-28 00:00:00+03:00"),
        ("2026-10", "Asia/Kolkata", "{day: 1}", "2026-11-01 00:00:00+05:30"),
        ("2026-10", "Pacific/Kiritimati", "{day: 1}", "2026-11-01 00:00:00+14:00"),
        # The clocks go back at 01:00 to 00:00 on 1 November 2026: the month ends with the first of two midnights.
        ("2026-10", "America/Havana", "{day: 1}", "2026-11-01 00:00:00-04:00"),
        # The clocks went from 00:00 to 01:00 on 1 April 2011: the month ended with the change.
        ("2011-03", "Asia/Amman", "{day: 1}", "2011-04-01 01:00:00+03:00"),
    ],
)
def test_the_edge_is_where_the_local_calendar_has_it(period: str, zone: str, edge: str, at: str) -> None:
    assert ends(period, zone, edge=edge) == at


ZONES = ("Europe/Moscow", "Europe/Berlin", "Asia/Kolkata", "America/Havana", "Australia/Lord_Howe", "Asia/Kamchatka")


@given(
    month=st.integers(0, 1199).map(lambda n: localtime.next_month("2001-01", n)),
    zone=st.sampled_from(ZONES),
    day=st.integers(1, 28),
    hour=st.integers(0, 23),
)
def test_periods_follow_each_other_without_gap_overlap_or_a_thirteenth_month(
    month: str, zone: str, day: int, hour: int
) -> None:
    profile = utility.parse(text(edge=f"{{day: {day}, time: '{hour:02d}:00'}}"), "own.yaml")
    edges = [profile.edge_of(localtime.next_month(month, step), zone).at for step in range(13)]
    days = [(later - earlier) / 86_400_000 for earlier, later in itertools.pairwise(edges)]
    assert all(27.9 < length < 31.1 for length in days)
    first, last = (localtime.from_millis(edge).astimezone(localtime.zone(zone)) for edge in (edges[0], edges[-1]))
    assert (last.year - first.year, last.month, last.day) == (1, first.month, first.day)
    assert isinstance(first, datetime)
