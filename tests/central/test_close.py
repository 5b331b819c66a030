"""The month close of one point: its registers, the arithmetic of the bill, meters that come and go, findings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.central.books import at, own_utility
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

# ----------------------------------------------------------------------------- several registers


def two_tariffs(second: dict[str, str]) -> dict[str, dict[str, str]]:
    return {"1.8.1": QUIET, "1.8.2": OCTOBER_BEGINS | second}


def test_every_billed_register_gives_one_row_and_others_none() -> None:
    live = dict.fromkeys(("1.8.0", "1.8.1", "1.8.2", "1.8.3", "1.8.4", "2.8.0"), QUIET)
    for tariffs, codes in ((1, ["1.8.0"]), (2, ["1.8.1", "1.8.2"]), (4, ["1.8.1", "1.8.2", "1.8.3", "1.8.4"])):
        found = rows(live, tariffs=tariffs)
        assert [closed.reading.register_ for closed in found] == codes
        assert all(closed.reading.status == "ready" for closed in found)
    assert [closed.reading.label for closed in rows(live, tariffs=2)] == ["T1", "T2"]


def test_a_register_that_an_asking_lacks_is_taken_from_the_next_and_the_point_says_so_once() -> None:
    late = {"2026-10-31 23:45:00": "250", "2026-11-01 00:15:00": "250.1", "2026-11-01 00:30:00": "250.2"}
    first, second = rows(two_tariffs(late), tariffs=2)
    assert [item.reading.end_time for item in (first, second)] == [at("2026-11-01 00:00:02"), at("2026-11-01 00:15:00")]
    assert checks(first) == ["split"]
    assert first.findings[0].register_ == ""
    assert "1.8.1 at 2026-11-01 00:00:02, 1.8.2 at 2026-11-01 00:15:00" in first.findings[0].text
    assert checks(second) == ["split", "off-edge"]


def test_a_register_without_a_value_is_missing_alone() -> None:
    first, second = rows(two_tariffs({}), tariffs=2)
    assert (first.reading.status, second.reading.status) == ("ready", "missing")


# ----------------------------------------------------------------------------- start, cut, ratio


def test_a_month_starts_from_the_number_that_the_month_before_was_billed_with() -> None:
    closed = row(previous=ended("99"))
    assert shown(closed)[:4] == ("99", "250", "151", "ready")
    assert closed.reading.start_time == at("2026-10-01 00:00:02")


@pytest.mark.parametrize(
    "before", [ended("99", status="held"), ended("99", status="missing"), ended("99", name="another")]
)
def test_a_number_that_was_not_billed_or_is_another_meters_starts_nothing(before: object) -> None:
    assert shown(row(previous=before))[:3] == ("100", "250", "150")


def test_without_a_start_the_row_is_held_without_consumption() -> None:
    closed = row(NOVEMBER_BEGINS)
    assert shown(closed) == ("", "250", "", "held", "6.0")
    assert checks(closed) == ["no-start"]
    assert closed.findings[0].time == at("2026-10-01 00:00:00")


def test_a_start_that_nothing_confirms_holds_the_row() -> None:
    closed = row(NOVEMBER_BEGINS | {"2026-10-01 00:00:02": "100"})
    assert shown(closed)[:4] == ("100", "250", "150", "held")
    assert closed.findings[0].text.startswith("start: 100.000 kWh, read at 2026-10-01 00:00:02, has no accepted value")


def test_a_start_far_from_its_edge_was_said_the_month_before() -> None:
    late = {"2026-09-30 23:45:00": "100", "2026-10-01 00:30:00": "100.5", "2026-10-01 00:45:00": "101"}
    assert shown(row(NOVEMBER_BEGINS | late)) == ("100", "250", "150", "ready", "0.1")


@pytest.mark.parametrize(
    ("decimals", "cut"),
    [("0", ("100", "250", "150")), ("2", ("100.99", "250.19", "149.20")), ("3", ("100.999", "250.199", "149.200"))],
)
def test_dials_are_cut_and_never_rounded(decimals: str, cut: tuple[str, str, str]) -> None:
    readings = dict.fromkeys(OCTOBER_BEGINS, "100.999") | dict.fromkeys(NOVEMBER_BEGINS, "250.199")
    assert shown(row(readings, utility=own_utility(decimals=decimals)))[:3] == cut


@pytest.mark.parametrize(
    ("ratio", "decimals", "consumption"),
    [("40", "0", "6000"), ("0.5", "0", "75"), ("0.333", "0", "49"), ("40", "2", "5968.00"), ("0.333", "2", "49.68")],
)
def test_consumption_is_the_difference_of_cut_dials_times_ratio_cut(
    ratio: str, decimals: str, consumption: str
) -> None:
    closed = row(ratio=ratio, utility=own_utility(decimals=decimals))
    assert shown(closed)[2] == consumption
    assert shown(closed)[:2] == (("100", "250") if decimals == "0" else ("100.90", "250.10"))


def test_no_digit_of_a_great_dial_and_a_long_ratio_is_lost() -> None:
    huge = {when: "9007199254740.991" if when > "2026-10-15" else "0.000" for when in QUIET}
    closed = row(huge, ratio="999999.999999", utility=own_utility(decimals="3"))
    # By hand: 9007199254740.991 x (1000000 - 0.000001) = 9007199254740991000 - 9007199.254740991, and cut.
    assert shown(closed)[2] == "9007199254731983800.745"


def test_a_dial_that_ends_below_its_start_is_held_and_its_difference_shown() -> None:
    closed = row(previous=ended("251"))
    assert shown(closed) == ("251", "250", "-1", "held", "6.4")
    assert closed.findings[0].text == "1.8.0 of m1 ends with 250 kWh, below the 251 kWh that it started from"


def test_a_difference_cut_to_nothing_is_no_negative_zero() -> None:
    assert shown(row(previous=ended("251"), ratio="0.5"))[2] == "0"


def test_a_value_that_was_sent_with_decimals_and_is_cut_since_does_not_fall_below_itself_unseen() -> None:
    closed = row(dict.fromkeys(QUIET, "100.90"), previous=ended("100.57"))
    assert shown(closed) == ("100", "100", "0", "held", "6.1 6.4")
    assert checks(closed) == ["zero", "decimals", "below-sent"]
    further = row(dict.fromkeys(QUIET, "101.10"), previous=ended("100.57"))
    assert shown(further)[:4] == ("100", "101", "1", "ready")
    assert checks(further) == ["decimals"]


def test_a_utility_that_goes_from_whole_kwh_to_decimals_bills_no_gap_and_no_overlap() -> None:
    closed = row(dict.fromkeys(QUIET, "100.90"), previous=ended("100"), utility=own_utility(decimals="2"))
    assert shown(closed)[:4] == ("100.00", "100.90", "0.90", "ready")
    assert checks(closed) == []


# ----------------------------------------------------------------------------- meters that come and go

OLD = {"2026-09-30 23:45:00": "100.00", "2026-10-01 00:00:02": "100.90", "2026-10-01 00:15:00": "101.00"}


def test_consumption_of_a_replaced_meter_is_the_sum_of_both() -> None:
    swap = "2026-10-15 10:15:00"
    old = meter("old", taken=swap, final={"1.8.0": "150.70"})
    new = meter("new", hung=swap, initial={"1.8.0": "3.30"})
    closed = row(dict.fromkeys(NOVEMBER_BEGINS, "20.20"), others={"old": OLD}, meters=[old, new])
    assert shown(closed) == ("100", "20", "67", "ready", "0.1")  # 150 - 100 and 20 - 3
    assert closed.reading.meter == "new"
    (finding,) = closed.findings
    assert finding.check == "replaced"
    assert "old from 100 to 150 kWh, then new from 3 to 20 kWh" in finding.text


def test_a_meter_swapped_twice_in_a_month_is_the_sum_of_three() -> None:
    first, second = "2026-10-10 09:00:00", "2026-10-20 09:00:00"
    meters = [
        meter("a", taken=first, final={"1.8.0": "110"}),
        meter("b", hung=first, taken=second, initial={"1.8.0": "5"}, final={"1.8.0": "9"}),
        meter("c", hung=second, initial={"1.8.0": "0"}),
    ]
    closed = row(dict.fromkeys(NOVEMBER_BEGINS, "7"), others={"a": OLD}, meters=meters, ratio="20")
    assert shown(closed)[:4] == ("100", "7", "420", "ready")  # (10 + 4 + 7) x 20


def test_a_meter_that_was_hung_within_the_month_starts_from_its_act() -> None:
    closed = row(NOVEMBER_BEGINS, meters=[meter(hung="2026-10-12 12:00:00", initial={"1.8.0": "200.5"})])
    assert shown(closed)[:4] == ("200", "250", "50", "ready")
    assert closed.reading.start_time == at("2026-10-12 12:00:00")


def test_the_acts_reading_is_a_witness_where_nobody_read_the_meter_before() -> None:
    readings = {"2026-11-01 00:00:02": "250.10", "2026-11-01 00:15:00": "250.20"}
    hung = {"hung": "2026-10-31 12:00:00"}
    assert row(readings, meters=[meter(**hung, initial={"1.8.0": "200.5"})]).reading.status == "ready"
    assert "unconfirmed" in checks(row(readings, meters=[meter(**hung, initial={"1.8.0": "10.0"})]))
    assert "unconfirmed" in checks(row(readings, meters=[meter(**hung, initial={"1.8.0": "250.11"})]))


def test_a_meter_hung_at_the_very_edge_starts_the_next_month_from_its_act() -> None:
    swap = "2026-11-01 00:00:00"
    old = meter("old", taken=swap, final={"1.8.0": "250"})
    new = meter("new", hung=swap, initial={"1.8.0": "0"})
    october = row({"2026-11-01 00:00:02": "0"}, others={"old": OLD}, meters=[old, new])
    assert (october.reading.meter, *shown(october)[:4]) == ("old", "100", "250", "150", "ready")
    november = row(
        {"2026-11-30 23:45:00": "30", "2026-12-01 00:00:02": "30", "2026-12-01 00:15:00": "30"},
        period="2026-11",
        meters=[old, new],
        previous=ended("250", name="old"),
    )
    assert (november.reading.meter, *shown(november)[:4]) == ("new", "0", "30", "30", "ready")


def test_a_value_read_after_the_meter_was_taken_down_is_not_its_reading_at_the_edge() -> None:
    gone = meter("old", taken="2026-11-01 00:00:01", final={"1.8.0": "250"})
    closed = row(NOVEMBER_BEGINS | {"2026-10-31 23:59:00": "250"} | OLD, meters=[gone])
    assert closed.reading.end_time == at("2026-10-31 23:59:00")


def test_a_value_read_before_the_meter_was_hung_is_not_its_reading_at_the_edge() -> None:
    bench = {"2026-10-31 23:51:00": "249.9"}
    hung = {"hung": "2026-10-31 23:53:00", "initial": {"1.8.0": "249.9"}}
    closed = row(bench | {"2026-11-01 02:00:00": "251"}, meters=[meter(**hung)])
    assert closed.reading.status == "missing"


def test_a_point_whose_meter_was_removed_ends_with_the_acts_reading() -> None:
    closed = row(OLD, meters=[meter(taken="2026-10-20 10:00:00", final={"1.8.0": "170.9"})])
    assert shown(closed) == ("100", "170", "70", "ready", "4.131")
    assert (closed.reading.method, closed.reading.end_time) == ("manual", at("2026-10-20 10:00:00"))
    assert checks(closed) == ["act"]


@pytest.mark.parametrize("final", [None, {}, {"1.8.1": "150"}])
def test_an_act_without_the_old_meters_final_reading_holds_the_row(final: dict[str, str] | None) -> None:
    swap = "2026-10-15 10:15:00"
    meters = [meter("old", taken=swap, final=final), meter("new", hung=swap, initial={"1.8.0": "0"})]
    closed = row(dict.fromkeys(NOVEMBER_BEGINS, "20"), others={"old": OLD}, meters=meters)
    assert shown(closed)[:4] == ("100", "20", "", "held")
    assert "no-final" in checks(closed)


def test_an_act_without_the_new_meters_initial_reading_holds_the_row() -> None:
    swap = "2026-10-15 10:15:00"
    meters = [meter("old", taken=swap, final={"1.8.0": "150"}), meter("new", hung=swap)]
    closed = row(dict.fromkeys(NOVEMBER_BEGINS, "20"), others={"old": OLD}, meters=meters)
    assert shown(closed)[:4] == ("100", "20", "", "held")
    assert "no-start" in checks(closed)


def test_a_point_that_is_read_by_hand_is_missing_until_somebody_enters_a_reading() -> None:
    for meters in (
        [],
        [meter(taken="2026-09-15 10:00:00", final={"1.8.0": "90"})],
        [meter(hung="2026-11-05 10:00:00")],
    ):
        closed = row(meters=meters)
        assert shown(closed) == ("", "", "", "missing", "5.259")
        assert (closed.reading.meter, closed.reading.serial_number) == ("", "")
        assert "no meter hangs at this point" in closed.findings[0].text


# ----------------------------------------------------------------------------- what is said besides


def test_where_acts_are_required_a_point_without_one_is_held() -> None:
    assert (shown(row(require_act=True))[3], checks(row(require_act=True))) == ("held", ["no-act"])
    hung = meter(hung="2026-09-12 12:00:00", initial={"1.8.0": "50"})
    assert row(require_act=True, meters=[hung]).reading.status == "ready"


def test_a_meter_whose_identity_nobody_can_read_is_flagged_each_month_and_billed() -> None:
    closed = row(device=replace(PLAIN, proven=False))
    assert shown(closed)[3:] == ("ready", "0.1")
    assert [(f.check, f.level, f.register_) for f in closed.findings] == [("unproven", "info", "")]


def test_a_total_that_is_a_sum_of_tariffs_says_so_in_its_quality() -> None:
    closed = row(device=replace(PLAIN, summed=True))
    assert shown(closed)[3:] == ("ready", "11.0")
    live = dict.fromkeys(("1.8.1", "1.8.2"), QUIET)
    assert all(item.reading.quality == "0.1" for item in rows(live, tariffs=2, device=replace(PLAIN, summed=True)))


def test_a_row_carries_every_quality_that_its_findings_give_in_the_order_of_their_numbers() -> None:
    late = november(_31_2345="250", _01_0030="250.1")
    closed = row(late, previous=ended("251"), device=replace(PLAIN, summed=True))
    assert closed.reading.quality == "1.9 5.258 6.4 11.0"


def test_a_row_carries_what_proves_it() -> None:
    proof = row().proof
    (segment,) = proof["segments"]
    assert segment["end"]["before"] == [at("2026-10-31 23:45:00"), 250_000]
    assert segment["end"]["after"] == [at("2026-11-01 00:15:00"), 250_200]
    assert [asking["asked"] for asking in segment["end"]["askings"]] == [at("2026-11-01 00:00:02")]
    assert proof["utility"]["decimals"] == 0
    asked = ("2026-11-01 00:00:40", "2026-11-01 00:01:40")
    frozen = row(frozen=dict.fromkeys(asked, "249.90")).proof["segments"][0]["end"]
    assert [asking["asked"] for asking in frozen["askings"]] == [at(when) for when in asked]
