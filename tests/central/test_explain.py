"""`explain`: one number's whole story, from the bytes on the wire to the row that was sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.central import utility
from collector.clock import SystemClock
from tests.central.books import FIRST, SECOND, Centre, at, point
from tests.central.building import Meterline, central_yaml

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return central_yaml(tmp_path)


@pytest.fixture
def centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Centre]:
    monkeypatch.setattr(SystemClock, "millis", lambda _: at("2026-11-02 08:00:00"))
    centre = Centre(tmp_path, point(1), point(2))
    centre.month_of("m1", "2026-09", FIRST)
    centre.month_of("m1", "2026-10", SECOND)
    for month in ("2026-09", "2026-10"):
        centre.close(month)
    yield centre
    centre.store.close()
    centre.engine.dispose()


def story(meterline: Meterline, config: Path, name: str, month: str) -> list[str]:
    answer = meterline("explain", name, month, "--config", config)
    assert answer.status == 0, answer.err
    return [line.strip() for line in answer.out.splitlines()]


def test_a_number_is_told_from_its_bytes_to_the_row_that_was_sent(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    lines = story(meterline, config, "kv1", "2026-10")
    row = (centre.out / "2026-10" / "generic" / "r1" / "billing.csv").read_text().splitlines()[1]
    first = centre.ledger()[4]
    assert lines[0] == "kv1, account 10001, generic, 2026-10: T1 (1.8.1)"
    for said in (
        "150 kWh is ready; consumption 50 kWh; quality 0.1",
        "start: 100.900 kWh, read at 2026-10-01 00:00:02",
        "end: 150.100 kWh, read at 2026-11-01 00:00:02",
        "witness before it: 150.100 kWh at 2026-10-31 23:45:00",
        "witness after it: 150.100 kWh at 2026-11-01 00:15:00",
        f"raw bytes {150_100:08x}; meter's clock (not sent)",
        "consumption: (150 kWh - 100 kWh) x 1 = 50 kWh",
        "no check had anything to say",
        "months: 2026-10 50",
        row,
    ):
        assert said in lines, said
    assert any(
        line.startswith("gw-lenina-12, spool b7e3c1d09a44, batch 2, snapshot 0, batch SHA-256 ") for line in lines
    )
    assert any(line.startswith("meter m1, serial number 00001, profile abb-b23 sha256:") for line in lines)
    assert any(f"digest {first.digest}" in line and "closed by meterline at " in line for line in lines)


def test_decisions_readings_by_hand_and_revisions_are_in_the_story(
    centre: Centre, config: Path, meterline: Meterline
) -> None:
    meterline("manual", "enter", "10002", "2026-10", "5", "6", "--config", config, "--by", "Olga")
    centre.close("2026-10")
    meterline("exceptions", "accept", "2026-10", "kv2", "--config", config, "--reason", "first month")
    lines = story(meterline, config, "kv2", "2026-10")
    assert any(line.startswith("end: 5.000 kWh, told at 2026-11-02 08:00:00 (by phone)") for line in lines)
    assert any(line.startswith("entered by Olga (entered by ") for line in lines)
    assert any(line.startswith("decided: accept by ") and line.endswith(": first month") for line in lines)
    assert [line.split(", closed by")[0] for line in lines if line.startswith(("r1:", "r2:", "r3:"))][:3] == [
        "r1: no reading missing",
        "r2: 5 kWh held",
        "r3: 5 kWh ready",
    ]


def test_the_last_day_is_told_by_hours_and_by_the_calendar(
    centre: Centre, config: Path, meterline: Meterline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in range(20, 24):
        day, night = ("150.05", "22.4") if hour < 23 else ("150.1", "22.4")
        centre.read("m1", f"2026-10-31 {hour}:00:00", {"1.8.1": day, "1.8.2": night})
    shipped = tmp_path / "utilities"
    shipped.mkdir()
    generic = (utility.UTILITIES / "generic.yaml").read_text()
    calendar = 'calendar: {1.8.1: ["07:00-23:00"], 1.8.2: ["23:00-07:00"]}\n'
    (shipped / "generic.yaml").write_text(generic + calendar)
    monkeypatch.setattr(utility, "UTILITIES", shipped)
    lines = story(meterline, config, "kv1", "2026-10")
    assert "2026-10-31 20:00-21:00: nothing; the calendar says 1.8.1" in lines
    assert "2026-10-31 22:00-23:00: 1.8.1 +0.050; the calendar says 1.8.1" in lines


def test_steps_that_no_meter_makes_are_named(centre: Centre, config: Path, meterline: Meterline) -> None:
    centre.read("m1", "2026-10-15 12:00:00", {"1.8.1": "9000.0", "1.8.2": "15"})
    centre.read("m1", "2026-10-15 12:15:00", {"1.8.1": "120.0", "1.8.2": "15"})
    lines = story(meterline, config, "kv1", "2026-10")
    assert "1.8.1 of m1: -8880.000 kWh from 2026-10-15 12:00:00 to 2026-10-15 12:15:00, which no meter makes" in lines
    assert any("the steps add up to" in line for line in lines)


def test_a_month_that_is_not_closed_has_no_story(centre: Centre, config: Path, meterline: Meterline) -> None:
    for name, month in (("kv1", "2026-11"), ("kv9", "2026-10")):
        answer = meterline("explain", name, month, "--config", config)
        assert (answer.status, "is not closed, or there is no such point" in answer.err) == (2, True)
