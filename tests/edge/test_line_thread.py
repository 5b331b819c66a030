"""The line as a thread: start, pause, resume, stop, and what happens when it ends by a bug; once on a real terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

import pytest

from collector.clock import SystemClock
from collector.edge.asking import MeterSetup
from collector.edge.line import Line, LineSetup
from collector.edge.meter import LineMeter
from collector.model import Snapshot
from drivers.profile import load
from hil.household import Household
from hil.line import Wire
from hil.meter import VirtualMeter
from tests.edge.virtual import Building, VirtualClock, meters

PATIENCE = 120.0  # seconds until a test gives up: other people use this machine


def eventually(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


class HeldClock(VirtualClock):
    """Virtual time that passes up to `limit` and waits there, in real time, for whoever wakes it."""

    limit = 0

    def wait(self, until: int, wake: Event) -> bool:
        while not wake.is_set():
            if until <= self.limit:
                return super().wait(until, wake)
            wake.wait(0.005)
        return True


def threaded(count: int) -> Building:
    """Healthy meters whose line's time passes as far as `allow` says."""
    return Building(meters(count), clock_type=HeldClock)


def allow(building: Building, text: str) -> None:
    """Let time pass until a local time."""
    assert isinstance(building.clock, HeldClock)
    building.clock.limit = building.at(text)


@contextmanager
def running(building: Building) -> Iterator[Callable[[str], None]]:
    """The building's line in its thread; gives a function that lets time pass and returns when it has."""

    def until(text: str) -> None:
        allow(building, text)
        eventually(lambda: building.line.next_turn() > building.at(text) and building.clock.working == 0)

    building.line.start()
    try:
        yield until
    finally:
        building.line.stop()


def kinds(building: Building) -> list[str]:
    return [snapshot.failure.kind if snapshot.failure else "ok" for snapshot in building.spool.snapshots]


def test_a_started_line_works_until_it_is_stopped_and_then_lets_go_of_the_port() -> None:
    building = threaded(3)
    with running(building) as until:
        until("2026-11-03T10:31:00")
        assert kinds(building) == ["ok"] * 6
        assert building.bus.is_open
    assert not building.bus.is_open
    assert building.line.crashed == ""


def test_a_line_that_was_never_started_can_be_stopped() -> None:
    Building(meters(1)).line.stop()


def test_a_paused_line_lets_go_of_the_port_and_tells_what_it_does_not_read() -> None:
    building = threaded(2)
    with running(building) as until:
        until("2026-11-03T10:16:00")
        assert building.line.pause(PATIENCE)
        assert not building.bus.is_open
        until("2026-11-03T10:31:00")
        assert kinds(building) == ["ok", "ok", "port", "port"]
        failure = building.spool.snapshots[-1].failure
        assert failure is not None
        assert "paused" in failure.text
        assert any("paused" in text for text in building.line.warnings())
        building.line.resume()
        until("2026-11-03T10:46:00")
        assert kinds(building)[4:] == ["ok", "ok"]
        assert building.line.warnings() == ()


def test_a_pause_waits_for_the_asking_under_way_and_for_no_other() -> None:
    building = threaded(5)
    pausing = threading.Thread(target=building.line.pause, args=(PATIENCE,))
    asked: list[int] = []

    def pause_at_the_second(data: bytes) -> None:
        asked.append(data[0])
        if data[0] == 2 and pausing.ident is None:
            pausing.start()
            eventually(building.line._paused.is_set)

    building.bus.on_write = pause_at_the_second
    with running(building) as until:
        until("2026-11-03T10:16:00")
        pausing.join(PATIENCE)
        assert set(asked) == {1, 2}
        assert kinds(building) == ["ok", "ok", "port", "port", "port"]


def test_a_stop_ends_after_the_asking_under_way_and_commits_what_is_in_hand() -> None:
    building = threaded(5)
    stopping = threading.Thread(target=building.line.stop)

    def stop_at_the_second(data: bytes) -> None:
        if data[0] == 2 and stopping.ident is None:
            stopping.start()
            eventually(building.line._stop.is_set)

    building.bus.on_write = stop_at_the_second
    allow(building, "2026-11-03T12:00:00")
    building.line.start()
    eventually(building.line._stop.is_set)
    stopping.join(PATIENCE)
    assert [snapshot.meter for snapshot in building.spool.snapshots] == ["m-001", "m-002"]
    assert not building.bus.is_open


def test_a_line_that_ends_by_a_bug_says_so_commits_what_is_in_hand_and_begins_again_after_growing_pauses(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    building = threaded(2)
    line, serve = building.line, building.line._serving.serve
    bugs: list[int] = []

    def serve_the_first(meter: LineMeter) -> None:
        if meter.setup.id != "m-001" and len(bugs) < 3:
            bugs.append(building.clock.millis())
            assert building.bus.is_open
            raise ZeroDivisionError("a bug")
        serve(meter)

    monkeypatch.setattr(line._serving, "serve", serve_the_first)
    with running(building) as until:
        building.clock.limit = building.at("2026-11-03T10:15:05")  # type: ignore[attr-defined]
        eventually(lambda: line.crashes == 1 and not building.bus.is_open)
        assert "ZeroDivisionError" in line.warnings()[0]
        assert "(1 times since the gateway started)" in line.warnings()[0]
        assert [snapshot.meter for snapshot in building.spool.snapshots] == ["m-001"]
        assert line.pause(PATIENCE), "its port is free"
        line.resume()
        until("2026-11-03T10:31:00")
    assert "Traceback" in caplog.text
    start = building.at("2026-11-03T10:15:00")
    assert [round((at - start) / 10_000) for at in bugs] == [0, 1, 3]  # ten seconds, then twenty
    assert [snapshot.meter for snapshot in building.spool.snapshots] == ["m-001", "m-002", "m-001", "m-002"]
    assert "(3 times since" in line.warnings()[0], "who looks at the status is to hear of it"
    assert not building.bus.is_open


def test_a_line_that_rests_after_a_bug_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    building = threaded(1)
    monkeypatch.setattr(building.line._serving, "serve", lambda meter: 1 // 0)
    allow(building, "2026-11-03T10:15:01")
    building.line.start()
    eventually(lambda: building.line.crashes == 1)
    building.line.stop()
    assert building.line.crashes == 1


def test_a_line_on_a_real_terminal_reads_its_living_meters_beside_a_dead_one() -> None:
    profile = load("abb-b23")
    clock = SystemClock()
    on_the_wire = [VirtualMeter(profile, str(n), Household.of_seed(n, 4), str(n)) for n in (1, 2, 3)]
    setups = tuple(MeterSetup(f"m-{n}", profile, str(n), str(n), 9600, "8N1", 1000) for n in (1, 2, 3))
    found: list[Snapshot] = []
    with Wire(on_the_wire, clock) as wire:
        wire.mute.add("2")
        line = Line(LineSetup("riser-1", wire.path, "UTC", setups), clock, lambda s, _: found.extend(s), lambda: True)
        line.start()
        try:
            for name in ("m-1", "m-3"):
                eventually(lambda name=name: sum(s.meter == name and s.failure is None for s in found) >= 3)  # type: ignore[misc]
            eventually(lambda: any(s.meter == "m-2" and s.failure is not None for s in found))
        finally:
            line.stop()
    for snapshot in found:
        if snapshot.failure is None:
            truth = on_the_wire[int(snapshot.meter[2:]) - 1].energy(snapshot.asked)
            assert abs(snapshot.registers["1.8.0"] - truth["1.8.0"]) < 100  # Wh; the profile's unit is 10 Wh
            assert snapshot.purpose in ("interval", "boundary")
        else:
            assert snapshot.meter == "m-2"
    assert line.state().answering == 2
