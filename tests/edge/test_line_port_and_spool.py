"""Lost ports and full spools: what is told meanwhile, what is held, and that nothing is dropped."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from collector.edge.pending import AGAIN, MOST
from tests.edge.virtual import MINUTE, Building, kinds, meter, meters

# ----------------------------------------------------------------------------- the port


def test_a_port_that_cannot_be_opened_is_the_failure_of_every_reading_and_opened_later() -> None:
    building = Building(meters(2), lost="no such device")
    found = building.until("2026-11-03T10:31:00")
    assert kinds(found) == ["port"] * 4
    assert found[0].failure is not None
    assert "no such device" in found[0].failure.text
    assert building.line.state().answering == 0
    assert any("no such device" in text for text in building.line.warnings())
    building.bus.lost = ""
    assert kinds(building.until("2026-11-03T10:46:00")) == ["ok", "ok"]
    assert building.line.warnings() == ()


def test_a_port_that_vanishes_in_the_middle_of_a_pass_is_let_go_and_opened_again() -> None:
    building = Building(meters(3))
    building.until("2026-11-03T10:16:00")

    def vanish(data: bytes) -> None:
        if data[0] == 2:
            building.bus.lost = "the adapter is gone"

    building.bus.on_write = vanish
    found = building.until("2026-11-03T10:31:00")
    assert [(snapshot.meter, *kinds([snapshot])) for snapshot in found] == [
        ("m-001", "ok"),
        ("m-002", "port"),
        ("m-003", "port"),
    ]
    assert not building.bus.is_open
    assert building.line.state().answering == 1
    building.bus.on_write, building.bus.lost = lambda data: None, ""
    assert kinds(building.until("2026-11-03T10:46:00")) == ["ok"] * 3
    assert building.bus.opened == 2


def test_a_lost_port_is_tried_again_with_growing_pauses() -> None:
    tried: list[float] = []
    building = Building(meters(1), lost="no such device")
    opening = building.bus.open

    def count(*arguments: Any) -> Any:
        tried.append(building.clock.seconds)
        return opening(*arguments)

    building.line._connection._open_wire = lambda: count("virtual", 9600, "8N1")
    building.until("2026-11-03T11:07:00")
    pauses = [round(b - a) for a, b in pairwise(tried)]
    assert pauses[:6] == [1, 2, 4, 8, 16, 32]
    assert set(pauses[6:]) == {60}


def test_a_boundary_stays_owed_while_the_port_is_lost() -> None:
    building = Building(meters(2), start="2026-11-30T23:50:00")
    building.bus.lost = "the adapter is gone"
    found = building.until("2026-12-01T01:07:00")
    assert set(kinds(found)) == {"port"}
    assert len(found) == 2 * 5  # one word for every reading that fell due
    building.bus.lost = ""
    found = building.until("2026-12-01T01:09:00")
    assert [(snapshot.purpose, *kinds([snapshot])) for snapshot in found] == [("boundary", "ok")] * 2


def test_a_meter_with_another_speed_is_asked_at_its_own() -> None:
    building = Building([meter(1), meter(2, baudrate=19200, framing="8E1"), meter(3)])
    speeds: dict[int, tuple[int, str]] = {}
    building.bus.on_write = lambda data: speeds.update({data[0]: (building.bus.baudrate, building.bus.framing)})
    assert kinds(building.until("2026-11-03T10:16:00")) == ["ok"] * 3
    assert speeds == {1: (9600, "8N1"), 2: (19200, "8E1"), 3: (9600, "8N1")}


def test_a_converter_that_cannot_switch_costs_the_other_speeds_meter_alone() -> None:
    building = Building([meter(1), meter(2, baudrate=19200), meter(3)], can_switch=False)
    found = building.until("2026-11-03T10:16:00")
    assert kinds(found) == ["ok", "profile", "ok"]
    assert found[1].failure is not None
    assert "cannot be switched" in found[1].failure.text
    assert building.bus.opened == 1


def test_meters_behind_modbus_tcp_are_read_whatever_their_speed_says() -> None:
    building = Building([meter(1), meter(2, baudrate=19200)], tcp=True, can_switch=False)
    assert kinds(building.until("2026-11-03T10:46:00")) == ["ok"] * 6
    numbers = [int.from_bytes(data[:2], "big") for _, data in building.bus.written]
    assert len(set(numbers)) == len(numbers)


# ----------------------------------------------------------------------------- the spool


def test_a_full_spool_stops_interval_asking_until_it_takes_readings_again() -> None:
    building = Building(meters(2))
    building.until("2026-11-03T10:16:00")
    building.spool.full = {"interval"}
    building.until("2026-11-03T10:31:00")
    asked = len(building.bus.written)
    assert building.until("2026-11-03T12:00:30") == []
    assert len(building.bus.written) == asked
    assert any("interval readings are not asked" in text for text in building.line.warnings())
    building.spool.full = set()
    found = building.until("2026-11-03T12:16:00")
    clock = [(snapshot.asked - building.at("2026-11-03T10:00:00")) // MINUTE for snapshot in found]
    assert clock == [30, 30, 135, 135]  # what was in hand, and then what is due
    assert building.line.warnings() == ()


def test_boundaries_are_asked_while_interval_readings_find_no_room() -> None:
    building = Building(meters(2), start="2026-11-30T23:40:00")
    building.spool.full = {"interval"}
    found = building.until("2026-12-01T00:20:00")
    assert [snapshot.purpose for snapshot in found] == ["boundary", "boundary"]


def test_a_boundary_that_finds_no_room_is_held_and_committed_later() -> None:
    building = Building(meters(2), start="2026-11-30T23:50:00")
    building.spool.full = {"interval", "keep"}
    assert building.until("2026-12-01T04:00:00") == []
    building.spool.full = set()
    found = building.until("2026-12-01T04:02:00")
    edge = building.at("2026-12-01T00:00:00")
    boundaries = [snapshot for snapshot in found if snapshot.purpose == "boundary"]
    assert [snapshot.meter for snapshot in boundaries] == ["m-001", "m-002"]
    assert all(edge <= snapshot.asked < edge + 2000 for snapshot in boundaries)


def test_when_too_much_is_held_nothing_is_asked_and_nothing_is_dropped() -> None:
    building = Building([meter(n, interval=5 * MINUTE) for n in range(1, 31)], start="2026-11-30T23:50:00")
    building.spool.full = {"interval", "keep"}
    for simulated in building.bus.meters:
        simulated.serial_number = "87654321"  # each try is a snapshot to keep
    building.until("2026-12-01T05:50:00")
    held = len(building.line._pending)
    assert MOST <= held < MOST + 30
    written = len(building.bus.written)
    building.until("2026-12-01T08:00:00")
    assert len(building.bus.written) == written
    assert any("nothing is asked" in text for text in building.line.warnings())
    building.spool.full = set()
    found = building.until(building.clock.millis() + AGAIN + 1000)
    assert len([snapshot for snapshot in found if snapshot.asked < building.at("2026-12-01T06:00:00")]) == held


def test_what_is_held_when_the_gateway_stops_is_tried_once_more() -> None:
    building = Building(meters(2))
    building.spool.full = {"interval"}
    building.until("2026-11-03T10:15:30")
    building.spool.full = set()
    building.line.stop()
    building.line.run()  # stopped: it only tidies up
    assert len(building.spool.snapshots) == 2


def test_what_finds_no_room_to_the_end_is_said_to_be_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    building = Building(meters(2))
    building.spool.full = {"interval"}
    building.until("2026-11-03T10:16:00")
    building.line.stop()
    building.line.run()  # stopped: it only tidies up
    assert "2 snapshots could not be stored" in caplog.text
    assert not building.bus.is_open
