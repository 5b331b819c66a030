"""A real gateway under something that listens as systemd does: it is fed while the lines live, and starved by one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from collector import control
from collector.clock import SystemClock
from hil.tcp import TcpMeters
from tests.broker import eventually, free_port
from tests.system.daemons import PROFILE, ROOT, CountingMeter, Register
from tests.system.manager import Manager

# A thread may be away for five minutes before it counts as hanging; here for two seconds, so that a test can wait.
PATIENT = 2.0
# `hang`: while this file is there, an answer of the meters keeps its line's thread for ever.
DAEMON = """
import pathlib, sys, time
from collector import pulse
from collector.cli import main
from collector.edge import socket_port
pulse.STEP = {patient}
read = socket_port.SocketPort.read
def slow(self, *arguments):
    while pathlib.Path({hang!r}).exists():
        time.sleep(0.05)
    return read(self, *arguments)
socket_port.SocketPort.read = slow
main(["gateway", "run", "--config", {config!r}])
"""


@contextmanager
def gateway(folder: Path, manager: Manager) -> Iterator[subprocess.Popen[bytes]]:
    register = Register()
    meters = [CountingMeter.make(1, register)]
    with TcpMeters(meters, SystemClock()) as line:
        members = [{"id": "m-1", "profile": PROFILE, "address": "1", "serial_number": meters[0].serial_number}]
        (folder / "gateway.yaml").write_text(json.dumps({
            "schema": "1", "gateway": "gw-1", "time_zone": "UTC", "interval": "5s",
            "mqtt": {"url": f"mqtt://127.0.0.1:{free_port()}"}, "spool": {"path": "spool.db"}, "log": "json",
            "lines": [{"name": "riser-1", "port": f"tcp://127.0.0.1:{line.port}", "meters": members}],
        }))  # fmt: skip
        code = DAEMON.format(patient=PATIENT, hang=str(folder / "hang"), config=str(folder / "gateway.yaml"))
        with (folder / "log").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", code], cwd=ROOT, stderr=out, env={**os.environ, **manager.environment}
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with closing(Manager(tmp_path)) as it:
        yield it


def test_it_is_fed_while_the_line_lives_or_is_paused_and_starves_while_the_line_hangs(
    tmp_path: Path, manager: Manager
) -> None:
    with gateway(tmp_path, manager) as process:
        eventually(lambda: manager.heard)
        assert manager.heard[0][1].startswith("READY=1\nSTATUS=1 lines")
        eventually(lambda: manager.fed_since(0), "fed")

        with control.paused(tmp_path / "spool.db", "riser-1", 600):
            then = time.monotonic() + 3 * PATIENT
            eventually(lambda: manager.fed_since(then), "a paused line is no dead one")

        (tmp_path / "hang").touch()
        eventually(lambda: b"line riser-1 has not moved" in (tmp_path / "log").read_bytes())
        hung = time.monotonic()
        time.sleep(2.5)  # five times the pace at which it was fed
        assert not manager.fed_since(hung)
        assert process.poll() is None  # ending it is systemd's part

        (tmp_path / "hang").unlink()
        eventually(lambda: manager.fed_since(hung), "it moves again")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert manager.heard[-1][1] == "STOPPING=1"
    for line in (tmp_path / "log").read_text().splitlines():
        assert {"time", "level", "logger", "message", "fields"} == json.loads(line).keys()
