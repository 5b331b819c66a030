"""Figures of both daemons as Prometheus takes them: real processes, a real broker, the official parser."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector import control
from collector.clock import SystemClock
from hil.tcp import TcpMeters
from tests.broker import Mosquitto, eventually, free_port
from tests.system.daemons import PROFILE, CountingMeter, Daemon, Register, run

GATEWAY = "gw-1"
POINTS = "point,account,utility,address,flat,tariffs,receipt_order,meter,serial_number,profile,gateway,ratio,time_zone"

Sample = tuple[str, tuple[tuple[str, str], ...]]


def scrape(port: int) -> dict[Sample, float]:
    """Every sample by its name and labels, as Prometheus' own parser sees them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, f"{family.name} has no HELP"
        assert family.type in ("gauge", "counter"), f"{family.name} is {family.type}"
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


class Figures:
    """One daemon's figures, asked for anew each time."""

    def __init__(self, port: int) -> None:
        self._port = port

    def __call__(self, name: str, **labels: str) -> float:
        return scrape(self._port).get((f"meterline_{name}", tuple(sorted(labels.items()))), float("nan"))

    def names(self) -> set[str]:
        return {name for name, _ in scrape(self._port)}


@contextmanager
def building(folder: Path) -> Iterator[tuple[Figures, Figures, Mosquitto]]:
    """A gateway with a meter that answers and one that does not; a centre that knows the first alone."""
    register = Register()
    living, dead = CountingMeter.make(1, register), CountingMeter.make(2, register)
    ours, theirs = free_port(), free_port()
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder))
        line = stack.enter_context(TcpMeters([living], SystemClock()))
        members = [
            {"id": m.id, "profile": PROFILE, "address": m.address, "serial_number": m.serial_number}
            for m in (living, dead)
        ]
        (folder / "gateway.yaml").write_text(json.dumps({
            "schema": "1", "gateway": GATEWAY, "time_zone": "Europe/Moscow", "interval": "5s",
            "mqtt": {"url": broker.url}, "spool": {"path": "gateway.db"}, "metrics": {"listen": str(ours)},
            "lines": [{"name": "riser-1", "port": f"tcp://127.0.0.1:{line.port}", "meters": members}],
        }))  # fmt: skip
        (folder / "central.yaml").write_text(json.dumps({
            "schema": "1", "data": "data", "time_zone": "Europe/Moscow", "mqtt": {"url": broker.url},
            "metrics": {"listen": f"127.0.0.1:{theirs}"},
        }))  # fmt: skip
        row = f"p-1,a-1,generic,,,1,1,m-1,{living.serial_number},{PROFILE},{GATEWAY},,"
        (folder / "points.csv").write_text(f"{POINTS}\n{row}\n")
        run("registry", "import", folder / "points.csv", "--config", folder / "central.yaml")
        for name in ("gateway", "central"):
            daemon = Daemon(folder, name, "run", "--config", folder / f"{name}.yaml")
            daemon.start()
            stack.callback(daemon.kill)
            stack.callback(lambda daemon=daemon: print(daemon.log))
        for port in (ours, theirs):
            eventually(lambda port=port: _listens(port))
        yield Figures(ours), Figures(theirs), broker


def _listens(port: int) -> bool:
    try:
        scrape(port)
    except OSError:
        return False
    return True


def test_both_ends_tell_what_flows_and_what_waits(tmp_path: Path) -> None:
    with building(tmp_path) as (gateway, centre, broker):
        eventually(lambda: centre("values_stored_total") > 0, "a value has come all the way")
        assert gateway("values_total") >= centre("values_stored_total")
        eventually(lambda: gateway("receipts_total", result="stored") > 0)
        assert gateway("batches_sent_total") > 0
        assert gateway("broker_connected") == centre("broker_connected") == 1
        assert gateway("meter_askings_total", line="riser-1", meter="m-1", outcome="ok") > 0
        assert gateway("line_meters", line="riser-1") == 2
        assert gateway("line_meters_answering", line="riser-1") == 1
        eventually(lambda: gateway("meter_askings_total", line="riser-1", meter="m-2", outcome="no-answer") > 0)
        assert 0 < gateway("spool_bytes") < 1 << 20
        assert centre("batches_stored_total") >= centre("batches_settled_total") > 0
        assert centre("gateway_last_message_timestamp_seconds", gateway=GATEWAY) > 1.7e9
        assert centre("worker_lag_seconds") >= 0
        assert centre("centre_trouble", part="worker") == 0
        eventually(lambda: centre("quarantined_total", reason="unknown meter") > 0, "the second is in no registry")
        with control.paused(tmp_path / "gateway.db", "riser-1", 60):
            assert gateway("line_paused", line="riser-1") == 1
        assert {"process_resident_memory_bytes", "process_cpu_seconds_total"} <= gateway.names() & centre.names()

        broker.stop()
        eventually(lambda: gateway("broker_connected") == 0 and gateway("spool_unreceipted_batches") > 0)
        eventually(lambda: gateway("spool_oldest_unreceipted_age_seconds") > 0)
        broker.start()
        eventually(lambda: gateway("broker_connected") == 1, "it has found the broker again")


@pytest.mark.parametrize(("daemon", "more"), [("gateway", {"lines": []}), ("central", {})])
def test_a_port_that_somebody_has_ends_with_6_and_says_so(tmp_path: Path, daemon: str, more: dict[str, object]) -> None:
    with Mosquitto(tmp_path) as broker:
        own = {"gateway": GATEWAY, "spool": {"path": "gateway.db"}, **more} if daemon == "gateway" else {"data": "data"}
        (tmp_path / f"{daemon}.yaml").write_text(json.dumps({
            "schema": "1", "time_zone": "UTC", "mqtt": {"url": broker.url},
            "metrics": {"listen": f"127.0.0.1:{broker.port}"}, **own,
        }))  # fmt: skip
        process = Daemon(tmp_path, daemon, "run", "--config", tmp_path / f"{daemon}.yaml")
        process.start()
        assert process.wait() == 6
        assert f"nobody can listen at 127.0.0.1:{broker.port}" in process.log
        assert "Traceback" not in process.log


def test_nobody_listens_unless_it_is_configured(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(json.dumps({
        "schema": "1", "gateway": GATEWAY, "time_zone": "UTC", "mqtt": {"url": "mqtt://127.0.0.1:9"},
        "spool": {"path": "gateway.db"}, "lines": [],
    }))  # fmt: skip
    process = Daemon(tmp_path, "gateway", "run", "--config", tmp_path / "gateway.yaml")
    process.start()
    try:
        eventually(control.socket_path(tmp_path / "gateway.db").exists)
        inodes = {
            Path(f"/proc/{process.pid}/fd/{fd.name}").readlink() for fd in Path(f"/proc/{process.pid}/fd").iterdir()
        }
        listening = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        assert not [row for row in listening if row[3] == "0A" and Path(f"socket:[{row[9]}]") in inodes]
        assert process.end() == 0
    finally:
        process.kill()
