"""What one asking shows by itself: clock, tariffs against the total, the dial; at the door and in a bill."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.central.asking_checks import ASKING_CHECKS, Asking, offset
from collector.central.case import Device
from collector.central.device import device_of
from collector.central.edge_value import Growth
from collector.central.live_findings import LiveFinding, Repeats, keep_findings, live_findings
from collector.central.thresholds import Checks
from collector.clock import SystemClock
from drivers.profile import load
from tests.central.books import Centre, at, point
from tests.central.building import Meterline, central_yaml

TWO = Device(
    "two",
    "sha256:00",
    Growth(13_800, {"1.8.0": 10, "1.8.1": 10, "1.8.2": 10}, 10**8),
    proven=True,
    summed=False,
    tariffs=("1.8.1", "1.8.2"),
)
USUAL = Checks()
NOON = at("2026-07-01 12:00:00", "Europe/Berlin")


def said(
    registers: Mapping[str, int] | None = None, clock: str | None = None, zone: str = "Europe/Berlin", took: int = 0,
    device: Device = TWO, checks: Checks = USUAL,
) -> list[str]:  # fmt: skip
    asking = Asking("m1", NOON, took, registers or {}, clock, zone)
    return [doubt.check for check in ASKING_CHECKS for doubt in check(asking, device, checks)]


@pytest.mark.parametrize(
    ("clock", "found"),
    [
        ("2026-07-01T12:00:00", []),
        ("2026-07-01T11:00:00", []),  # standard time all year
        ("2026-07-01T10:00:00", []),  # UTC
        ("2026-07-01T12:05:00", []),
        ("2026-07-01T12:05:01", ["clock"]),
        ("2026-07-01T11:54:59", ["clock"]),
        ("2026-07-01T13:00:00", ["clock"]),
        ("2000-01-01T00:00:00", ["clock"]),
        ("0000-00-00T00:00:00", ["clock"]),
        ("2026-07-01T12:00:00Z", ["clock"]),  # a meter's own clock has no zone
        (None, []),
    ],
)
def test_a_clock_more_than_five_minutes_off_is_told_by_the_time_that_it_keeps(
    clock: str | None, found: list[str]
) -> None:
    assert said(clock=clock) == found


def test_the_threshold_is_the_profiles() -> None:
    assert said(clock="2026-07-01T12:00:31", checks=Checks.model_validate({"clock": "30s"})) == ["clock"]


@pytest.mark.parametrize(
    ("total", "first", "second", "found"),
    [
        (300_000, 200_000, 100_000, []),
        (300_020, 200_000, 100_000, []),  # two tariffs: two units of 10 Wh
        (300_030, 200_000, 100_000, ["tariff-sum"]),
        (299_970, 200_000, 100_000, ["tariff-sum"]),
    ],
)
def test_tariffs_may_differ_from_the_total_by_a_unit_each(
    total: int, first: int, second: int, found: list[str]
) -> None:
    assert said({"1.8.0": total, "1.8.1": first, "1.8.2": second}) == found


def test_what_was_counted_while_it_was_asked_is_no_difference() -> None:
    registers = {"1.8.0": 300_030, "1.8.1": 200_000, "1.8.2": 100_000}
    assert said(registers, took=3000) == []  # 13.8 kW: 11 Wh in 3 s


def test_tariffs_that_were_not_all_read_or_a_total_that_is_their_sum_prove_nothing() -> None:
    assert said({"1.8.0": 300_000, "1.8.1": 200_000}) == []
    summed = replace(TWO, summed=True)
    assert said({"1.8.0": 1, "1.8.1": 200_000, "1.8.2": 5}, device=summed) == []


# ----------------------------------------------------------------------------- a profile that takes what comes

GENERIC = device_of(load("generic-iec62056-21"))


@pytest.mark.parametrize(
    ("registers", "found"),
    [
        ({"1.8.0": 300_000, "1.8.1": 200_000, "1.8.2": 100_000}, []),
        ({"1.8.0": 300_001, "1.8.1": 200_000, "1.8.2": 90_000}, ["tariff-sum"]),
        ({"1.8.0": 300_001, "1.8.1": 200_000, "1.8.2": 90_000, "1.8.3": 10_001}, []),
        ({"1.8.0": 300_001, "1.8.1": 200_000, "1.8.2": 90_000, "1.8.3": 10_001, "1.8.4": 9}, ["tariff-sum"]),
        ({"1.8.0": 300_001, "1.8.1": 200_000, "1.8.3": 10_001}, []),  # T2 was not read: nothing is known
        ({"1.8.0": 300_001, "1.8.2": 10_001, "1.8.3": 10_001}, []),
        ({"1.8.0": 300_001, "1.8.1": 200_000}, []),  # a single one may be a part of its own
        ({"1.8.1": 200_000, "1.8.2": 90_000}, []),  # DSMR meters send no total
        ({"1.8.0": 300_000, "2.8.1": 1, "2.8.2": 1}, []),
    ],
)
def test_tariffs_that_no_profile_lists_are_those_that_the_meter_gave(
    registers: Mapping[str, int], found: list[str]
) -> None:
    assert said(registers, device=GENERIC) == found


@pytest.mark.parametrize(
    ("total", "second", "found"),
    [
        (300_500, 100_300, []),  # a meter that shows tenths of a kWh
        (300_700, 100_300, ["tariff-sum"]),
        (302_000, 100_000, []),  # one that shows whole kWh
        (303_000, 100_000, ["tariff-sum"]),
        (300_203, 100_001, ["tariff-sum"]),  # one that shows Wh
        (300_003, 100_001, []),
        (300_123, 100_300, []),  # one whose total has more digits than its tariffs
        (300_012, 100_001, ["tariff-sum"]),
    ],
)
def test_how_coarse_a_meter_counts_that_no_profile_knows_its_own_numbers_say(
    total: int, second: int, found: list[str]
) -> None:
    assert said({"1.8.0": total, "1.8.1": 200_000, "1.8.2": second}, device=GENERIC) == found


def test_a_total_with_more_digits_than_its_tariffs_is_held_to_theirs() -> None:
    fine = replace(TWO, growth=Growth(13_800, {"1.8.0": 1, "1.8.1": 10, "1.8.2": 10}))
    assert said({"1.8.0": 300_019, "1.8.1": 200_000, "1.8.2": 100_000}, device=fine) == []
    assert said({"1.8.0": 300_021, "1.8.1": 200_000, "1.8.2": 100_000}, device=fine) == ["tariff-sum"]


def test_a_profile_that_takes_what_comes_is_as_coarse_as_meters_are() -> None:
    assert GENERIC.growth.last_digit["1.8.0"] == GENERIC.growth.last_digit["1.8.4"] == 1000


# ----------------------------------------------------------------------------- the dial


def test_a_number_that_the_dial_cannot_show_is_said() -> None:
    assert said({"1.8.1": 10**8 - 1}) == []
    assert said({"1.8.1": 10**8}) == ["beyond-dial"]


@given(st.text(max_size=30), st.integers(0, 1 << 43))
def test_no_text_of_a_meters_clock_breaks_the_check(clock: str, asked: int) -> None:
    off = offset(clock, asked, "Europe/Moscow")
    assert off is None or isinstance(off, int)


# ----------------------------------------------------------------------------- at the door, and in a bill


@pytest.fixture
def centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Centre]:
    monkeypatch.setattr(SystemClock, "millis", lambda _: at("2026-11-02 08:00:00"))
    centre = Centre(tmp_path, point(1))
    yield centre
    centre.store.close()
    centre.engine.dispose()


def asked(centre: Centre, when: str, clock: str, dials: Mapping[str, int]) -> None:
    snapshot = {"meter": "m1", "profile": "abb-b23", "purpose": "boundary", "asked": at(when), "clock": clock}
    centre._keep("m1", at(when), json.dumps({**snapshot, "registers": dials}))


def test_a_bill_says_when_the_clock_that_switched_its_tariffs_was_off_or_drifts(centre: Centre) -> None:
    centre.month_of("m1", "2026-09", {"1.8.1": "100", "1.8.2": "10"})
    for when in ("2026-10-31 23:45:00", "2026-11-01 00:00:02", "2026-11-01 00:15:00"):
        centre.read("m1", when, {"1.8.1": "150", "1.8.2": "20"})
    dials = {"1.8.1": 150_000, "1.8.2": 20_000}
    asked(centre, "2026-10-31 00:00:02", "2026-10-31T00:06:02", dials)
    asked(centre, "2026-11-01 00:00:02", "2026-11-01T00:06:32", dials)
    centre.close("2026-10")
    assert centre.checks("2026-10") == ["clock", "drift"]
    clock, drift = centre.findings("2026-10")
    assert clock["text"] == "the clock of m1 shows 2026-11-01T00:06:32: it is +390 s off"
    assert drift["text"].startswith("the clock of m1 went +30 s in a day (at most 5 s are usual)")
    assert {row["status"] for row in centre.billing("2026-10")} == {"ready"}
    assert {row["quality"] for row in centre.billing("2026-10")} == {"1.9"}


def test_what_is_wrong_all_day_is_offered_to_the_database_once_a_day() -> None:
    found = [
        LiveFinding(at(f"2026-11-{day} {hour}:00:00"), meter, "clock", "warn", "1.9", f"{day} {hour}")
        for day in ("01", "02")
        for hour in ("10", "11")
        for meter in ("m1", "m2")
    ]
    repeats = Repeats()
    first = repeats.without(found)
    assert [(item.meter, item.text) for item in first] == [(m, f"{d} 10") for d in ("01", "02") for m in ("m1", "m2")]
    assert repeats.without(found) == first  # nobody has kept them yet
    repeats.note(first[1:])
    assert repeats.without(found) == first[:1]
    repeats.note(first)
    assert repeats.without(found) == []


def test_the_list_of_live_findings_names_each_meter_and_check_once_a_day(
    centre: Centre, meterline: Meterline, tmp_path: Path
) -> None:
    found = [
        LiveFinding(at(f"2026-11-01 {hour}:00:00"), "m1", check, "warn", "1.9", f"{check} {hour}")
        for hour in ("10", "11")
        for check in ("clock", "tariff-sum")
    ]
    with centre.engine.begin() as connection:
        keep_findings(connection, found)
        keep_findings(connection, found)
        assert [(row.check, row.text) for row in live_findings(connection, 0)] == [
            ("clock", "clock 10"),
            ("tariff-sum", "tariff-sum 10"),
        ]
    answer = meterline("exceptions", "live", "--config", central_yaml(tmp_path), "--format", "csv")
    assert answer.out.splitlines()[1] == "2026-11-01T07:00:00.000Z,m1,clock,warn,1.9,clock 10"
