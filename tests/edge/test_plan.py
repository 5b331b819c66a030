"""`config plan` and `config check`: the line's time by its own arithmetic, and a warning when it does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from collector.commands.config import config
from collector.config import load_gateway
from collector.edge.plan import plans
from collector.edge.setup import meter_setup
from drivers import modbus
from drivers.dialogue import Ask

GATEWAY: dict[str, Any] = {
    "schema": "1",
    "gateway": "gw-1",
    "time_zone": "Europe/Moscow",
    "interval": "15m",
    "mqtt": {"url": "mqtt://127.0.0.1"},
    "spool": {"path": "spool.db"},
}


def written(folder: Path, meters: int = 2, **line: Any) -> Path:
    members = [
        {"id": f"m-{n}", "profile": "orno-we-517", "address": str(n), "serial_number": str(n)}
        for n in range(1, meters + 1)
    ]
    whole = {"name": "riser-1", "port": "/dev/ttyUSB0", "baudrate": "9600", "framing": "8N1", "meters": members}
    path = folder / "gateway.yaml"
    path.write_text(
        json.dumps(GATEWAY | {"lines": [{key: it for key, it in (whole | line).items() if it is not None}]})
    )
    return path


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(config, [str(word) for word in words], catch_exceptions=False)


def test_a_line_s_plan_is_the_sum_of_its_requests_and_a_share_of_its_interval(tmp_path: Path) -> None:
    done = call("plan", written(tmp_path, meters=30), "--format", "json")
    assert done.exit_code == 0
    (line,) = json.loads(done.stdout)["lines"]
    assert (line["line"], line["fits"], len(line["meters"])) == ("riser-1", True, 30)
    assert line["interval_ms"] == pytest.approx(sum(meter["interval_ms"] for meter in line["meters"]), abs=0.1)
    assert line["share"] == pytest.approx(line["interval_ms"] / 900_000, abs=1e-5)
    for meter in line["meters"]:
        assert meter["interval_ms"] == pytest.approx(sum(b["milliseconds"] for b in meter["interval"]), abs=0.01)
        assert meter["boundary_ms"] > meter["interval_ms"]
    codes = {name for block in line["meters"][0]["interval"] for name in block["names"]}
    assert {"1.8.0", "1.8.1", "1.8.2", "1.8.3", "1.8.4"} <= codes
    assert {name for block in line["meters"][0]["boundary"] for name in block["names"]} >= codes | {"serial"}


def test_the_plan_is_what_the_driver_will_ask(tmp_path: Path) -> None:
    (line,) = plans(load_gateway(written(tmp_path, meters=1)))
    (meter,) = line.meters
    setup = meter_setup(meter.meter)
    thinks = setup.profile.line.turnaround
    ask = Ask("1", tuple(setup.interval_codes), serial=False, clock=False, turnaround=thinks)
    assert meter.requests == modbus.plan(setup.profile, ask)


def test_a_plan_that_takes_more_than_its_interval_is_warned_of(tmp_path: Path) -> None:
    done = call("plan", written(tmp_path, meters=60), "--format", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    path = written(tmp_path, meters=60, baudrate="1200")
    path.write_text(path.read_text().replace('"15m"', '"30s"'))
    done = call("plan", path, "--format", "json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["lines"][0]["fits"] is False
    assert "line riser-1: its plan takes" in done.stderr
    assert "a longer interval, a higher baudrate, or fewer meters" in done.stderr


def test_a_midnight_pass_that_takes_longer_than_a_minute_is_warned_of(tmp_path: Path) -> None:
    done = call("plan", written(tmp_path, meters=100, baudrate="1200"), "--format", "json")
    assert "the pass at midnight takes" in done.stderr


def test_a_tcp_port_has_no_line_time_of_its_own(tmp_path: Path) -> None:
    path = written(tmp_path, port="tcp://127.0.0.1:502", baudrate=None, framing=None)
    (line,) = json.loads(call("plan", path, "--format", "json").stdout)["lines"]
    wire = json.loads(call("plan", written(tmp_path), "--format", "json").stdout)["lines"][0]
    assert 0 < line["interval_ms"] < wire["interval_ms"]


def test_an_ended_meter_takes_no_time(tmp_path: Path) -> None:
    path = written(tmp_path, meters=2)
    (tmp_path / "gateway.d").mkdir()
    (tmp_path / "gateway.d/1.yaml").write_text("ended: [{id: m-2, at: 2026-11-01T00:00:00Z}]\n")
    (line,) = json.loads(call("plan", path, "--format", "json").stdout)["lines"]
    assert [meter["meter"] for meter in line["meters"]] == ["m-1"]


def test_the_table_shows_every_meter_and_cuts_no_number(tmp_path: Path) -> None:
    text = call("plan", written(tmp_path, meters=3)).stdout
    (line,) = json.loads(call("plan", written(tmp_path, meters=3), "--format", "json").stdout)["lines"]
    for meter in line["meters"]:
        assert meter["meter"] in text
        for block in meter["interval"]:
            assert f"{block['milliseconds']:.1f}" in text
    assert f"{line['interval_ms']:.0f}" in text
    assert "…" not in text


def test_check_says_sound_and_warns_on_stderr(tmp_path: Path) -> None:
    done = call("check", written(tmp_path, port="tcp://127.0.0.1:502"))
    assert done.exit_code == 0
    assert done.stdout.endswith("gateway.yaml: sound\n")
    assert done.stderr.count("warning:") == 2
