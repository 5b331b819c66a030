"""Estimates: only where the utility says so, by its cascade, with their inputs; replaced when the reading arrives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.central import closing, utility
from collector.central.estimation import Estimation, PastMonths, estimate
from collector.central.utility import Utility
from drivers.strict_yaml import ConfigError
from tests.central.books import FIRST, SECOND, ZONE, Centre, at, own_utility, point
from tests.central.one_point import OCTOBER_BEGINS, checks, ended, row, shown

PAST = {"2025-10": "310", "2026-05": "90", "2026-06": "80", "2026-07": "70", "2026-08": "60", "2026-09": "150"}
ALL = "{steps: [last-year, mean, norm], norm: {1.8.0: 120}}"


def guess(rule: str, months: Mapping[str, str], period: str = "2026-10") -> tuple[str, str] | None:
    """(step, kWh) of an estimate."""
    by = own_utility(estimation=rule)
    assert by.estimation is not None
    past = PastMonths({month: text.split() for month, text in months.items()})
    found = estimate(by.estimation, "1.8.0", period, past, lambda month: by.edge_of(month, ZONE).at)
    return None if found is None else (found.step, f"{found.kwh:f}")


@pytest.mark.parametrize(
    ("rule", "months", "found"),
    [
        (ALL, PAST, ("last-year", "310")),
        ("{steps: [mean]}", PAST, ("mean", "126.6666666666666666666666667")),
        ("{steps: [mean], months: 3}", PAST, ("mean", "93.33333333333333333333333333")),
        ("{steps: [mean]}", {"2026-08": "60", "2026-09": "150"}, None),
        ("{steps: [mean], least: 2}", {"2026-08": "60", "2026-09": "150"}, ("mean", "105")),
        ("{steps: [mean, norm], norm: {1.8.0: 120}}", {"2026-09": "150"}, ("norm", "120")),
        ("{steps: [norm], norm: {1.8.1: 120}}", PAST, None),
        (
            "{steps: [daily], months: 3}",
            {"2026-06": "30", "2026-07": "62", "2026-08": "31"},
            ("daily", "41.4456521739130434782608696"),
        ),
        (ALL, {**PAST, "2025-10": "310 estimated"}, ("mean", "90")),
        (ALL, {"2026-07": "9 estimated", "2026-08": "9 estimated", "2026-09": "9 estimated"}, ("norm", "120")),
        (ALL, {**PAST, "2026-08": "9 estimated", "2026-09": "9 estimated"}, ("last-year", "310")),
        ("{steps: [last-year], in_a_row: 1}", {**PAST, "2026-09": "9 estimated"}, None),
        (ALL, {**PAST, "2026-09": "9 held"}, ("last-year", "310")),
    ],
)
def test_the_first_step_that_gives_something_counts(
    rule: str, months: Mapping[str, str], found: tuple[str, str] | None
) -> None:
    given_ = guess(rule, months)
    if found is None:
        assert given_ is None
        return
    assert given_ is not None
    assert given_[0] == found[0]
    if found[0] != "daily":
        assert given_[1] == found[1]
    else:
        assert round(Decimal(given_[1]), 3) == round(Decimal(123) * 31 / 92, 3)


@given(st.dictionaries(st.sampled_from(sorted(PAST)), st.integers(0, 10**6), min_size=3), st.integers(1, 12))
def test_a_mean_lies_between_the_least_and_the_most_of_its_months(months: dict[str, int], count: int) -> None:
    found = guess(f"{{steps: [mean], months: {count}, least: 1}}", {month: str(kwh) for month, kwh in months.items()})
    assert found is not None
    last = [months[month] for month in sorted(months, reverse=True)[:count]]
    assert min(last) <= Decimal(found[1]) + Decimal("1e-9")
    assert Decimal(found[1]) <= max(last)


def test_nobody_estimates_unless_the_profile_says_so() -> None:
    closed = row(OCTOBER_BEGINS, previous=ended("100")._replace(months=PastMonths({"2025-10": ["310"]})))
    assert shown(closed)[1:4] == ("", "", "missing")


def test_an_estimate_is_a_dial_with_its_quality_and_inputs_and_is_cut_as_every_dial() -> None:
    before = ended("100")._replace(months=PastMonths({"2026-07": ["50"], "2026-08": ["51"], "2026-09": ["51"]}))
    closed = row(OCTOBER_BEGINS, previous=before, utility=own_utility(estimation="{steps: [last-year, mean]}"))
    assert shown(closed) == ("100", "150", "50", "estimated", "5.259 8.0")
    assert closed.reading.method == "estimated"
    assert closed.reading.end_time == at("2026-11-01 00:00:00")
    assert checks(closed) == ["missing", "estimated"]
    end = closed.proof["segments"][-1]["end"]
    assert (end["step"], [tried["step"] for tried in end["tried"]]) == ("mean", ["last-year", "mean"])
    assert end["tried"][1]["inputs"] == {"2026-09": "51", "2026-08": "51", "2026-07": "50"}
    assert closed.carried["months"]["2026-10"] == ["50", "estimated"]


def test_with_transformers_the_estimate_is_of_energy_not_of_the_dial() -> None:
    before = ended("100")._replace(months=PastMonths({"2025-10": ["4100"]}))
    closed = row(OCTOBER_BEGINS, previous=before, ratio="40", utility=own_utility(estimation="{steps: [last-year]}"))
    assert shown(closed)[:3] == ("100", "202", "4080")


def test_the_month_after_an_estimate_makes_up_for_it_and_says_so() -> None:
    before = ended("130", status="estimated")
    closed = row(
        dict.fromkeys(("2026-10-31 23:45:00", "2026-11-01 00:00:02", "2026-11-01 00:15:00"), "160"), previous=before
    )
    assert shown(closed) == ("130", "160", "30", "ready", "8.0")
    assert checks(closed) == ["after-estimate"]
    low = row(
        dict.fromkeys(("2026-10-31 23:45:00", "2026-11-01 00:00:02", "2026-11-01 00:15:00"), "120"), previous=before
    )
    assert (shown(low)[3], checks(low)) == ("held", ["after-estimate", "backwards"])


def test_too_many_estimates_in_a_row_are_warned_of() -> None:
    rule = "{steps: [norm], norm: {1.8.0: 50}}"
    months = {"2026-07": "50 estimated", "2026-08": "50 estimated", "2026-09": "50 estimated"}
    for count, found in ((2, ["missing", "estimated"]), (3, ["missing", "estimated", "estimated-often"])):
        past = PastMonths({month: text.split() for month, text in list(months.items())[3 - count :]})
        closed = row(OCTOBER_BEGINS, previous=ended("130")._replace(months=past), utility=own_utility(estimation=rule))
        assert checks(closed) == found


def estimating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Utility:
    shipped = tmp_path / "utilities"
    shipped.mkdir()
    generic = (
        (utility.UTILITIES / "generic.yaml")
        .read_text()
        .replace("estimation: none", "estimation: {steps: [mean], least: 1}")
    )
    (shipped / "generic.yaml").write_text(generic)
    monkeypatch.setattr(utility, "UTILITIES", shipped)
    return utility.load("generic")


@pytest.mark.usefixtures("database")
def test_an_estimate_is_replaced_by_a_revision_when_the_reading_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by = estimating(tmp_path, monkeypatch)
    centre = Centre(tmp_path, point(1))
    for month, dials in (("2026-08", {"1.8.1": "80", "1.8.2": "5"}), ("2026-09", FIRST)):
        centre.month_of("m1", month, dials)
    centre.close("2026-09", by=by)
    centre.close("2026-10", by=by)
    rows = centre.billing("2026-10")
    assert [(found["end_kwh"], found["status"], found["method"]) for found in rows] == [
        ("120", "estimated", "estimated"),
        ("15", "estimated", "estimated"),
    ]
    manifest = json.loads((centre.out / "2026-10" / "generic" / "r1" / "manifest.json").read_text())
    assert (manifest["expected"], manifest["estimated"]) == (2, 2)
    assert centre.close("2026-10", by=by).changed == 0
    centre.month_of("m1", "2026-10", SECOND)
    centre.close("2026-10", by=by)
    rows = centre.billing("2026-10", 2)
    assert [(found["end_kwh"], found["status"]) for found in rows] == [("150", "ready"), ("22", "ready")]
    said = [found["text"] for found in centre.findings("2026-10", 2) if found["check"] == "revised"]
    assert said[0] == "r1 had 120 kWh (estimated), now 150 kWh (ready)"
    assert closing.preview_month(centre.books, "2026-11", by).counts["estimated"] == 2


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{steps: []}", "estimation.steps"),
        ("{steps: [guess]}", "one of last-year, mean, daily, norm is wanted"),
        ("{steps: [norm], norm: {1.8.0: -5}}", "a decimal number such as 100 or 0.5 is wanted"),
        ("{steps: [mean], months: 13}", "from 1 to 12"),
        ("mean", "a mapping of keys is wanted here: steps, months, least, in_a_row, norm"),
    ],
)
def test_a_cascade_that_nobody_can_mean_is_refused(rule: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        own_utility(estimation=rule)
    assert any(said in fault for fault in refused.value.faults), refused.value.faults


def test_the_estimation_section_has_the_usual_defaults() -> None:
    rule = own_utility(estimation="{steps: [mean]}").estimation
    assert isinstance(rule, Estimation)
    assert (rule.months, rule.least, rule.in_a_row) == (6, 3, 3)
