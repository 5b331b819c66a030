"""The bench as a tester sees it: simulated lines read by a gateway into a centre, and the verdict on what came."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.cli import main
from tests.broker import Mosquitto, eventually
from tests.system.daemons import ROOT, Daemon

BENCH = """
schema: 1
interval: 5s
lines:
  - {name: riser, link: riser, meters: [{id: a, profile: abb-b23, address: 1, tariffs: 3, day: 9000}]}
  - name: block
    kind: tcp
    meters: [{id: b, profile: orno-we-515, count: 3, tariffs: 3, use: office}]
"""
STUCK = BENCH.replace("day: 9000}", "day: 9000, faults: [{name: stuck, from: 1s}]}")


def meterline(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "collector", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)


@contextmanager
def read_by_a_gateway(folder: Path, bench: str, broker: str) -> Iterator[Path]:
    """Bench, gateway and centre at work; gives central.yaml. It comes when the truth has four ticks."""
    (folder / "bench.yaml").write_text(bench)
    central, truth = folder / "central.yaml", folder / "truth.csv"
    central.write_text(f"schema: 1\ndata: {folder / 'data'}\ntime_zone: Europe/Moscow\nmqtt: {{url: '{broker}'}}\n")
    simulated = Daemon(folder, "simulate", folder / "bench.yaml", "--truth", truth, "--out", folder, "--broker", broker)
    centre = Daemon(folder, "central", "run", "--config", central)
    gateway = Daemon(folder, "gateway", "run", "--config", folder / "gateway.yaml")
    try:
        simulated.start()
        eventually((folder / "points.csv").exists)
        done = meterline("registry", "import", folder / "points.csv", "--config", central)
        assert done.returncode == 0, done.stderr
        centre.start()
        gateway.start()
        eventually(lambda: len(ticks(truth)) >= 4, "the truth of some ticks", patience=120)
        yield central
    finally:
        for daemon in (gateway, centre, simulated):
            daemon.kill()


def ticks(truth: Path) -> set[str]:
    """The ticks that a truth has so far."""
    return {line.split(",")[1] for line in truth.read_text().splitlines()[1:]}


def wrong(central: Path) -> tuple[int, list[str]]:
    """Exit status, and the values that are wrong."""
    done = meterline("bench", "compare", central.parent / "truth.csv", "--config", central, "--format", "csv")
    assert done.returncode in (0, 5), done.stderr
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("wrong,")]


def test_what_a_gateway_reads_of_a_healthy_bench_is_the_truth(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, read_by_a_gateway(tmp_path, BENCH, broker.url) as central:
        status, lines = wrong(central)
        read = meterline("readings", "--config", central, "--format", "csv").stdout
    assert (status, lines) == (0, [])
    assert {line.split(",")[0] for line in read.splitlines()[1:]} == {"a", "b-0001", "b-0002", "b-0003"}


def test_a_stuck_register_is_found_by_the_truth_and_by_nothing_else(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, read_by_a_gateway(tmp_path, STUCK, broker.url) as central:
        eventually(lambda: wrong(central)[0] == 5, "a value that stands still", patience=120)
        assert {line.split(",")[1] for line in wrong(central)[1]} == {"a"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (BENCH.replace("kind: tcp", "kind: token-ring"), "bench.yaml:7: lines.1.kind"),
        (BENCH.replace("interval: 5s", "interval: 5s\nspeed: 9"), "bench.yaml:4: speed"),
        (BENCH.replace("profile: orno-we-515", "profile: mercury-230"), "bench.yaml:8: lines.1.meters.0.profile"),
        (BENCH.replace("id: b,", "id: a,").replace("count: 3, ", ""), "the meter 'a' stands twice"),
        (STUCK.replace("from: 1s", "share: 0.5"), "bench.yaml:5: lines.0.meters.0"),
        (STUCK.replace("stuck", "rust"), "a fault is one of echo"),
    ],
)
def test_a_bench_with_a_mistake_is_refused_with_its_line(
    text: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bench.yaml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["simulate", str(tmp_path / "bench.yaml"), "--for", "1s"])
    assert ended.value.code == 2
    assert place in capsys.readouterr().err


def test_the_bench_says_where_its_lines_are_and_what_happened(tmp_path: Path) -> None:
    (tmp_path / "bench.yaml").write_text(BENCH)
    done = meterline("simulate", tmp_path / "bench.yaml", "--for", "1s")
    assert done.returncode == 0
    names = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert names["riser"] == str(tmp_path / "riser")
    assert names["block"].startswith("tcp://127.0.0.1:")
    assert "4 meters on 2 lines" in done.stderr
    assert "0 answers; faults: none" in done.stderr
    assert not (tmp_path / "riser").is_symlink(), "a link to a terminal that is gone"


def test_a_thousand_meters_are_one_command(tmp_path: Path) -> None:
    meters = "meters: [{id: m, profile: abb-b23, count: 50, tariffs: 3}]"
    (tmp_path / "bench.yaml").write_text(f"schema: 1\nlines:\n  - {{name: block, kind: tcp, count: 20, {meters}}}\n")
    done = meterline("simulate", tmp_path / "bench.yaml", "--for", "1s")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 20
    assert "1000 meters on 20 lines" in done.stderr
