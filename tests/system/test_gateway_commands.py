"""Commands beside a running gateway, each a process of its own: pause, reload, resend."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector import control
from collector.clock import SystemClock
from collector.messages import decode_batch, encode, receipt_topic
from collector.model import Receipt
from collector.mqtt import Connection, Message, Settings
from hil.tcp import TcpMeters
from tests.broker import Mosquitto, eventually
from tests.system.daemons import PROFILE, ROOT, CountingMeter, Daemon, Register, run


class Centre:
    """Receipts every batch, and remembers what came."""

    def __init__(self, broker: Mosquitto) -> None:
        self.came: list[tuple[str, int]] = []
        self._connection = Connection(
            Settings(broker.url), subscriptions=["meterline/v1/+/readings"], on_message=self.take
        )
        self._connection.start()
        eventually(lambda: self._connection.connected)

    def take(self, message: Message) -> None:
        batch = decode_batch(message.payload)
        self.came.append((batch.spool, batch.sequence))
        digest = hashlib.sha256(message.payload).hexdigest()
        receipt = Receipt(gateway="gw-1", spool=batch.spool, sequence=batch.sequence, sha256=digest, stored=True)
        self._connection.publish(receipt_topic("gw-1"), encode(receipt))
        message.acknowledge()

    def close(self) -> None:
        self._connection.stop()


class Box:
    """A running gateway with one meter and a place for another."""

    def __init__(self, folder: Path, broker: Mosquitto, port: int, register: Register) -> None:
        self.register = register
        self.config = folder / "gateway.yaml"
        self.spool = folder / "spool.db"
        self.config.write_text(json.dumps({
            "schema": "1", "gateway": "gw-1", "time_zone": "Europe/Moscow", "interval": "5s",
            "mqtt": {"url": broker.url}, "spool": {"path": "spool.db"},
            "lines": [{"name": "riser-1", "port": f"tcp://127.0.0.1:{port}", "meters": [self.meter(1)]}],
        }))  # fmt: skip
        self.daemon = Daemon(folder, "gateway", "run", "--config", self.config)

    @staticmethod
    def meter(number: int) -> dict[str, str]:
        return {"id": f"m-{number}", "profile": PROFILE, "address": str(number), "serial_number": str(1000 + number)}

    def paused(self) -> list[str]:
        return list(control.status(self.spool)["paused"])

    def command(self, *words: str) -> subprocess.Popen[str]:
        # A shell's background job ignores Ctrl-C, and so would what it starts.
        hears = ["env", "--default-signal=INT"]
        command = [*hears, sys.executable, "-m", "collector", "gateway", *words, "--config", str(self.config)]
        return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ})


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
def box(tmp_path: Path, broker: Mosquitto) -> Iterator[Box]:
    register = Register()
    meters = [CountingMeter.make(number, register) for number in (1, 2)]
    with TcpMeters(meters, SystemClock()) as line:
        it = Box(tmp_path, broker, line.port, register)
        it.daemon.start()
        try:
            eventually(control.socket_path(it.spool).exists)
            yield it
        finally:
            it.daemon.kill()


def test_ctrl_c_gives_the_line_back(box: Box) -> None:
    process = box.command("pause", "--line", "riser-1")
    eventually(lambda: box.paused() == ["riser-1"])
    assert process.stderr is not None
    while "is free for 10m" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert "riser-1 goes on" in process.stderr.read()
    assert box.paused() == []


def test_the_time_gives_the_line_back_also_when_who_paused_it_was_killed(box: Box) -> None:
    process = box.command("pause", "--line", "riser-1", "--for", "8s")
    eventually(lambda: box.paused() == ["riser-1"])
    process.kill()
    process.wait()
    assert box.paused() == ["riser-1"]
    eventually(lambda: box.paused() == [])


def test_resume_ends_a_pause_whoever_began_it(box: Box) -> None:
    control.pause(box.spool, "riser-1", 600)
    run("gateway", "pause", "--config", box.config, "--line", "riser-1", "--resume")
    assert box.paused() == []


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("pause", "--line", "riser-9"), 2, "known are riser-1"),
        (("pause", "--line", "riser-1", "--for", "soon"), 2, "--for: a duration"),
        (("resend", "--since", "yesterday"), 2, "--since: "),
    ],
)
def test_what_cannot_be_done_is_said(box: Box, words: tuple[str, ...], status: int, text: str) -> None:
    process = box.command(*words)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, text in said) == (status, True), said


def test_without_a_running_gateway_a_pause_ends_with_6(box: Box) -> None:
    assert box.daemon.end() == 0
    process = box.command("pause", "--line", "riser-1")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 6
    assert "no gateway is running" in said


def test_a_reload_says_what_it_changed(box: Box) -> None:
    part = {"meters": [{"line": "riser-1", **box.meter(2)}], "ended": [{"id": "m-1", "at": "2026-11-01T00:00:00Z"}]}
    (box.config.parent / "gateway.d").mkdir()
    (box.config.parent / "gateway.d" / "act.yaml").write_text(json.dumps(part))
    assert run("gateway", "reload", "--config", box.config) == "added: m-2\nended: m-1\n"
    eventually(lambda: any(meter == "m-2" for meter, _ in box.register.said))


@pytest.mark.parametrize("running", [True, False])
def test_what_a_centre_has_lost_is_sent_again_and_nothing_older(box: Box, broker: Mosquitto, running: bool) -> None:
    first = Centre(broker)
    eventually(lambda: len(set(first.came)) >= 3)
    first.close()
    if not running:
        assert box.daemon.end() == 0
    restored = Centre(broker)
    assert "0 batches" in run("gateway", "resend", "--config", box.config, "--since", "2200-01-01")
    said = run("gateway", "resend", "--config", box.config, "--since", "2001-01-01")
    assert int(said.split()[0]) >= 3
    if not running:
        box.daemon.start()
    eventually(lambda: set(first.came) <= set(restored.came), "everything that the first one had")
    restored.close()
