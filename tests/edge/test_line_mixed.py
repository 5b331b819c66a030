"""Meters of several protocols on one wire: each at its own speed and framing, each left before the next is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.clock import SystemClock
from collector.edge.asking import MeterSetup
from collector.edge.line import Line, LineSetup
from collector.localtime import from_millis
from collector.model import Snapshot
from drivers.meter_side import Wiring
from drivers.profile import load
from hil.household import Household
from hil.line import Kind, Wire
from hil.meter import VirtualMeter

PATIENCE = 120.0  # seconds until a test gives up: other people use this machine
SESSION = str(Path(__file__).resolve().parents[1] / "data" / "meters" / "test-iec-session.yaml")
ZONE = "Europe/Moscow"

# name: profile, address, serial number, speed, framing of its characters
METERS = {
    "modbus-even": ("abb-b23", "1", "10000001", 9600, "8E1"),
    "iec-1": (SESSION, "0201", "10000201", 9600, "7E1"),
    "mercury": ("mercury-230", "190", "38395190", 9600, "8N1"),
    "iec-2": (SESSION, "0202", "10000202", 9600, "7E1"),
    "modbus-fast": ("abb-b23", "2", "10000002", 19200, "8N1"),
    "optical": ("iskra-mt174", "0300", "10000300", 300, "7E1"),
}


def simulated(name: str) -> VirtualMeter:
    profile, address, serial, baudrate, framing = METERS[name]
    household = Household.of_seed(len(name), 4)
    return VirtualMeter(load(profile), address, household, serial, zone=ZONE, wiring=Wiring(baudrate, framing))


def setup(name: str) -> MeterSetup:
    profile, address, serial, baudrate, framing = METERS[name]
    return MeterSetup(name, load(profile), address, serial, baudrate, framing, 1000)


def eventually(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["pty", pytest.param("rfc2217", marks=pytest.mark.long)])
def test_meters_of_three_protocols_and_five_line_settings_share_a_wire(kind: Kind) -> None:
    clock = SystemClock()
    found: list[Snapshot] = []
    meters = {name: simulated(name) for name in METERS}
    with Wire(list(meters.values()), clock, kind=kind) as wire:
        line = Line(
            LineSetup("riser-1", wire.path, ZONE, tuple(map(setup, METERS))),
            clock,
            lambda snapshots, _: found.extend(snapshots),
            lambda: True,
        )
        line.start()
        try:
            eventually(lambda: all(sum(s.meter == n and s.failure is None for s in found) >= 3 for n in METERS))
        finally:
            line.stop()
    assert [snapshot for snapshot in found if snapshot.failure is not None] == []
    for snapshot in found:
        assert snapshot.answered is not None
        before, after = (meters[snapshot.meter].energy(at) for at in (snapshot.asked, snapshot.answered))
        assert before["1.8.0"] - 10 <= snapshot.registers["1.8.0"] <= after["1.8.0"]  # Wh; the coarsest shows 0.01 kWh
        if snapshot.serial_number is not None:
            assert snapshot.serial_number == METERS[snapshot.meter][2]
    for name in ("iec-1", "iec-2", "mercury"):
        asked = [snapshot for snapshot in found if snapshot.meter == name and snapshot.frozen]
        assert asked, f"{name} has frozen months"
        own = from_millis(asked[0].asked).strftime("%Y-%m")
        assert all(month < own for snapshot in asked for month in snapshot.frozen)
        assert all(f"{month}/1.8.0" in asked[0].raw for month in asked[0].frozen)


@pytest.mark.long
def test_a_session_meter_that_falls_silent_costs_its_neighbours_of_other_protocols_nothing() -> None:
    clock = SystemClock()
    found: list[Snapshot] = []
    names = ("modbus-even", "iec-1", "mercury")
    with Wire([simulated(name) for name in names], clock) as wire:
        wire.mute.add("0201")
        line = Line(
            LineSetup("riser-1", wire.path, ZONE, tuple(map(setup, names))),
            clock,
            lambda snapshots, _: found.extend(snapshots),
            lambda: True,
        )
        line.start()
        try:
            eventually(lambda: sum(s.meter == "mercury" and s.failure is None for s in found) >= 4)
            wire.mute.clear()
            eventually(lambda: any(s.meter == "iec-1" and s.failure is None for s in found))
        finally:
            line.stop()
    others = [snapshot.failure for snapshot in found if snapshot.meter != "iec-1"]
    assert others == [None] * len(others)
    kinds = {snapshot.failure.kind for snapshot in found if snapshot.failure is not None}
    assert kinds <= {"no-answer", "skipped"}
