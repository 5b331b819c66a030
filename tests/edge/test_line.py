"""A line that works: what is asked when and in which order, what the snapshots hold, when they are committed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from collector.edge.asking import MeterSetup
from collector.localtime import from_millis, zone
from collector.messages import encode
from collector.model import Batch
from drivers.dialogue import Ask, character_seconds, silence
from drivers.modbus import plan
from drivers.profile import load
from tests.edge.virtual import MINUTE, TURNAROUND, Building, meter, meters, of


def clock_text(instant: int) -> str:
    """Moscow's wall clock."""
    return from_millis(instant).astimezone(zone("Europe/Moscow")).strftime("%dT%H:%M:%S")


# ----------------------------------------------------------------------------- what is asked when


def test_interval_readings_are_asked_at_the_quarters_of_the_hour() -> None:
    building = Building(meters(3))
    found = building.until("2026-11-03T11:01:00")
    assert [clock_text(snapshot.asked) for snapshot in of(found, "m-001")] == [
        "03T10:15:00", "03T10:30:00", "03T10:45:00", "03T11:00:00",
    ]  # fmt: skip
    assert {snapshot.failure for snapshot in found} == {None}
    assert len(found) == 12


def test_each_meter_has_its_own_interval() -> None:
    building = Building([meter(1), meter(2, interval=5 * MINUTE)])
    found = building.until("2026-11-03T10:31:00")
    assert len(of(found, "m-001")) == 2
    assert len(of(found, "m-002")) == 5


def test_at_midnight_the_boundary_takes_the_place_of_the_interval_reading_and_is_never_early() -> None:
    building = Building(meters(30), start="2026-11-30T23:40:00")
    found = building.until("2026-12-01T00:20:00")
    edge = building.at("2026-12-01T00:00:00")
    for number in range(1, 31):
        purposes = [(snapshot.purpose, snapshot.asked >= edge) for snapshot in of(found, f"m-{number:03d}")]
        assert purposes == [("interval", False), ("boundary", True), ("interval", True)]
    assert building.line.meters()["m-017"].boundary == "2026-12-01"


def test_a_pass_that_midnight_falls_into_goes_on_with_boundaries() -> None:
    building = Building(meters(30), start="2026-11-30T23:59:56")
    for line_meter in building.line._meters:  # what an overloaded line looks like: still busy with 23:45 at midnight
        line_meter.memory = replace(line_meter.memory, tick=building.at("2026-11-30T23:45:00"))
    edge = building.at("2026-12-01T00:00:00")
    found = building.until("2026-12-01T00:10:00")
    assert {snapshot.purpose for snapshot in found if snapshot.asked < edge} == {"interval"}
    assert {snapshot.purpose for snapshot in found if snapshot.asked >= edge} == {"boundary"}
    assert len([snapshot for snapshot in found if snapshot.purpose == "boundary"]) == 30


def test_boundaries_are_asked_before_interval_readings() -> None:
    building = Building(meters(3), start="2026-12-01T00:01:00")
    building.until("2026-12-01T00:15:00")
    owed = building.line._meters[2]
    owed.memory = replace(owed.memory, boundary=None)
    found = building.until("2026-12-01T00:16:00")
    assert [(snapshot.meter, snapshot.purpose) for snapshot in found] == [
        ("m-003", "boundary"),
        ("m-001", "interval"),
        ("m-002", "interval"),
    ]


def test_a_gateway_that_starts_at_night_asks_for_the_boundary_at_once() -> None:
    building = Building(meters(2), start="2026-12-01T05:59:00")
    found = building.until("2026-12-01T06:20:00")
    assert [(snapshot.purpose, clock_text(snapshot.asked)[:8]) for snapshot in of(found, "m-001")] == [
        ("boundary", "01T05:59"),
        ("interval", "01T06:00"),
        ("interval", "01T06:15"),
    ]


def test_a_meter_that_has_ended_is_not_asked_any_more() -> None:
    building = Building([meter(1), meter(2)])
    ended = building.at("2026-11-03T10:20:00")
    building.line._meters[1].setup = replace(building.line._meters[1].setup, ended=ended)
    found = building.until("2026-11-03T11:01:00")
    assert len(of(found, "m-002")) == 1
    assert building.line.state().meters == 1
    assert list(building.line.meters()) == ["m-001"]


def test_a_line_whose_meters_have_all_ended_rests() -> None:
    building = Building([meter(1, ended=0)])
    assert building.until("2026-11-03T11:01:00") == []


def test_after_a_long_sleep_each_meter_is_asked_once() -> None:
    building = Building(meters(3))
    building.until("2026-11-03T10:20:00")
    building.clock.set_wall(building.at("2026-11-03T17:52:00"))
    found = building.until("2026-11-03T17:59:00")
    assert [snapshot.meter for snapshot in found] == ["m-001", "m-002", "m-003"]


def test_a_wall_clock_that_is_set_back_does_not_stop_the_readings() -> None:
    building = Building(meters(1))
    building.until("2026-11-03T10:50:00")
    building.clock.set_wall(building.at("2026-11-03T09:03:00"))
    found = building.until("2026-11-03T09:31:00")
    assert [clock_text(snapshot.asked) for snapshot in found] == ["03T09:15:00", "03T09:30:00"]


# ----------------------------------------------------------------------------- what the snapshots hold


def test_an_interval_snapshot_holds_all_energy_and_the_quantities_that_are_wanted() -> None:
    building = Building([meter(1, quantities=("32.7.0", "14.7.0"))])
    building.until("2026-11-03T10:16:00")
    building.until("2026-11-03T10:31:00")
    profile = load("abb-b23")
    snapshot = building.spool.snapshots[-1]
    assert set(snapshot.registers) == set(profile.energy_codes)
    assert set(snapshot.quantities) == {"32.7.0", "14.7.0"}
    assert snapshot.serial_number is None  # it was not read in this asking
    assert snapshot.raw == {}
    assert snapshot.clock is None
    assert snapshot.answered is not None
    assert snapshot.answered > snapshot.asked


def test_a_boundary_snapshot_holds_everything_with_its_bytes_the_serial_number_and_the_clock() -> None:
    building = Building([meter(1, "schneider-iem3155", baudrate=19200, framing="8E1", clock_off=-3)])
    building.clock.set_wall(building.at("2026-11-30T23:59:00"))
    (snapshot,) = [s for s in building.until("2026-12-01T00:01:00") if s.purpose == "boundary"]
    profile = load("schneider-iem3155")
    assert set(snapshot.registers) == set(profile.energy_codes)
    assert set(snapshot.quantities) == set(profile.registers) - set(profile.energy_codes)
    assert set(snapshot.raw) == set(profile.registers)
    assert snapshot.registers["1.8.0"] == 20_044_630
    assert int(snapshot.raw["1.8.0"], 16) == 20_044_630
    assert snapshot.serial_number == "10000001"
    assert snapshot.clock == "2026-11-30T23:59:57"
    assert building.line.meters()["m-001"].drift_s == -3


def test_the_first_reading_after_a_start_proves_the_meter() -> None:
    building = Building(meters(1))
    first, second = building.until("2026-11-03T10:31:00")
    assert first.serial_number == "10000001"
    assert second.serial_number is None


def test_frozen_registers_come_labelled_with_their_bytes_and_twice() -> None:
    building = Building([meter(1, "test-frozen")], start="2026-11-30T23:50:00")
    found = [s for s in building.until("2026-12-01T00:14:00") if s.asked >= building.at("2026-12-01T00:00:00")]
    assert [snapshot.purpose for snapshot in found] == ["boundary", "requested"]
    for snapshot in found:
        assert snapshot.frozen == {"2026-11": dict.fromkeys(("1.8.0", "1.8.1", "1.8.2", "1.8.3"), 0) | {
            code: (20_044_630 + n - 1000) // 10 * 10 for n, code in enumerate(("1.8.0", "1.8.1", "1.8.2", "1.8.3"))
        }}  # fmt: skip
        assert "2026-11/1.8.0" in snapshot.raw
    assert found[1].asked - found[0].asked >= MINUTE


def test_frozen_registers_of_a_meter_that_is_late_come_when_it_has_closed() -> None:
    building = Building([meter(1, "test-frozen", clock_off=-20 * 60)], start="2026-11-30T23:50:00")
    found = building.until("2026-12-01T01:50:00")
    labelled = [snapshot for snapshot in found if "2026-11" in snapshot.frozen]
    assert len(labelled) == 2
    assert labelled[0].asked >= building.at("2026-12-01T00:20:10")
    assert {tuple(snapshot.frozen["2026-11"].items()) for snapshot in labelled} == {
        tuple(labelled[0].frozen["2026-11"].items())
    }


def test_every_snapshot_can_be_sent() -> None:
    building = Building([*meters(2), meter(3, "orno-we-515"), meter(4, "test-frozen")], start="2026-11-30T23:40:00")
    building.bus.meters[1].mute = True
    building.until("2026-12-01T00:20:00")
    for sequence, (_, snapshots, synced) in enumerate(building.spool.commits, 1):
        batch = Batch(
            gateway="gw", spool="0" * 12, sequence=sequence, class_=snapshots[0].batch_class, zone="Europe/Moscow",
            synced=synced, profiles={}, snapshots=tuple(snapshots),
        )  # fmt: skip
        assert encode(batch)


# ----------------------------------------------------------------------------- the commit


def test_a_pass_is_committed_at_its_end_as_one() -> None:
    building = Building(meters(5))
    building.until("2026-11-03T10:16:00")
    assert [len(snapshots) for _, snapshots, _ in building.spool.commits] == [5]


def test_a_long_pass_is_committed_in_pieces_of_two_seconds() -> None:
    building = Building(meters(60))
    building.until("2026-11-03T10:16:00")
    taken = [at for at, _, _ in building.spool.commits]
    assert len(taken) > 3
    assert sum(len(snapshots) for _, snapshots, _ in building.spool.commits) == 60
    for (_, snapshots, _), at in zip(building.spool.commits, taken, strict=True):
        waited = at - 1000.0 - (snapshots[0].asked - building.at("2026-11-03T10:07:00")) / 1000
        assert waited < 2.0 + 0.5  # two seconds after the first, and one asking
    assert max(b - a for a, b in pairwise(taken)) < 2.5


def test_one_commit_holds_one_class_and_kept_ones_go_first() -> None:
    building = Building(meters(2), start="2026-12-01T00:01:00")
    building.until("2026-12-01T00:14:00")
    owed = building.line._meters[1]
    owed.memory = replace(owed.memory, boundary=None)
    building.spool.commits.clear()
    building.clock.set_wall(building.at("2026-12-01T00:15:00"))
    building.line.turn()
    assert [[snapshot.batch_class for snapshot in group] for _, group, _ in building.spool.commits] == [
        ["keep"],
        ["interval"],
    ]


def test_values_that_were_asked_by_a_clock_nobody_vouches_for_are_committed_as_such() -> None:
    building = Building(meters(2))
    building.synced = False
    building.until("2026-11-03T10:16:00")
    building.synced = True
    building.until("2026-11-03T10:31:00")
    assert [synced for _, _, synced in building.spool.commits] == [False, True]


def test_a_clock_that_is_set_right_in_the_middle_of_an_asking_is_not_trusted_for_it() -> None:
    building = Building(meters(1))
    building.synced = False
    building.bus.on_write = lambda data: setattr(building, "synced", True)
    building.until("2026-11-03T10:16:00")
    assert [synced for _, _, synced in building.spool.commits] == [False]


def test_a_boundary_of_a_clock_nobody_vouched_for_is_asked_again_within_a_minute_of_its_being_set_right() -> None:
    building = Building(meters(1, "eastron-sdm630"), start="2026-11-30T23:50:00")
    building.synced = False
    building.until("2026-12-01T00:20:00")
    assert building.line.next_turn() <= building.clock.millis() + MINUTE
    building.synced = True
    found = building.until("2026-12-01T00:21:30")
    assert [snapshot.purpose for snapshot in found] == ["boundary"]


# ----------------------------------------------------------------------------- the pace


def wire_minimum(setup: MeterSetup) -> float:
    """Seconds that one interval reading takes on the wire, at the least."""
    character, quiet = character_seconds(9600, "8N1"), silence(9600)
    blocks = plan(setup.profile, Ask("1", setup.interval_codes, serial=False, clock=False, turnaround=TURNAROUND))
    return sum((8 + 5 + 2 * block.count) * character + TURNAROUND + quiet for block in blocks)


def pace(building: Building, start: int) -> float:
    """Seconds from one reading of a living meter to its next, over all of them, from `start` on."""
    asked = [s.asked for s in building.spool.snapshots if s.asked >= start and s.failure is None]
    living = sum(not simulated.mute for simulated in building.bus.meters)
    return (asked[-1] - asked[0]) / (len(asked) - 1) * living / 1000


@pytest.mark.parametrize("profile", ["orno-we-515", "abb-b23", "orno-we-517"])
def test_a_healthy_line_spends_no_time_that_the_wire_does_not_need(profile: str) -> None:
    pairs = [meter(n, profile, interval=1000) for n in range(1, 31)]
    building = Building(pairs)
    building.until("2026-11-03T10:08:30")
    cycle = pace(building, building.at("2026-11-03T10:07:30"))
    least = sum(wire_minimum(setup) for setup, _ in pairs)
    assert 0.999 * least <= cycle <= 1.05 * least  # instants are whole milliseconds


def test_three_silent_meters_of_thirty_cost_the_others_no_more_than_the_silent_share() -> None:
    def cycle(numbers: list[int], mute: set[int]) -> float:
        building = Building([meter(n, "abb-b23", interval=1000, mute=n in mute) for n in numbers])
        building.until("2026-11-03T10:13:00")
        return pace(building, building.at("2026-11-03T10:08:00"))

    mute = {5, 15, 25}
    everybody = list(range(1, 31))
    slowed, alone = cycle(everybody, mute), cycle([n for n in everybody if n not in mute], set())
    assert slowed <= 1.06 * alone


def test_a_days_work_is_one_boundary_and_ninety_five_readings_and_four_more_on_the_day_of_25_hours() -> None:
    building = Building([meter(1, "orno-we-515")], start="2026-10-23T23:59:00", zone_name="Europe/Kyiv")
    for day, readings in (("2026-10-25", 95), ("2026-10-26", 99), ("2026-10-27", 95)):
        found = building.until(f"{day}T00:00:00")
        assert [snapshot.purpose for snapshot in found] == ["boundary"] + ["interval"] * readings
