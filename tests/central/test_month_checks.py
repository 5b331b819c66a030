"""Monthly checks, in the words of a clerk: zero, unusual, too much, turned over, swapped tariffs, strangers, flats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.central.case import Previous
from collector.central.database import quarantine
from collector.central.edge_value import Growth
from collector.central.engine import writing
from collector.central.estimation import PastMonths
from tests.central.books import FIRST, SECOND, Centre, at, own_utility, point
from tests.central.building import bring
from tests.central.one_point import (
    NOVEMBER_BEGINS,
    OCTOBER_BEGINS,
    PLAIN,
    QUIET,
    checks,
    ended,
    meter,
    november,
    row,
    rows,
    shown,
)

PAST = ("2025-10", "2026-04", "2026-05", "2026-06", "2026-07", "2026-08", "2026-09")


def after(months: Mapping[str, str], kwh: str = "100", **more: str) -> Previous:
    """September, with what the months before gave; `150 estimated` is an estimate."""
    return ended(kwh, **more)._replace(months=PastMonths({month: text.split() for month, text in months.items()}))


def used(kwh: str, months: Mapping[str, str], **utility: str) -> list[str]:
    """The checks of an October that used so much."""
    end = f"{Decimal(100) + Decimal(kwh)}"
    live = dict.fromkeys(NOVEMBER_BEGINS, end)
    return checks(row(live, previous=after(months), utility=own_utility(**utility)))


# ----------------------------------------------------------------------------- unusual


@pytest.mark.parametrize(
    ("kwh", "usual", "found"),
    [
        ("85", "50", []), ("86", "50", ["high"]), ("30", "50", []), ("29", "50", ["low"]),  # below 100: +70 / -40 %
        ("320", "200", []), ("321", "200", ["high"]), ("140", "200", []), ("139", "200", ["low"]),  # +60 / -30 %
        ("3000", "2000", []), ("3001", "2000", ["high"]), ("1600", "2000", []), ("1599", "2000", ["low"]),
    ],
)  # fmt: skip
def test_a_month_outside_its_band_is_warned_of(kwh: str, usual: str, found: list[str]) -> None:
    assert used(kwh, dict.fromkeys(PAST, usual)) == found


def test_one_of_the_two_references_is_enough_to_be_usual() -> None:
    summer = {**dict.fromkeys(PAST, "50"), "2025-10": "200"}
    assert used("200", summer) == []
    assert used("50", summer) == []
    assert used("100", summer) == ["high"] or used("100", summer) == []


def test_between_two_references_that_disagree_nothing_can_be_said() -> None:
    assert used("110", {**dict.fromkeys(PAST, "50"), "2025-10": "200"}) == []


def test_too_few_months_and_estimates_are_no_reference() -> None:
    assert used("500", {"2026-08": "50", "2026-09": "50"}) == []
    assert used("500", {"2026-07": "50 estimated", "2026-08": "50 held", "2026-09": "50"}) == []


def test_the_bands_and_what_a_month_outside_is_are_the_profiles() -> None:
    bands = "{bands: [{above: 10, below: 10}], unusual: hold}"
    closed = row(
        dict.fromkeys(NOVEMBER_BEGINS, "160"),
        previous=after(dict.fromkeys(PAST, "50")),
        utility=own_utility(checks=bands),
    )
    assert (shown(closed)[3], checks(closed)) == ("held", ["high"])
    assert (
        "the same month last year 50 kWh (45 to 55 were likely), the mean of 6 months 50 kWh" in closed.findings[0].text
    )


# ----------------------------------------------------------------------------- zero


@pytest.mark.parametrize(
    ("zeros", "found", "status"), [(0, "warn", "ready"), (1, "warn", "ready"), (2, "hold", "held")]
)
def test_nothing_used_is_warned_of_and_held_in_the_third_month(zeros: int, found: str, status: str) -> None:
    months = {**dict.fromkeys(PAST, "50"), **dict.fromkeys(PAST[len(PAST) - zeros :], "0")}
    closed = row(dict.fromkeys(NOVEMBER_BEGINS, "100"), previous=after(months))
    assert (checks(closed), closed.findings[0].level, shown(closed)[3]) == (["zero"], found, status)
    assert closed.reading.quality == "6.1"


def test_a_row_that_was_held_for_nothing_used_goes_on_counting() -> None:
    months = {"2026-07": "0", "2026-08": "0", "2026-09": "0 held"}
    closed = row(dict.fromkeys(QUIET, "100"), previous=after(months, status="held"))
    assert "nothing was used for 4 months" in closed.findings[0].text


def test_one_tariff_that_counts_nothing_is_usual() -> None:
    found = rows({"1.8.1": QUIET, "1.8.2": dict.fromkeys(QUIET, "7")}, tariffs=2)
    assert [checks(closed) for closed in found] == [[], []]


# ----------------------------------------------------------------------------- what the meter can carry, turning over


def test_more_than_the_meter_can_carry_is_held() -> None:
    most = 13_800 * 24 * 31 // 1000  # kWh in October
    for kwh, status in ((most, "ready"), (most + 10, "held")):
        closed = row(dict.fromkeys(NOVEMBER_BEGINS, f"{100 + kwh}"), previous=ended("100"))
        assert closed.reading.status == status, closed.findings


FIVE = replace(PLAIN, growth=Growth(13_800, {"1.8.0": 10}, 10**8))  # a dial of five digits


def test_a_dial_that_turned_over_is_billed_through_its_nines_and_says_so() -> None:
    closed = row(dict.fromkeys(NOVEMBER_BEGINS, "50.5"), previous=ended("99900"), device=FIVE)
    assert shown(closed) == ("99900", "50", "150", "ready", "4.1")
    assert checks(closed) == ["rollover"]


def test_a_dial_that_turns_over_at_the_edge_confirms_itself() -> None:
    closed = row(
        november(_31_2345="99999.9", _01_000002="99999.99", _01_0015="0.1"), previous=ended("99900"), device=FIVE
    )
    assert shown(closed)[1:4] == ("99999", "99", "ready")
    later = row(november(_31_2345="99999.99", _01_000002="0.01", _01_0015="0.2"), previous=ended("99900"), device=FIVE)
    assert shown(later)[1:4] == ("0", "100", "ready")


@pytest.mark.parametrize(
    ("start", "end", "device"),
    [("89999", "50", FIVE), ("99900", "50", PLAIN), ("99900", "20000", FIVE)],
    ids=["not near its end", "no digits known", "further than it can come"],
)
def test_what_did_not_turn_over_goes_backwards(start: str, end: str, device: object) -> None:
    closed = row(dict.fromkeys(NOVEMBER_BEGINS, end), previous=ended(start), device=device)
    assert (shown(closed)[3], checks(closed)) == ("held", ["backwards"])


@given(st.integers(90_000, 99_999), st.integers(0, 9000), st.integers(0, 3))
def test_consumption_through_a_turn_is_what_was_counted(start: int, counted: int, decimals: int) -> None:
    end = (start + counted) % 100_000
    utility = own_utility(decimals=str(decimals))
    closed = row(dict.fromkeys(NOVEMBER_BEGINS, str(end)), previous=ended(str(start)), device=FIVE, utility=utility)
    assert (closed.reading.consumption_kwh, closed.reading.status) == (counted, "ready")


# ----------------------------------------------------------------------------- tariffs in their hours

CALENDAR = '{1.8.1: ["07:00-23:00"], 1.8.2: ["23:00-07:00"]}'


def night(first: str, second: str) -> list[str]:
    """The checks of two tariffs of which these dials are read at 23:45, the others before."""
    day = {"2026-10-31 23:15:00": "250", "2026-10-31 23:45:00": first, "2026-11-01 00:00:02": first}
    dark = {"2026-10-31 23:15:00": "90", "2026-10-31 23:45:00": second, "2026-11-01 00:00:02": second}
    after_ = "2026-11-01 00:15:00"
    still = dict.fromkeys(OCTOBER_BEGINS, "90")
    live = {"1.8.1": {**still, **day, after_: first}, "1.8.2": {**still, **dark, after_: second}}
    found = rows(live, tariffs=2, utility=own_utility(calendar=CALENDAR))
    return [item.text for item in found[0].findings if item.check == "tariff-hours"]


def test_a_register_that_advances_in_anothers_hours_is_named_with_the_hour_and_the_calendar() -> None:
    assert night("250", "91") == []
    assert night("251.5", "90") == [
        "from 2026-10-31 23:15:00 to 2026-10-31 23:45:00 1.8.1 advanced by 1.500 kWh; the calendar of generic says "
        "1.8.2 then: the tariffs are swapped, or the meter's calendar or clock is wrong"
    ]


# ----------------------------------------------------------------------------- on a real centre


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    centre = Centre(tmp_path, point(1, tariffs="1", ratio="40"))
    centre.month_of("m1", "2026-09", {"1.8.0": "100"})
    centre.month_of("m1", "2026-10", {"1.8.0": "150"})
    yield centre
    centre.store.close()
    centre.engine.dispose()


def test_another_serial_number_near_the_edge_holds_the_row(centre: Centre) -> None:
    stranger = {
        "gateway": "gw-lenina-12", "spool": "b7e3c1d09a44", "position": 0, "kind": "", "month": "", "register": "",
        "meter": "m1", "value": "", "snapshot": "{}",
        "reason": "foreign gateway: x; other serial number: '77' answered, m1 is '00001'",
    }  # fmt: skip
    with writing(centre.engine) as connection:
        for number, when in enumerate(("2026-10-15 12:00:00", "2026-11-01 00:20:00")):
            connection.execute(quarantine.insert(), {**stranger, "sequence": number, "time": at(when)})
    centre.close("2026-10")
    assert [(row["status"], row["quality"]) for row in centre.billing("2026-10")] == [("held", "5.258")]
    (said,) = centre.findings("2026-10")
    assert (said["check"], "not m1 answered: foreign gateway" in said["text"]) == ("serial", True)
    assert "more" not in said["text"]


def test_a_ratio_that_changes_inside_a_month_without_an_act_is_held(centre: Centre) -> None:
    bring(centre.engine, point(1, tariffs="1", ratio="30"), now=at("2026-10-10 00:00:00"))
    centre.close("2026-10")
    (said,) = centre.findings("2026-10")
    assert said["text"] == "the ratio was 40 when the month began and is 30, and no act changed the meter"


def test_a_meter_that_was_taken_down_and_goes_on_counting_is_named(centre: Centre) -> None:
    centre.hang("kv1", "m9", "2026-10-15 10:00:00", {"1.8.0": "120"}, {"1.8.0": "5"})
    centre.month_of("m9", "2026-10", {"1.8.0": "20"})
    centre.close("2026-10")
    found = [row for row in centre.findings("2026-10") if row["point"] == "kv1"]
    assert [row["check"] for row in found] == ["inactive", "replaced"]
    assert "1.8.0 has gone on by 30.000 kWh since: nobody is billed for that" in found[0]["text"]


def test_flats_are_added_up_against_the_meter_of_their_building(tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1), point(2), point(3, flat="", account="house", tariffs="1"))
    for name, dials in (("m1", (FIRST, SECOND)), ("m2", (FIRST, SECOND))):
        centre.month_of(name, "2026-09", dials[0])
        centre.month_of(name, "2026-10", dials[1])
    centre.month_of("m3", "2026-09", {"1.8.0": "1000"})
    centre.month_of("m3", "2026-10", {"1.8.0": "1150"})
    centre.close("2026-10")
    (said,) = centre.findings("2026-10")
    assert (said["account"], said["point"], said["check"], said["level"]) == ("house", "kv3", "building", "info")
    assert said["text"] == (
        "Lenina 12: the 2 flats used 124 kWh together, the building's meter counted 150 kWh; they differ by -26 kWh, "
        "more than 10 %"
    )
    files = centre.files()
    for path in sorted(centre.out.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert centre.close("2026-10").changed == 0
    assert centre.files() == files


def test_a_meter_swapped_twice_in_a_month_is_the_sum_of_three() -> None:
    first = meter("a", taken="2026-10-10 10:00:00", final={"1.8.0": "110"})
    second = meter("b", "2026-10-10 10:00:00", "2026-10-20 10:00:00", {"1.8.0": "7.9"}, {"1.8.0": "30.2"})
    third = meter("c", hung="2026-10-20 10:00:00", initial={"1.8.0": "0.5"})
    old = {"2026-09-30 23:45:00": "100", "2026-10-01 00:00:02": "100", "2026-10-01 00:15:00": "100"}
    closed = row(dict.fromkeys(NOVEMBER_BEGINS, "12.9"), others={"a": old}, meters=[first, second, third])
    assert shown(closed)[:4] == ("100", "12", "45", "ready")  # 110 - 100, 30 - 7, 12 - 0


def test_two_snapshots_of_one_instant_that_differ_hold_the_row(tmp_path: Path) -> None:
    centre = Centre(tmp_path, point(1, tariffs="1"))
    centre.month_of("m1", "2026-09", {"1.8.0": "100"})
    centre.month_of("m1", "2026-10", {"1.8.0": "150"})
    centre.read("m1", "2026-11-01 00:00:02", {"1.8.0": "150.0"})
    centre.read("m1", "2026-11-01 00:00:02", {"1.8.0": "149.0"})  # the later write wins in the series
    centre.close("2026-10")
    assert "conflict" in centre.checks("2026-10")
    assert centre.billing("2026-10")[0]["status"] == "held"
