"""What systemd is told, and above all what it is not told when a thread has stopped moving."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from collector import pulse
from collector.pulse import Pulse
from collector.watchdog import Watchdog


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        yield end


def told(manager: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(manager.recv(4096).decode())
        except BlockingIOError:
            return found


def watchdog(manager: socket.socket, time: Time, *pulses: Pulse, **environment: str) -> Watchdog:
    known = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "60000000", **environment}
    return Watchdog(lambda: pulses, known, time)


def test_a_pulse_is_late_when_neither_its_rest_nor_a_step_explains_it() -> None:
    time = Time()
    one = Pulse("one", time)
    time.now += 1e6
    assert one.late == 0  # it has not begun
    one.beat(900)
    time.now += 900 + pulse.STEP
    assert one.late == 0
    time.now += 1
    assert one.late == 1
    one.beat()
    assert one.late == 0
    one.end()
    time.now += 1e6
    assert one.late == 0


def test_the_watchdog_is_fed_twice_within_its_time(manager: socket.socket) -> None:
    time = Time()
    it = watchdog(manager, time)
    it.ready("all is well")
    assert told(manager) == ["READY=1\nSTATUS=all is well"]
    for _ in range(120):
        it.step()
        time.now += 1
    assert told(manager) == ["WATCHDOG=1"] * 4


def test_one_late_pulse_among_others_starves_it_until_it_moves_again(
    manager: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    time = Time()
    one, other = Pulse("line riser-1", time), Pulse("the publisher", time)
    it = watchdog(manager, time, one, other)
    one.beat()
    time.now += pulse.STEP + 31
    other.beat()
    it.step()
    it.step()
    assert told(manager) == []
    assert [record.getMessage() for record in caplog.records] == [
        "line riser-1 has not moved for too long (31 s over its time)"
    ]
    one.beat()
    it.step()
    assert told(manager) == ["WATCHDOG=1"]


def test_without_a_watchdog_or_for_another_process_it_is_not_fed(manager: socket.socket) -> None:
    for more in ({"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_PID": str(os.getpid() + 1)}):
        it = watchdog(manager, Time(), **more)
        it.step()
        it.stopping()
        assert told(manager) == ["STOPPING=1"]


def test_an_abstract_socket_is_reached() -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as end:
        name = f"meterline-test-{os.getpid()}"
        end.bind(f"\0{name}")
        end.setblocking(False)
        Watchdog(tuple, {"NOTIFY_SOCKET": f"@{name}"}).ready("x")
        assert told(end) == ["READY=1\nSTATUS=x"]


def test_a_manager_that_is_not_there_ends_nothing(tmp_path: Path) -> None:
    Watchdog(tuple, {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "2"}).step()
    Watchdog(tuple, {}).ready("nobody hears it")
