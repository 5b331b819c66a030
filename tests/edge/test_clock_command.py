"""`meterline clock correct` against a simulated meter: what it writes, when, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from collector.clock import SystemClock
from collector.commands import clock as command
from collector.edge.meter_clock import from_instant, to_instant
from collector.exits import CheckFailed, UsageFault
from collector.localtime import rfc3339
from drivers.dialogue import MeterRefused
from drivers.profile import load
from hil.household import Household
from hil.line import Wire
from hil.meter import VirtualMeter

ZONE, SERIAL, ADDRESS = "Europe/Moscow", "38395190", "190"


class Trusted:
    """A computer whose clock is right, or not."""

    def __init__(self, right: bool) -> None:
        self.synced = lambda: right


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "of_this_computer", lambda: Trusted(True))


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def meter(off: int) -> VirtualMeter:
    return VirtualMeter(load("mercury-230"), ADDRESS, Household.of_seed(1, 2), SERIAL, ZONE, drift_ms=1000 * off)


@pytest.fixture
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    with Wire([meter(request.param)], SystemClock()) as running:
        yield running


def off_by(*seconds: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("wire", seconds, indirect=True)


def correct(wire: Wire, audit: Path, *more: str, profile: str = "mercury-230", serial: str = SERIAL) -> Result:
    options = ["correct", "--profile", profile, "--port", wire.path, "--address", ADDRESS, "--serial-number", serial]
    return CliRunner().invoke(command.clock, [*options, "--time-zone", ZONE, "--audit", str(audit), *more])


def lines(audit: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in audit.read_text("utf-8").splitlines()]


@off_by(-75, 200)
def test_a_clock_is_set_right_once_a_day_and_the_audit_tells_before_and_after(wire: Wire, audit: Path) -> None:
    audit.write_text('{"before": true}\n')
    done = correct(wire, audit, "--yes")
    assert done.exception is None, done.exception
    assert "is right now" in done.stderr
    kept, begun, after = lines(audit)
    assert kept == {"before": True}
    assert [begun["state"], after["state"]] == ["begun", "done"]
    assert begun["serial_number"] == SERIAL
    assert begun["digest"] == load("mercury-230").digest
    assert begun["event"] == "clock-correction"
    assert begun["at"] <= after["at"] <= rfc3339(SystemClock().millis())
    again = correct(wire, audit, "--yes")
    assert again.exception is None
    assert "nothing is done" in again.stderr
    assert len(lines(audit)) == 3


@off_by(-75)
def test_without_a_yes_nothing_is_written(wire: Wire, audit: Path) -> None:
    told = correct(wire, audit)
    assert isinstance(told.exception, UsageFault)
    assert "-75 s off" in str(told.exception) or "-76 s off" in str(told.exception)
    assert not audit.exists()
    assert "is right now" in correct(wire, audit, "--yes").stderr


@off_by(-75)
def test_the_meter_refuses_a_second_correction_of_the_day_and_the_audit_says_so(wire: Wire, audit: Path) -> None:
    assert correct(wire, audit, "--yes").exception is None
    (meter_,) = wire._stations
    meter_.side._moved -= timedelta(seconds=60)  # type: ignore[attr-defined]  # its quartz is broken
    refused = correct(wire, audit, "--yes")
    assert isinstance(refused.exception, MeterRefused)
    assert "try tomorrow" in str(refused.exception)
    assert [line["state"] for line in lines(audit)] == ["begun", "done", "begun", "refused"]


@off_by(300)
def test_more_than_the_meter_allows_is_not_sent(wire: Wire, audit: Path) -> None:
    refused = correct(wire, audit, "--yes", "--trace", str(audit.with_suffix(".trace")))
    assert isinstance(refused.exception, MeterRefused)
    assert "240 s a day" in str(refused.exception)
    assert ">> be 03 0d" not in audit.with_suffix(".trace").read_text()


@off_by(-75)
def test_another_meter_another_family_a_wrong_clock_or_no_audit_file_stop_it(
    wire: Wire, audit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(correct(wire, audit, "--yes", serial="38395191").exception, CheckFailed)
    assert isinstance(correct(wire, audit, "--yes", profile="mercury-206").exception, UsageFault)
    assert isinstance(correct(wire, audit, "--yes", profile="abb-b23").exception, UsageFault)
    trace = audit.with_suffix(".trace")
    nowhere = correct(wire, audit.parent / "no" / "folder", "--yes", "--trace", str(trace))
    assert isinstance(nowhere.exception, UsageFault)
    assert ">> be 03" not in trace.read_text()
    monkeypatch.setattr(command, "of_this_computer", lambda: Trusted(False))
    unset = correct(wire, audit, "--yes")
    assert isinstance(unset.exception, UsageFault)
    assert "set by nobody" in str(unset.exception)
    assert not audit.exists()


@pytest.mark.parametrize("meter_time", ["local", "standard", "utc"])
def test_what_a_right_clock_shows_names_the_instant_again(meter_time: Any) -> None:
    for zone_name in ("Europe/Kyiv", "Europe/Moscow", "America/Havana"):
        for now in range(1_780_000_000_000, 1_812_000_000_000, 86_400_000 * 3 + 1_234_000):
            shown = from_instant(now, zone_name, meter_time)
            assert shown.tzinfo is None
            assert to_instant(shown, zone_name, meter_time, near=now) == now
