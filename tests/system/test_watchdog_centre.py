"""A real centre under something that listens as systemd does: a worker that hangs in its store starves the watchdog."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.broker import eventually, free_port
from tests.system.daemons import ROOT
from tests.system.manager import Manager

# As in the gateway's test; `hang`: while this file is there, the named function keeps its thread.
DAEMON = """
import pathlib, time
from collector import pulse
from collector.cli import main
from collector.central import {module}
pulse.STEP = 2.0
{module}.ROUND_MOST = 6.0
work = {module}.{function}
def slow(self, *arguments):
    while pathlib.Path({hang!r}).exists():
        time.sleep(0.05)
    return work(self, *arguments)
{module}.{function} = slow
main(["central", "run", "--config", {config!r}])
"""


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with closing(Manager(tmp_path)) as it:
        yield it


@pytest.mark.parametrize(
    ("module", "function", "name"),
    [
        ("ingest", "Ingest._collect", "ingest"),
        pytest.param("worker", "Worker.round", "the worker", marks=pytest.mark.long),
    ],
)
def test_it_is_fed_while_ingest_and_worker_move(
    tmp_path: Path, manager: Manager, module: str, function: str, name: str
) -> None:
    (tmp_path / "central.yaml").write_text(json.dumps({
        "schema": "1", "data": "data", "time_zone": "UTC", "mqtt": {"url": f"mqtt://127.0.0.1:{free_port()}"},
    }))  # fmt: skip
    code = DAEMON.format(
        module=module, function=function, hang=str(tmp_path / "hang"), config=str(tmp_path / "central.yaml")
    )
    with (tmp_path / "log").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stderr=out, env={**os.environ, **manager.environment}
        )
    try:
        eventually(lambda: manager.fed_since(0), "fed")
        assert manager.heard[0][1].startswith("READY=1\nSTATUS=data in ")
        (tmp_path / "hang").touch()
        eventually(lambda: f"{name} has not moved".encode() in (tmp_path / "log").read_bytes())
        hung = time.monotonic()
        time.sleep(2.5)
        assert not manager.fed_since(hung)
        (tmp_path / "hang").unlink()
        eventually(lambda: manager.fed_since(hung), "it moves again")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
