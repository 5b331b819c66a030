"""The gateway as an operator sees it: a process with an exit status, a log, and a bounded need of memory."""

from __future__ import annotations

import json
import re
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from collector.clock import SystemClock
from hil.tcp import TcpMeters
from tests.broker import Mosquitto, eventually, free_port
from tests.system.daemons import PROFILE, CountingMeter, Daemon, Register, rows

# docs/benchmarks.md, target: 300 meters on 3 lines in at most 64 MiB resident. Memory does not depend on how busy the
# computer is, so that a test may hold it.
MOST_KIB = 64 << 10


@contextmanager
def gateway(folder: Path, *, lines: int, meters: int, broker: str, **more: Any) -> Iterator[Daemon]:
    register = Register()
    with ExitStack() as stack:
        described = []
        for line in range(lines):
            members = [
                CountingMeter.make(line * meters + number, register, address=number) for number in range(1, meters + 1)
            ]
            port = stack.enter_context(TcpMeters(members, SystemClock(), turnaround=0)).port
            described.append({
                "name": f"line-{line}",
                "port": f"tcp://127.0.0.1:{port}",
                "meters": [
                    {"id": m.id, "profile": PROFILE, "address": m.address, "serial_number": m.serial_number}
                    for m in members
                ],
            })  # fmt: skip
        (folder / "gateway.yaml").write_text(json.dumps({
            "schema": "1", "gateway": "gw-1", "time_zone": "Europe/Moscow", "interval": "5s",
            "mqtt": {"url": broker}, "spool": {"path": "spool.db"}, "lines": described, **more,
        }))  # fmt: skip
        daemon = Daemon(folder, "gateway", "run", "--config", folder / "gateway.yaml")
        daemon.start()
        stack.callback(daemon.kill)
        yield daemon


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_everything_committed(tmp_path: Path, number: signal.Signals) -> None:
    with gateway(tmp_path, lines=1, meters=2, broker=f"mqtt://127.0.0.1:{free_port()}") as daemon:
        eventually(lambda: rows(tmp_path / "spool.db", "SELECT 1 FROM outbox"))
        assert daemon.end(number) == 0, daemon.log
    assert "refuses connections" in daemon.log
    assert "Traceback" not in daemon.log
    assert not (tmp_path / "spool.db-wal").exists()


def test_three_hundred_meters_on_three_lines_stay_within_64_mib(tmp_path: Path) -> None:
    """With the figures of each asked for, too."""
    listen = f"127.0.0.1:{free_port()}"
    box: dict[str, Any] = {"lines": 3, "meters": 100, "metrics": {"listen": listen}}
    with Mosquitto(tmp_path) as broker, gateway(tmp_path, broker=broker.url, **box) as daemon:
        eventually(lambda: len(rows(tmp_path / "spool.db", "SELECT 1 FROM outbox")) >= 6, patience=200)
        eventually(lambda: daemon.said("connected to"))
        with urllib.request.urlopen(f"http://{listen}/metrics", timeout=60) as answer:
            assert len(answer.read()) > 100_000
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{daemon.pid}/status").read_text())
        assert peak is not None
        assert daemon.end() == 0, daemon.log
    print(f"{peak[1]} KiB at the most")
    assert int(peak[1]) <= MOST_KIB


def test_a_configuration_with_faults_ends_with_2_and_names_them_all(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("schema: 1\ngateway: gw 1\nlines: []\n")
    daemon = Daemon(tmp_path, "gateway", "run", "--config", tmp_path / "gateway.yaml")
    daemon.start()
    assert daemon.wait() == 2
    for key in ("gateway: ", "time_zone: ", "mqtt: ", "spool: "):
        assert f": {key}" in daemon.log


def test_a_spool_that_another_gateway_holds_ends_with_6(tmp_path: Path) -> None:
    with gateway(tmp_path, lines=1, meters=1, broker=f"mqtt://127.0.0.1:{free_port()}"):
        eventually(lambda: rows(tmp_path / "spool.db", "SELECT 1 FROM outbox"))
        (tmp_path / "second").mkdir()
        second = Daemon(tmp_path / "second", "gateway", "run", "--config", tmp_path / "gateway.yaml")
        second.start()
        assert second.wait() == 6
        assert "in use by another process" in second.log
