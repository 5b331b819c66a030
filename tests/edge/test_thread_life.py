"""What must not end, hang or lie when the computer misbehaves: clocks that are set, disks and handles that end."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector import mqtt, mqtt_attempt
from collector.clock import SystemClock
from collector.durable.layout import connect
from collector.edge import timekeeping
from collector.edge.budget import SilentBudget
from collector.edge.control import Holds
from collector.edge.publisher import MOST_RECEIPTS, Custody, Publisher
from collector.edge.socket_port import IDLE, UNACKNOWLEDGED
from collector.edge.transport import open_port
from collector.exits import UsageFault
from collector.mqtt import Connection, Settings
from collector.spool import Outbox
from hil.line import Kind, Wire
from tests.broker import Mosquitto, eventually
from tests.edge.test_publisher import DAY, GATEWAY, Broker, fill, opened, tombstone


class SetBack(SystemClock):
    """A wall clock that a time server sets back by a day as soon as somebody waits by it."""

    def __init__(self) -> None:
        self.off = 0

    def millis(self) -> int:
        now = super().millis() + self.off
        self.off = -DAY
        return now


def test_who_waits_by_a_wall_clock_that_is_set_back_is_awake_in_time() -> None:
    """A box wakes up a day ahead, and is set right while its lines sleep: they must not sleep through that day."""
    clock, awake = SetBack(), threading.Event()

    def sleeper() -> None:
        clock.wait(SystemClock().millis() + 200, threading.Event())
        awake.set()

    threading.Thread(target=sleeper, daemon=True).start()
    eventually(awake.is_set)


def test_a_clock_that_nobody_has_set_for_days_is_not_trusted_for_a_mark_of_long_ago(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mark = tmp_path / "synchronized"
    monkeypatch.setattr(timekeeping, "_kernel_synchronised", lambda: False)
    monkeypatch.setattr(timekeeping, "_is_guest", lambda: False)
    monkeypatch.setattr(timekeeping, "_TIMESYNCD", mark)
    mark.touch()
    assert timekeeping.of_this_computer().synced()
    for days in (-30, 2, 30):
        long_ago = time.time() - days * 86_400
        os.utime(mark, (long_ago, long_ago))
        assert not timekeeping.of_this_computer().synced(), f"touched {days} days ago"


# ----------------------------------------------------------------------------- the disk


@pytest.fixture
def without_ballast(tmp_path: Path) -> Iterator[Outbox]:
    """A spool that gave up its ballast on a full disk."""
    outbox = Outbox(tmp_path / "s.db", max_bytes=64 << 20, keep_ms=DAY, tombstone=tombstone, connect=connect)
    assert outbox._ballast.give_up()
    yield outbox
    outbox.close()


@pytest.mark.parametrize("broken", ["statvfs", "open", "unlink"])
def test_a_file_system_that_fails_at_the_ballast_costs_no_reading(
    broken: str, without_ballast: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(5, "Input/output error")

    if broken == "unlink":
        monkeypatch.setattr(os, "posix_fallocate", fail)
        monkeypatch.setattr(Path, "unlink", fail)
    else:
        monkeypatch.setattr(os, broken, fail)
    (entry,) = fill(without_ballast, 1)
    assert without_ballast.pending(1) == [entry]


def test_a_spool_whose_name_has_brackets_is_healed_once(tmp_path: Path) -> None:
    path = tmp_path / "spool[1].db"

    def again() -> Outbox:
        return Outbox(path, max_bytes=64 << 20, keep_ms=DAY, tombstone=tombstone)

    outbox = again()
    entries = fill(outbox, 20, size=5000)
    outbox.close()
    data = bytearray(path.read_bytes())
    data[4096 : 4096 + 512] = bytes(512)  # the first page behind the header's
    path.write_bytes(data)
    for _ in range(2):
        outbox = again()
        assert len(outbox.pending(100)) == len(entries)
        outbox.close()
    assert len(list(tmp_path.glob("*.damaged-*Z"))) == 1
    assert not list(tmp_path.glob("*.healed-*"))


# ----------------------------------------------------------------------------- the network


@pytest.mark.skipif(sys.platform != "linux", reason="these options are Linux'")
@pytest.mark.parametrize("kind", ["socket", "rfc2217"])
def test_a_converter_that_lost_its_power_is_noticed(kind: Kind) -> None:
    """It says nothing any more, and its meters look silent; the connection has to find out by itself."""
    with Wire([], SystemClock(), kind=kind) as wire:
        port: Any = open_port(wire.path, 9600, "8N1")
        try:
            connection = port._connection if kind == "socket" else port._port._socket
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1000 * UNACKNOWLEDGED
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == IDLE
        finally:
            port.close()


# ----------------------------------------------------------------------------- the broker's connection


def test_a_connection_goes_on_after_it_could_not_even_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files: the library cannot make its socket pair. Its thread must not end for that."""
    real, failed = mqtt_attempt.Attempt, list[str]()

    def attempt(*given: Any, **more: Any) -> Any:
        if len(failed) < 3:
            failed.append("once more")
            raise OSError(24, "Too many open files")
        return real(*given, **more)

    monkeypatch.setattr(mqtt, "Attempt", attempt)
    said: list[str] = []
    with Mosquitto(tmp_path) as broker:
        connection = Connection(
            Settings(broker.url), on_change=lambda _, why: said.append(why), first_delay=0.01, longest_delay=0.02
        )
        connection.start()
        try:
            eventually(lambda: connection.connected, "it is connected after all")
        finally:
            connection.stop()
    assert len(failed) == 3
    assert "fault of ours" in said[0]


# ----------------------------------------------------------------------------- what two threads look at


def test_the_silent_share_may_be_looked_at_while_the_line_spends_it() -> None:
    """The status is made in another thread than the line's; a fault there would end the whole gateway."""
    budget, over, faults = SilentBudget(0.05, 0), threading.Event(), list[Exception]()
    for at in range(2000):
        budget.spend(0.001, at)

    def look() -> None:
        now = 0
        while not over.is_set():
            now += 1_000
            try:
                budget.used(now % 700_000)
            except (RuntimeError, IndexError) as error:  # what a deque says that another thread changes
                faults.append(error)
                return

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    lookers = [threading.Thread(target=look) for _ in range(2)]
    try:
        for thread in lookers:
            thread.start()
        for at in range(2000, 22_000):
            budget.spend(0.001, at * 100)
    finally:
        over.set()
        for thread in lookers:
            thread.join()
        sys.setswitchinterval(interval)
    assert faults == []


def test_a_flood_of_receipts_fills_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path) as outbox:
        publisher = Publisher(Custody(GATEWAY, outbox, Broker()), SystemClock(), lambda: None)
        for _ in range(MOST_RECEIPTS + 5000):
            publisher.receipt(b"{}")
    assert 0 < len(caplog.records) < 20


def test_a_pause_of_a_line_that_there_is_not_leaves_nothing_behind() -> None:
    def take(line: str, _: float) -> bool:
        raise UsageFault(f"no line is called {line!r}")

    holds = Holds(take, lambda _: None, SystemClock())
    for _ in range(2):
        with pytest.raises(UsageFault, match="no line is called"):
            holds.pause("riser-l", 3600.0)
    assert holds.all() == {}
