"""The truth of a bench: what is written, and what of a centre's values is wrong, missing, late."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.central.store.series import Row
from collector.localtime import parse_time, to_millis
from drivers.meter_side import Wiring
from drivers.profile import load
from drivers.strict_yaml import ConfigError
from hil.bench import BenchMeter
from hil.faults import Fault
from hil.household import Household
from hil.meter import VirtualMeter
from hil.truth import HEADER, Truth, compared, read, rows_at

TICK = 900_000
START = to_millis(parse_time("2026-10-31T23:30:00+03:00"))
MIDNIGHT = to_millis(parse_time("2026-11-01T00:00:00+03:00"))


def meter(profile: str = "neva-mt124", *faults: Fault) -> BenchMeter:
    household = Household.of_seed(3, 3, 3 * 3_600_000)
    return BenchMeter(
        "m-1", VirtualMeter(load(profile), "1", household, "123", "Europe/Moscow", wiring=Wiring()), faults
    )


def truth_of(it: BenchMeter, ticks: int = 4) -> Truth:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(HEADER)
    for number in range(ticks):
        rows.writerows(rows_at(it, START + number * TICK))
    return read(io.StringIO(text.getvalue()), "truth.csv")


def centre(it: BenchMeter, at: int, kind: str = "live", off: int = 0) -> list[Row]:
    """What a centre has of a meter that was asked at an instant."""
    return [Row(it.id, at, code, wh // 10 * 10 + off, kind) for code, wh in it.truth.energy(at).items()]  # type: ignore[arg-type]


def sound(it: BenchMeter, ticks: int = 3) -> list[Row]:
    live = [row for number in range(ticks) for row in centre(it, START + number * TICK + 800)]
    return live + centre(it, MIDNIGHT, "frozen")


@given(st.integers(1, 50_000))
def test_what_was_read_of_a_healthy_meter_is_right_whenever_it_was_asked(after: int) -> None:
    it = meter()
    rows = [row for number in range(3) for row in centre(it, START + number * TICK + after)]
    assert list(compared(truth_of(it), rows + centre(it, MIDNIGHT, "frozen"), late=60_000)) == []


def test_a_value_that_the_meter_did_not_hold_is_wrong() -> None:
    it = meter()
    rows = [row._replace(value=row.value + 5_000) if row.register == "1.8.1" else row for row in sound(it)]
    verdicts = list(compared(truth_of(it), rows, late=60_000))
    assert {verdict.verdict for verdict in verdicts} == {"wrong"}
    assert {verdict.register for verdict in verdicts} == {"1.8.1"}
    assert len(verdicts) == 4, "three live values and the frozen one"


def test_a_tick_without_a_value_is_missing_and_one_that_came_behind_it_is_late() -> None:
    it = meter()
    rows = [row for row in sound(it) if not START <= row.time < START + TICK]
    assert {(verdict.verdict, verdict.time) for verdict in compared(truth_of(it), rows, 60_000)} == {("missing", START)}
    rows = [row._replace(time=row.time + 100_000) if row.time < START + TICK else row for row in sound(it)]
    assert {verdict.verdict for verdict in compared(truth_of(it), rows, 60_000)} == {"late"}


def test_a_frozen_month_that_never_came_is_missing() -> None:
    it = meter()
    rows = [row for row in sound(it) if row.kind == "live"]
    assert {(verdict.verdict, verdict.time) for verdict in compared(truth_of(it), rows, 60_000)} == {
        ("missing", MIDNIGHT)
    }


def test_the_truth_of_a_stuck_meter_is_what_was_used_and_not_what_it_shows() -> None:
    ill = meter("neva-mt124", Fault("stuck", start=START - 30 * 24 * 3_600_000))
    shown = ill.meter.energy(START - 30 * 24 * 3_600_000)
    rows = [Row("m-1", START + 500, code, wh, "live") for code, wh in shown.items()]
    assert "wrong" in {verdict.verdict for verdict in compared(truth_of(ill), rows, 60_000)}


def test_the_truth_of_a_dial_that_turns_over_turns_over_too() -> None:
    it = meter("neva-mt124", Fault("rollover", start=START + TICK + TICK // 2))
    truth = truth_of(it)
    points = truth.live["m-1", "1.8.0"]
    assert points[2].wh < points[1].wh
    assert [verdict for verdict in compared(truth, sound(it), 60_000) if verdict.verdict == "wrong"] == []


@pytest.mark.parametrize(
    "text",
    ["", "meter,time\n", ",".join(HEADER) + "\nm,yesterday,1.8.0,1.000,0.001,live\n",
     ",".join(HEADER) + "\nm,2026-10-01T00:00:00Z,1.8.0,1.000,0.001,live\n" * 2],
)  # fmt: skip
def test_a_file_that_is_no_truth_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"truth\.csv:\d+:"):
        read(io.StringIO(text), "truth.csv")
