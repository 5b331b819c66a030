"""The traffic of many gateways through a real broker into a real centre, and the verdict on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.cli import main
from tests.broker import Mosquitto
from tests.system.daemons import ROOT, Daemon

MUCH = ("--gateways", "60", "--meters", "4", "--rounds", "3", "--interval", "2s")


def meterline(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "collector", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=240)


@pytest.fixture
def central(tmp_path: Path) -> Iterator[Path]:
    """central.yaml of a running centre that knows nobody."""
    with Mosquitto(tmp_path) as broker:
        path = tmp_path / "central.yaml"
        path.write_text(
            f"schema: 1\ndata: {tmp_path / 'data'}\ntime_zone: Europe/Moscow\nmqtt: {{url: '{broker.url}'}}\n"
        )
        daemon = Daemon(tmp_path, "central", "run", "--config", path)
        daemon.start()
        yield path
        daemon.kill()


def test_everything_that_sixty_gateways_send_is_receipted_and_stored(central: Path) -> None:
    points = central.parent / "points.csv"
    assert meterline("bench", "load", "--config", central, *MUCH, "--points", points).returncode == 0
    done = meterline("registry", "import", points, "--config", central)
    assert done.returncode == 0, done.stderr
    done = meterline("bench", "load", "--config", central, *MUCH)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sent 180, receipted 180, stored 180, lost 0, late 0 ")


def test_batches_that_a_centre_does_not_take_are_lost_and_end_with_5(central: Path) -> None:
    done = meterline("bench", "load", "--config", central, *MUCH)
    assert done.returncode == 5
    assert done.stdout.startswith("sent 180, receipted 0, stored 0, lost 180, ")
    assert "refused: 180 unknown-gateway" in done.stdout


def test_a_broker_that_is_away_ends_with_6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.load.CONNECTED", 0.5)  # seconds that it is given; ten for one that is only slow
    path = tmp_path / "central.yaml"
    path.write_text(
        f"schema: 1\ndata: {tmp_path / 'data'}\ntime_zone: Europe/Moscow\nmqtt: {{url: 'mqtt://127.0.0.1:9'}}\n"
    )
    with pytest.raises(SystemExit) as ended:
        main(["bench", "load", "--config", str(path), *MUCH])
    assert ended.value.code == 6
