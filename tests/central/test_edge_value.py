"""Which value stands for an edge, frozen or live, and what witnesses it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from collector.central.device import device_of
from collector.central.edge_value import Dial, Growth, Kept, Seen, value_at
from collector.central.store.series import TimedValue
from collector.localtime import rfc3339
from drivers import profile as profiles
from tests.central.books import GENERIC, ZONE, at, own_utility, wh
from tests.central.one_point import OCTOBER_BEGINS, PLAIN, QUIET, checks, ended, november, row, seen, shown

# ----------------------------------------------------------------------------- the value at an edge


def test_a_quiet_month_is_ready_with_its_dials_cut_and_their_difference() -> None:
    closed = row()
    assert shown(closed) == ("100", "250", "150", "ready", "0.1")
    assert closed.reading.method == "live"
    assert rfc3339(closed.reading.end_time or 0) == "2026-10-31T21:00:02.000Z"
    assert closed.findings == ()


def test_the_first_asking_at_or_after_the_edge_stands_for_it_though_an_earlier_one_is_nearer() -> None:
    closed = row(november(_31_235959="200.10", _01_0030="200.20", _01_0045="200.30"))
    assert (closed.reading.end_time, shown(closed)[1]) == (at("2026-11-01 00:30:00"), "200")


def test_an_asking_at_the_very_edge_stands_for_it() -> None:
    closed = row(november(_31_2345="200", _01_0000="201", _01_0015="202"))
    assert closed.reading.end_time == at("2026-11-01 00:00:00")


@pytest.mark.parametrize(
    ("readings", "chosen"),
    [
        ({"_31_2355": "200", "_01_0100": "201", "_01_0115": "202"}, "2026-11-01 01:00:00"),
        ({"_31_2355": "200", "_01_010001": "201", "_31_2300": "199"}, "2026-10-31 23:55:00"),
        ({"_31_2350": "200", "_01_0200": "201", "_31_2300": "199"}, "2026-10-31 23:50:00"),
        ({"_31_2351": "200", "_31_2357": "200.1", "_01_0200": "201"}, "2026-10-31 23:57:00"),
        ({"_31_234959": "200", "_01_010001": "201"}, None),
    ],
)
def test_a_value_counts_to_an_hour_after_the_edge_else_the_last_to_ten_minutes_before(
    readings: dict[str, str], chosen: str | None
) -> None:
    assert row(november(**readings)).reading.end_time == (None if chosen is None else at(chosen))


def test_without_a_value_near_the_edge_the_row_is_missing_and_nothing_is_made_up() -> None:
    closed = row(OCTOBER_BEGINS)
    assert shown(closed) == ("100", "", "", "missing", "5.259")
    assert (closed.reading.method, closed.reading.end_time) == ("", None)
    (finding,) = closed.findings
    assert finding.text == "no accepted reading of 1.8.0 of m1 from 2026-10-31 23:50:00 to 2026-11-01 01:00:00"


@pytest.mark.parametrize(("moment", "quality"), [("_01_000100", "0.1"), ("_01_000101", "1.9"), ("_01_0059", "1.9")])
def test_a_value_more_than_a_minute_from_the_edge_is_ready_and_says_so(moment: str, quality: str) -> None:
    closed = row(november(_31_2345="200", **{moment: "200.1"}, _01_0115="200.2"))
    assert (closed.reading.status, closed.reading.quality) == ("ready", quality)
    assert checks(closed) == ([] if quality == "0.1" else ["off-edge"])


def test_how_far_a_value_lies_from_the_edge_is_said_in_words() -> None:
    closed = row(november(_31_2300="200", _31_235130="200.1", _01_0115="200.2"))
    assert closed.findings[0].text == "read 8 min 30 s before the edge at 2026-11-01 00:00:00"


# ----------------------------------------------------------------------------- the witness of a live value


@pytest.mark.parametrize(
    ("readings", "said"),
    [
        ({"_31_2345": "200", "_01_000002": "201"}, "no accepted value after it yet"),
        ({"_31_2345": "201.001", "_01_000002": "201", "_01_0015": "202"}, "does not fit 201.001 kWh at 2026-10-31 23"),
        ({"_31_2345": "200", "_01_000002": "201", "_01_0015": "200.999"}, "does not fit 200.999 kWh at 2026-11-01 00"),
        ({"_31_2345": "200", "_01_000002": "204", "_01_0015": "204"}, "the meter counts at most 3.697 kWh"),
        ({"_31_2345": "200", "_01_000002": "201", "_01_0015": "205"}, "the meter counts at most 3.682 kWh"),
    ],
)
def test_a_live_value_that_its_neighbours_do_not_confirm_is_held_with_its_number(
    readings: dict[str, str], said: str
) -> None:
    closed = row(november(**readings))
    assert (closed.reading.status, closed.reading.quality) == ("held", "5.258")
    assert closed.reading.end_kwh is not None
    assert checks(closed) == ["unconfirmed"]
    assert said in closed.findings[0].text


def test_a_meter_that_nobody_read_before_has_no_witness() -> None:
    closed = row({"2026-11-01 00:00:02": "201", "2026-11-01 00:15:00": "201"})
    assert "no accepted value before it" in {f.check: f.text for f in closed.findings}["unconfirmed"]


def test_equal_neighbours_confirm_a_meter_that_stands_still() -> None:
    assert row(november(_31_2345="200", _01_000002="200", _01_0015="200")).reading.status == "ready"


def test_the_last_digit_of_the_meter_is_no_impossible_step() -> None:
    coarse = replace(PLAIN, growth=Growth(60, {"1.8.0": 1000}))  # 60 W at most: a kWh takes 17 hours
    fine = replace(PLAIN, growth=Growth(60, {"1.8.0": 1}))
    readings = november(_31_2345="200", _01_000002="201", _01_0015="201")
    assert [checks(row(readings, device=device, previous=ended("190"))) for device in (coarse, fine)] == [
        [],
        ["unconfirmed"],
    ]


def test_a_value_that_was_damaged_upwards_does_not_pass_and_the_next_month_does_not_pay_for_it() -> None:
    held = row(november(_31_2345="250", _01_000002="900250", _01_0015="250.2"))
    assert held.reading.status == "held"
    december = row(
        {"2026-11-30 23:45:00": "300", "2026-12-01 00:00:02": "300", "2026-12-01 00:15:00": "300"},
        period="2026-11",
        previous=ended("900250", status="held"),
    )
    assert shown(december)[:4] == ("", "300", "", "held")


# ----------------------------------------------------------------------------- frozen values

TWICE = {"2026-11-01 00:00:40": "249.90", "2026-11-01 00:01:40": "249.90"}
ONCE = {"2026-11-01 00:00:40": "249.90"}


def test_the_meters_own_memory_is_the_last_word() -> None:
    closed = row(frozen=TWICE)
    assert shown(closed) == ("100", "249", "149", "ready", "0.1")
    assert (closed.reading.method, closed.reading.end_time) == ("frozen", at("2026-11-01 00:00:00"))


def test_a_frozen_value_that_came_once_is_held_and_no_live_value_steps_in() -> None:
    closed = row(frozen=ONCE)
    assert shown(closed) == ("100", "249", "149", "held", "5.258")
    assert (closed.reading.method, checks(closed)) == ("frozen", ["unconfirmed"])


@pytest.mark.parametrize(("second", "status"), [("00:01:39", "held"), ("00:01:40", "ready")])
def test_two_askings_of_a_frozen_value_are_at_least_a_minute_apart(second: str, status: str) -> None:
    assert row(frozen=ONCE | {f"2026-11-01 {second}": "249.90"}).reading.status == status


def test_a_frozen_value_stays_when_a_later_asking_gives_another_and_that_is_said() -> None:
    closed = row(frozen=TWICE | {"2026-11-02 00:00:40": "249.80"})
    assert shown(closed)[1:4] == ("249", "149", "ready")
    (finding,) = closed.findings
    assert (finding.check, finding.level) == ("frozen-changed", "warn")
    assert "249.800 kWh at 2026-11-02 00:00:40" in finding.text


def test_a_frozen_value_that_two_askings_agree_on_wins_over_a_first_that_stands_alone() -> None:
    closed = row(frozen={"2026-11-01 00:00:40": "249.10"} | {f"2026-11-01 00:0{n}:40": "249.90" for n in (1, 3)})
    assert shown(closed)[1:4] == ("249", "149", "ready")
    assert checks(closed) == ["frozen-changed"]


def test_two_frozen_values_that_are_both_confirmed_hold_the_row_with_the_first() -> None:
    closed = row(frozen=TWICE | {"2026-11-02 00:00:40": "240.80", "2026-11-02 00:01:40": "240.80"})
    assert shown(closed)[1:4] == ("249", "149", "held")
    assert [(f.check, f.level) for f in closed.findings] == [("frozen-changed", "hold")]


def test_frozen_values_that_never_agree_are_held_with_the_first() -> None:
    closed = row(frozen={"2026-11-01 00:00:40": "249.10", "2026-11-01 00:01:40": "248.20"})
    assert shown(closed)[1:4] == ("249", "149", "held")
    assert checks(closed) == ["unconfirmed", "frozen-changed"]


@pytest.mark.parametrize("edge", ["{day: 25}", "{day: 1, time: '00:30'}"])
def test_frozen_values_do_not_stand_for_an_edge_at_another_time(edge: str) -> None:
    at_edge = {"2026-10-25 00:00:02": "220", "2026-11-01 00:30:02": "250.15"}
    closed = row(QUIET | at_edge, frozen=TWICE, utility=own_utility(edge=edge))
    assert closed.reading.method == "live"


@pytest.mark.parametrize("frozen", ["100.00", "400.00"])
def test_a_frozen_value_that_the_register_cannot_have_shown_is_held(frozen: str) -> None:
    closed = row(frozen=dict.fromkeys(TWICE, frozen))
    assert closed.reading.status == "held"
    assert "frozen-live" in checks(closed)


@pytest.mark.parametrize("frozen", ["236.50", "263.50"])
def test_a_meter_whose_clock_is_an_hour_off_at_full_load_is_believed(frozen: str) -> None:
    assert row(frozen=dict.fromkeys(TWICE, frozen)).reading.status == "ready"


def test_a_frozen_value_needs_no_live_one() -> None:
    assert shown(row(OCTOBER_BEGINS, frozen=TWICE))[:4] == ("100", "249", "149", "ready")


def test_a_snapshot_that_gave_another_value_proves_nothing() -> None:
    """The series took a later word for the same instant; the kept snapshot is not where the value is from."""
    asked = at("2026-11-01 00:00:02")
    other = Kept({"sequence": 1, "asked": asked}, ZONE, {"asked": asked, "registers": {"1.8.0": 250_099}})
    values = [TimedValue(at(when), wh(kwh)) for when, kwh in QUIET.items()]
    seen = Seen({"1.8.0": values}, {}, {asked: other})
    edge = GENERIC.edge_of("2026-10", ZONE)
    value = value_at(edge, Dial("m1", "1.8.0", PLAIN.growth, ZONE), seen)
    assert value is not None
    (asking,) = value.proof["askings"]
    assert asking["series"]["registers"] == {"1.8.0": 250_100}


def _bare(seen: Seen, *asked: str) -> Seen:
    """The same, where these askings came without a checksum."""
    snapshots = [{"asked": at(when), "quality": ["no-checksum"]} for when in asked]
    bare = {item["asked"]: Kept({"asked": item["asked"]}, ZONE, item) for item in snapshots}
    return seen._replace(askings={**seen.askings, **bare})


@pytest.mark.parametrize(
    ("bare", "held"),
    [
        (["2026-11-01 00:00:02"], True),
        (["2026-10-31 23:45:00"], False),  # its witness alone: the value's own bytes were checked
        ([], False),
    ],
)
def test_a_live_value_whose_readout_had_no_checksum_is_held_with_its_number(bare: list[str], held: bool) -> None:
    closing = GENERIC.edge_of("2026-10", ZONE)
    dial = Dial("m1", "1.8.0", PLAIN.growth, ZONE)
    value = value_at(closing, dial, _bare(seen({"1.8.0": QUIET}, {}), *bare))
    assert value is not None
    assert value.wh == wh("250.10")
    assert [(doubt.check, doubt.level, doubt.quality) for doubt in value.doubts] == (
        [("no-checksum", "hold", "5.258")] if held else []
    )


def test_a_live_value_of_an_interval_snapshot_that_nobody_kept_is_held_when_its_meter_sends_no_checksums() -> None:
    closing = GENERIC.edge_of("2026-10", ZONE)
    dial = Dial("m1", "1.8.0", PLAIN.growth, ZONE)
    known = seen({"1.8.0": QUIET}, {})._replace(askings={})
    value = value_at(closing, dial, _bare(known, "2026-11-01 00:20:00"))
    assert value is not None
    assert [doubt.check for doubt in value.doubts] == ["no-checksum"]
    assert "the meter's display" in value.doubts[0].text


@pytest.mark.parametrize("bare", ["2026-11-01 00:00:40", "2026-11-01 00:01:40"])
def test_a_frozen_value_of_which_one_asking_had_no_checksum_is_held(bare: str) -> None:
    closing = GENERIC.edge_of("2026-10", ZONE)
    dial = Dial("m1", "1.8.0", PLAIN.growth, ZONE)
    value = value_at(closing, dial, _bare(seen({}, {"1.8.0": TWICE}), bare))
    assert value is not None
    assert (value.method, value.wh) == ("frozen", wh("249.90"))
    assert [(doubt.check, doubt.level) for doubt in value.doubts] == [("no-checksum", "hold")]


# ----------------------------------------------------------------------------- what a profile says of its meter


@pytest.mark.parametrize(
    ("name", "watt", "digits"),
    [
        # current x 253 V x phases; Wh of the last digit: 0.01 kWh, 0.1 kWh, a float32
        ("abb-b23", 65 * 253 * 3, {"1.8.0": 10, "1.8.1": 10}),
        ("gavazzi-em340", 78 * 253 * 3, {"1.8.0": 100, "1.8.1": 100}),
        ("eastron-sdm120", 100 * 253, {"1.8.0": 1}),
    ],
)
def test_how_far_a_meter_can_count_is_read_from_its_profile(name: str, watt: int, digits: dict[str, int]) -> None:
    device = device_of(profiles.load(name))
    assert device.growth.watt == watt
    assert {code: device.growth.last_digit[code] for code in digits} == digits


def test_a_float_counts_in_steps_that_grow_with_it() -> None:
    growth = Growth(0, {"1.8.0": 1})
    before = TimedValue(0, 100_000_000)  # 100,000 kWh: float32 steps of 2^-7 kWh, 7.8 Wh
    assert 8 <= growth.most("1.8.0", before, TimedValue(0, 100_000_000)) <= 32


def test_whether_a_meter_can_prove_itself_is_read_from_its_profile() -> None:
    assert [device_of(profiles.load(name)).proven for name in ("abb-b23", "orno-we-515")] == [True, False]
