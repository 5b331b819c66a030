"""The tests of a rig, proven on simulated meters: they run, they fail on a bad line, they skip without a rig."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collector.clock import SystemClock
from drivers.meter_side import Wiring
from drivers.profile import load
from drivers.strict_yaml import ConfigError
from hil import rig
from hil.faults import Fault, on_one_wire
from hil.household import Household
from hil.line import Wire
from hil.meter import VirtualMeter

ROOT = Path(__file__).resolve().parents[2]
CLOCK = SystemClock()
SESSION = str(ROOT / "tests" / "data" / "meters" / "test-iec-session.yaml")
ABB = VirtualMeter(load("abb-b23"), "5", Household(day_wh=8000), "12345678", wiring=Wiring(9600, "8N1"))
TEST = VirtualMeter(load(SESSION), "201", Household(day_wh=8000), "00000201", wiring=Wiring(9600, "7E1"))


def written(path: Path, port: str, serial: str = "12345678") -> Path:
    path.write_text(f"""schema: 1
lines:
  - name: simulated
    port: {port}
    adapter: a pseudo terminal
    meters:
      - {{profile: abb-b23, address: 5, serial_number: "{serial}", baudrate: 9600, framing: 8N1}}
      - {{profile: {SESSION}, address: "201", serial_number: "00000201"}}
""")
    return path


def told_by(file: Path) -> tuple[int, str]:
    """What pytest says of tests/rig with a rig."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/rig"]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=250,
        env={**os.environ, "METERLINE_RIG": str(file)},
    )  # fmt: skip
    return ended.returncode, ended.stdout


@pytest.mark.long
def test_on_a_sound_rig_all_pass(tmp_path: Path) -> None:
    with Wire([ABB, TEST], CLOCK) as wire:
        status, told = told_by(written(tmp_path / "rig.yaml", wire.path))
    assert status == 0, told
    assert "8 passed" in told


@pytest.mark.long
def test_noise_and_another_serial_number_are_found(tmp_path: Path) -> None:
    meters = on_one_wire([(ABB, [Fault("noise")]), (TEST, [])], CLOCK, 7)
    with Wire(meters, CLOCK) as wire:
        status, told = told_by(written(tmp_path / "rig.yaml", wire.path, "87654321"))
    assert status == 1, told
    failed = [line for line in told.splitlines() if line.startswith("FAILED")]
    assert any("finds_the_line_healthy" in line and "abb-b23" in line for line in failed)
    assert any("is_the_one_that_the_rig_names" in line and "abb-b23" in line for line in failed)
    assert not any("test-iec-session" in line for line in failed)


def test_without_a_rig_all_skip_with_a_word(tmp_path: Path) -> None:
    status, told = told_by(tmp_path / "rig.yaml")
    assert status == 0, told
    assert "no rig: rig.yaml names no adapters and meters here; hil/README.md says how" in told
    assert "passed" not in told


def test_the_shipped_example_is_a_rig() -> None:
    meters = rig.load(ROOT / "hil" / "rig.example.yaml")
    assert [meter.profile.id for meter in meters] == ["eastron-sdm120", "mercury-230", "iskra-mt174"]


def test_a_rig_that_cannot_be_is_refused_with_all_its_faults(tmp_path: Path) -> None:
    file = tmp_path / "rig.yaml"
    file.write_text("""schema: 1
lines:
  - name: a
    port: /dev/ttyUSB0
    adapter: b
    meters: [{profile: no-such, address: 1}, {profile: abb-b23, address: 900, serial_number: 1}, {profile: abb-b23}]
""")
    with pytest.raises(ConfigError) as caught:
        rig.load(file)
    assert len(caught.value.faults) >= 3


@pytest.mark.long
def test_the_report_has_a_row_for_each_meter_and_its_plots(tmp_path: Path) -> None:
    with Wire(on_one_wire([(ABB, []), (TEST, [Fault("silence")])], CLOCK, 7), CLOCK) as wire:
        file = written(tmp_path / "rig.yaml", wire.path)
        command = [
            sys.executable,
            "-m",
            "collector",
            "bench",
            "report",
            "--rig",
            str(file),
            "--out",
            str(tmp_path / "out"),
        ]
        ended = subprocess.run(
            [*command, "--readings", "2"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=200
        )
    assert ended.returncode == 0, ended.stderr
    page = Path(ended.stdout.strip()).read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| simulated")]
    assert [row[2] for row in rows] == ["0", "2"], "how many readings failed"
    begins, allowed = int(rows[0][4]), int(rows[0][6])
    assert 5 <= begins <= allowed == 500
    assert rows[1][3] == "-"
    assert "nobody signs on" in page
    for name in ("turnaround", "reading", "arrival"):
        assert f"({name}.svg)" in page
        assert "<svg" in (tmp_path / "out" / f"{name}.svg").read_text()
