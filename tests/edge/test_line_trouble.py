"""Damage, refusals, strangers, bugs, lost ports, full spools: nothing wrong is a value, and nothing stops the line."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.edge import serving
from collector.model import Failure
from drivers import modbus
from drivers.dialogue import DriverError, MeterRefused, NoAnswer
from drivers.modbus_frames import sealed
from drivers.profile import Profile, load
from tests.edge.virtual import FROZEN, Building, kinds, meter, meters, of


def without(profile: Profile, *codes: str) -> Profile:
    """A meter that lacks registers which the gateway's profile promises."""
    registers = {code: register for code, register in profile.registers.items() if code not in codes}
    copy = profile.model_copy(update={"registers": registers})
    vars(copy).pop("energy_codes", None)  # worked out from the registers, and remembered
    return copy


# ----------------------------------------------------------------------------- damage


def test_one_damaged_frame_is_asked_again_and_costs_nothing_else() -> None:
    building = Building(meters(2))
    spoiled = iter([True])
    building.bus.meters[0].spoil = lambda frame: frame[:-1] + b"\x00" if next(spoiled, False) else frame
    assert kinds(building.until("2026-11-03T10:16:00")) == ["ok", "ok"]


def test_a_meter_whose_frames_are_all_damaged_gives_a_failure_with_its_bytes() -> None:
    building = Building(meters(2))
    building.bus.meters[0].spoil = lambda frame: frame[:-1] + bytes((frame[-1] ^ 1,))
    failed, healthy = building.until("2026-11-03T10:16:00")
    assert failed.failure is not None
    assert failed.failure.kind == "damaged"
    assert failed.registers == {}
    assert bytes.fromhex(failed.raw["received"])[0] == 1
    assert healthy.failure is None
    assert building.line.meters()["m-001"].damaged == 1


def test_a_boundary_that_was_damaged_is_asked_again_half_a_minute_later() -> None:
    building = Building(meters(1, "orno-we-515"), start="2026-11-30T23:50:00")
    broken = iter([True] * 3)
    building.bus.meters[0].spoil = lambda frame: frame[:-1] + bytes((frame[-1] ^ 1,)) if next(broken, False) else frame
    found = building.until("2026-12-01T00:10:00")
    assert [(snapshot.purpose, kinds([snapshot])[0]) for snapshot in found] == [
        ("boundary", "damaged"),
        ("boundary", "ok"),
    ]
    assert found[1].asked - found[0].asked == 30_000


# ----------------------------------------------------------------------------- refusals


def test_what_a_meter_refuses_is_absent_and_is_asked_again_once_a_day() -> None:
    building = Building(meters(1), start="2026-11-03T10:07:00")
    simulated = building.bus.meters[0]
    simulated.profile = without(load("abb-b23"), "2.8.3", "2.8.4")
    building.until("2026-11-03T10:16:00")
    asked = simulated.asked
    found = building.until("2026-11-03T10:31:00")
    assert kinds(found) == ["ok"]
    assert "2.8.3" not in found[0].registers
    assert found[0].registers["2.8.2"] == 20_044_630
    assert simulated.asked - asked <= 3  # what it refuses is not tried again and again
    assert "refuses 2.8.3, 2.8.4 of abb-b23" in " ".join(building.line.warnings())
    simulated.profile = load("abb-b23")  # somebody set the meter up
    building.until("2026-11-03T23:59:00")
    assert "2.8.3" not in building.spool.snapshots[-1].registers
    boundary, following = building.until("2026-11-04T00:16:00")
    assert boundary.purpose == "boundary"
    assert "2.8.3" in boundary.registers
    assert "2.8.3" in following.registers
    assert not building.line.warnings()


def test_a_meter_that_refuses_everything_is_a_failure_of_its_profile() -> None:
    building = Building(meters(2))
    building.bus.meters[0].profile = load(str(FROZEN))
    failed, healthy = building.until("2026-11-03T10:16:00")
    assert kinds([failed, healthy]) == ["profile", "ok"]
    assert building.line._meters[0].silence is None


def test_a_meter_that_is_busy_is_refused_this_time() -> None:
    building = Building(meters(1))
    building.bus.meters[0].spoil = lambda frame: sealed(bytes((frame[0], frame[1] | 0x80, 6)))
    (failed,) = building.until("2026-11-03T10:16:00")
    assert kinds([failed]) == ["refused"]
    assert building.line.meters()["m-001"].refused == 1
    assert building.bus.meters[0].asked == 1


# ----------------------------------------------------------------------------- strangers


def test_another_meter_at_the_address_gives_evidence_and_no_values() -> None:
    building = Building(meters(2))
    building.bus.meters[0].serial_number = "87654321"
    stranger, healthy = building.until("2026-11-03T10:16:00")
    assert kinds([stranger, healthy]) == ["stranger", "ok"]
    assert stranger.failure is not None
    assert "87654321" in stranger.failure.text
    assert "10000001" in stranger.failure.text
    assert stranger.serial_number == "87654321"
    assert stranger.registers == stranger.quantities == stranger.frozen == {}
    assert set(stranger.raw) == set(load("abb-b23").energy_codes)
    assert building.line.meters()["m-001"].stranger == 1
    assert any("87654321" in text for text in building.line.warnings())


def test_a_stranger_must_prove_who_it_is_at_each_asking_until_the_right_meter_is_back() -> None:
    building = Building(meters(1))
    building.until("2026-11-03T10:31:00")
    simulated = building.bus.meters[0]
    simulated.mute = True
    building.until("2026-11-03T10:46:00")
    simulated.mute, simulated.serial_number = False, "87654321"  # exchanged while it was dark
    found = building.until("2026-11-03T11:31:00")
    assert kinds(found) == ["stranger"] * 3
    simulated.serial_number = "10000001"
    found = building.until("2026-11-03T12:01:00")
    assert kinds(found) == ["ok", "ok"]
    assert [snapshot.serial_number for snapshot in found] == ["10000001", None]
    assert building.line.warnings() == ()


def test_a_stranger_that_hides_its_serial_number_is_not_believed() -> None:
    building = Building(meters(1))
    simulated = building.bus.meters[0]
    simulated.serial_number = "87654321"
    building.until("2026-11-03T10:16:00")
    simulated.serial_number = None  # "not available"
    found = building.until("2026-11-03T10:46:00")
    assert kinds(found) == ["stranger", "stranger"]


def test_a_boundary_of_a_stranger_stays_owed() -> None:
    building = Building(meters(1), start="2026-11-30T23:50:00")
    building.bus.meters[0].serial_number = "87654321"
    assert set(kinds(building.until("2026-12-01T00:20:00"))) == {"stranger"}
    building.bus.meters[0].serial_number = "10000001"
    found = building.until("2026-12-01T00:40:00")
    assert (found[0].purpose, *kinds(found[:1])) == ("boundary", "ok")


def test_a_serial_number_is_compared_without_blanks_case_and_leading_zeros() -> None:
    building = Building([meter(1, serial_number="00 10000001")])
    building.bus.meters[0].serial_number = "10000001"
    assert kinds(building.until("2026-11-03T10:16:00")) == ["ok"]


def test_a_meter_without_a_serial_number_is_read_and_said_to_be_unproven() -> None:
    building = Building([meter(1, "orno-we-515"), meter(2)])
    assert kinds(building.until("2026-11-03T10:16:00")) == ["ok", "ok"]
    (warning,) = building.line.warnings()
    assert "unproven" in warning
    assert "m-001" in warning
    assert "m-002" not in warning


def test_a_meter_that_gives_no_serial_number_where_its_profile_has_one_is_said_to_be_unproven() -> None:
    building = Building(meters(1))
    building.bus.meters[0].serial_number = None
    assert kinds(building.until("2026-11-03T10:31:00")) == ["ok", "ok"]
    assert "unproven" in building.line.warnings()[0]


# ----------------------------------------------------------------------------- a bug


def test_a_bug_in_one_meters_decoding_costs_that_meters_reading_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        @staticmethod
        def read(profile: Profile, ask: Any) -> Any:
            if ask.address == "2":
                raise ZeroDivisionError("a bug")
            return modbus.read(profile, ask)

    monkeypatch.setattr(serving, "driver", lambda protocol: Broken)
    building = Building(meters(3))
    found = building.until("2026-11-03T10:16:00")
    assert kinds(found) == ["ok", "damaged", "ok"]
    assert found[1].failure is not None
    assert "ZeroDivisionError" in found[1].failure.text
    assert "m-002" in caplog.text
    assert "Traceback" in caplog.text


def test_every_driver_error_has_a_kind_that_a_snapshot_may_have() -> None:
    classes = [DriverError, *DriverError.__subclasses__()]
    assert {NoAnswer, MeterRefused} < set(classes)
    for cls in classes:
        assert Failure(kind=cls.kind, text="").kind == cls.kind  # type: ignore[arg-type]


# ----------------------------------------------------------------------------- all at once


TROUBLES: dict[str, Callable[[random.Random], Callable[[bytes], bytes]]] = {
    "flipped": lambda dice: lambda frame: _flipped(frame, dice),
    "cut": lambda dice: lambda frame: frame[: dice.randrange(len(frame))],
    "noise": lambda dice: lambda frame: dice.randbytes(dice.randrange(1, 200)),
    "noise before": lambda dice: lambda frame: dice.randbytes(dice.randrange(1, 8)) + frame,
    "noise behind": lambda dice: lambda frame: frame + dice.randbytes(dice.randrange(1, 8)),
    "twice": lambda dice: lambda frame: frame + frame,
    "another address": lambda dice: lambda frame: sealed(bytes((frame[0] % 30 + 31,)) + frame[1:-2]),
    "refusal": lambda dice: lambda frame: sealed(bytes((frame[0], frame[1] | 0x80, dice.randrange(1, 12)))),
    "odd refusal": lambda dice: lambda frame: sealed(bytes((frame[0], frame[1] | 0x80, 2))),
}


TRUTH = Building([meter(9, "eastron-sdm630")]).until("2026-11-03T10:16:00")[0].registers


def _flipped(frame: bytes, dice: random.Random) -> bytes:
    spoiled = bytearray(frame)
    spoiled[dice.randrange(len(frame))] ^= 1 << dice.randrange(8)
    return bytes(spoiled)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.integers(1, 8), st.sampled_from([*TROUBLES, "mute", "stranger"]), min_size=1, max_size=7),
    st.integers(0, 2**32),
)
def test_on_a_line_of_troubles_nothing_wrong_is_a_value_and_the_sound_meters_are_read_in_every_round(
    troubles: dict[int, str], seed: int
) -> None:
    dice = random.Random(seed)
    building = Building([meter(n, "eastron-sdm630") for n in range(1, 9)], start="2026-11-30T23:40:00")
    for number, trouble in troubles.items():
        simulated = building.bus.meters[number - 1]
        simulated.mute = trouble == "mute"
        if trouble == "stranger":
            simulated.serial_number = "87654321"
        if trouble in TROUBLES:
            simulated.spoil = TROUBLES[trouble](dice)
    found = building.until("2026-12-01T00:50:00")
    for snapshot in found:
        for code, value in snapshot.registers.items():
            assert value == TRUTH[code]
        if snapshot.failure is None:
            assert set(snapshot.registers) == set(load("eastron-sdm630").energy_codes)
        else:
            assert not snapshot.registers
    ticks = [building.at(f"2026-{day}:00") for day in ("11-30T23:45", "12-01T00:00", "12-01T00:15", "12-01T00:30")]
    for number in set(range(1, 9)) - set(troubles):
        asked = [snapshot.asked for snapshot in of(found, f"m-{number:03d}") if snapshot.failure is None]
        for tick in ticks:
            # Eight meters' first time-outs, all of them, are the worst that a neighbour's trouble costs.
            assert any(tick <= at < tick + 90_000 for at in asked)
    assert {snapshot.purpose for snapshot in found} == {"interval", "boundary"}
