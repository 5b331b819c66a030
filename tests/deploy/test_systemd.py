"""The systemd units: taken by systemd's own tools, hardened, and wide enough for what the daemons do."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from collector.cli import cli
from collector.clock import SystemClock
from hil.tcp import TcpMeters
from tests.broker import Mosquitto, eventually, free_port
from tests.deploy.shipped import DEPLOY, ROOT
from tests.system.daemons import PROFILE, CountingMeter, Daemon, Register, rows

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
ANALYZE = shutil.which("systemd-analyze")
STRACE = shutil.which("strace")
# systemd calls up to 2.0 "OK" and above it worse; what is left are network, devices and /proc, which are the work.
MOST_EXPOSED = 2.0

pytestmark = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)


def settings(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), flags=re.MULTILINE)


def here(unit: Path, folder: Path) -> Path:
    """The unit with this computer's `meterline`, which `verify` looks for."""
    copy = folder / unit.name
    copy.write_text(
        unit.read_text().replace("/opt/meterline/bin/meterline", f"{Path(sys.executable).parent}/meterline")
    )
    return copy


def analyze(*arguments: str | Path) -> str:
    if ANALYZE is None:
        pytest.skip("systemd-analyze is not installed: apt install systemd")
    done = subprocess.run([ANALYZE, *map(str, arguments)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_finds_no_fault_in_the_unit(unit: Path, tmp_path: Path) -> None:
    said = analyze("verify", here(unit, tmp_path))
    assert unit.name not in said, said


def test_the_unit_is_hardened(unit: Path, tmp_path: Path) -> None:
    said = analyze("security", "--offline=true", here(unit, tmp_path))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found is not None
    assert float(found[1]) <= MOST_EXPOSED, said


def test_the_commands_of_the_unit_exist_with_their_options(unit: Path, tmp_path: Path) -> None:
    lines = settings(unit, "Exec(?:Start|Reload)")
    assert lines
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "/opt/meterline/bin/meterline"
        command: click.Command = cli
        rest = words[1:]
        while isinstance(command, click.Group):
            found = command.get_command(click.Context(command), rest.pop(0))
            assert found is not None, line
            command = found
        command.make_parser(click.Context(command, resilient_parsing=True)).parse_args(rest)


def test_it_says_that_it_lives_and_never_stops_trying(unit: Path) -> None:
    assert settings(unit, "Type") == ["notify"]
    assert settings(unit, "NotifyAccess") == ["main"]
    assert int(settings(unit, "WatchdogSec")[0]) >= 30
    assert settings(unit, "Restart") == ["always"]
    assert settings(unit, "StartLimitIntervalSec") == ["0"]


def test_secrets_come_as_credentials_and_none_stands_in_the_unit(unit: Path) -> None:
    assert settings(unit, "LoadCredential")
    assert not re.search(r"(?i)environment=|SetCredential=|password=", unit.read_text())


def _filtered(unit: Path) -> set[str]:
    """The system calls that the unit allows, in the order of its lines (systemd.exec(5), SystemCallFilter=)."""
    allowed: set[str] = set()
    for line in settings(unit, "SystemCallFilter"):
        names = {name for word in line.lstrip("~").split() for name in _calls(word)}
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed


def _calls(word: str) -> Iterator[str]:
    if not word.startswith("@"):
        yield word
        return
    for line in analyze("syscall-filter", "--no-pager", word).splitlines()[1:]:
        if (name := line.split("#")[0].strip()) and name != word:
            yield from _calls(name)


@pytest.mark.long
def test_the_daemon_makes_no_system_call_that_the_unit_forbids(unit: Path, tmp_path: Path) -> None:
    """Traced from start to clean stop, with meters, a broker, batches and receipts on their way."""
    if STRACE is None:
        pytest.skip("strace is not installed: apt install strace")
    register = Register()
    meter = CountingMeter.make(1, register)
    with Mosquitto(tmp_path) as broker, TcpMeters([meter], SystemClock()) as line:
        member = {"id": "m-1", "profile": PROFILE, "address": "1", "serial_number": meter.serial_number}
        (tmp_path / "gateway.yaml").write_text(json.dumps({
            "schema": "1", "gateway": "gw-1", "time_zone": "UTC", "interval": "5s", "mqtt": {"url": broker.url},
            "spool": {"path": "gateway.db"}, "metrics": {"listen": str(free_port())},
            "lines": [{"name": "riser-1", "port": f"tcp://127.0.0.1:{line.port}", "meters": [member]}],
        }))  # fmt: skip
        (tmp_path / "central.yaml").write_text(json.dumps({
            "schema": "1", "data": "data", "time_zone": "UTC", "mqtt": {"url": broker.url},
            "metrics": {"listen": str(free_port())},
        }))  # fmt: skip
        header = "point,account,utility,address,flat,tariffs,receipt_order,meter,serial_number,profile,gateway,ratio"
        row = f"p,a,generic,,,1,1,m-1,{meter.serial_number},{PROFILE},gw-1,"
        (tmp_path / "points.csv").write_text(f"{header},time_zone\n{row},\n")
        subprocess.run(
            [sys.executable, "-m", "collector", "registry", "import", str(tmp_path / "points.csv"), "--config",
             str(tmp_path / "central.yaml")], check=True, cwd=ROOT,
        )  # fmt: skip
        traced = unit.stem.removeprefix("meterline-")
        (beside,) = {"gateway", "central"} - {traced}
        other = Daemon(tmp_path, beside, "run", "--config", tmp_path / f"{beside}.yaml")
        other.start()
        command = [sys.executable, "-m", "collector", traced, "run", "--config", str(tmp_path / f"{traced}.yaml")]
        trace = tmp_path / "trace"
        process = subprocess.Popen([STRACE, "-f", "-qq", "-o", str(trace), *command], cwd=ROOT)
        try:
            receipted = "SELECT 1 FROM outbox WHERE state = 4"
            eventually(lambda: rows(tmp_path / "gateway.db", receipted), patience=200)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            subprocess.run(["kill", "-TERM", *children], check=True)
            process.wait(60)
        finally:
            process.kill()
            other.kill()
    made = set(re.findall(r"^\d+ +([a-z_0-9]+)\(", trace.read_text(), flags=re.MULTILINE))
    assert {"openat", "connect", "bind"} <= made
    ours = made - {"execve"}  # strace's own
    if os.geteuid() == 0:
        ours -= {"fchown"}  # of SQLite, for root alone
    assert not ours - _filtered(unit), "these would be refused"
    if traced == "gateway":  # asked where the computer is no guest of a hypervisor, which this one may be
        assert {"adjtimex", "clock_adjtime"} <= _filtered(unit)


def test_python_and_its_libraries_work_where_no_memory_becomes_code(unit: Path) -> None:
    """MemoryDenyWriteExecute=, by the kernel's own switch for it (prctl(2), PR_SET_MDWE = 65, Linux 6.3)."""
    assert settings(unit, "MemoryDenyWriteExecute") == ["yes"]
    if ctypes.CDLL(None).prctl(66, 0, 0, 0, 0) < 0:  # PR_GET_MDWE
        pytest.skip("this kernel has no PR_SET_MDWE")
    module = {"meterline-gateway": "collector.edge.gateway", "meterline-central": "collector.central.service"}[
        unit.stem
    ]
    code = f"""
import ctypes
assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0
import {module}, collector.metrics
from collector.edge import timekeeping
timekeeping._kernel_synchronised()
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
