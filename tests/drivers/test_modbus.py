"""A reading from the first request to the last value: both ends joined, refusals, memory, and what is not available."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

import pytest

from drivers import modbus
from drivers.dialogue import Ask, DamagedFrame, FrozenSet, Measured, NoAnswer, NotInProfile, Send, silence
from drivers.meter_side import Held
from drivers.profile import Profile, load
from tests.drivers.modbus_world import (
    ASK,
    FLOATS,
    HELD,
    MONTHS,
    PROFILES,
    SWAPPED,
    TARIFFS,
    Line,
    make,
    meter,
    read,
    refusing,
    sound,
    without,
)

# ----------------------------------------------------------------------------- values


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.id)
@pytest.mark.parametrize("baudrate", [300, 9600, 115200])
def test_what_a_meter_holds_is_what_is_read(profile: Profile, baudrate: int) -> None:
    found = read(profile, ask=replace(ASK, baudrate=baudrate))
    held = HELD[profile.id]
    assert {code: found.registers[code].value for code in held.registers} == dict(held.registers)
    assert found.serial_number == held.serial_number
    assert found.clock == (held.clock.isoformat() if profile.clock != "none" else None)
    assert found.refused == frozenset()


def test_energy_is_whole_wh_and_a_quantity_is_a_decimal_in_its_unit() -> None:
    found = read(FLOATS).registers
    assert found["1.8.0"] == Measured(1_234_567, "kWh", bytes.fromhex("449a5225"))
    assert found["32.7.0"] == Measured(Decimal("230.1"), "V", bytes.fromhex("4366199a"))
    assert found["13.7.0"] == Measured(Decimal("-0.95"), "", bytes.fromhex("bf733333"))
    assert isinstance(found["1.8.0"].value, int)


def test_the_raw_bytes_are_those_of_the_value_as_they_came() -> None:
    found = read(SWAPPED).registers
    assert found["1.8.0"] == Measured(20_044_600, "kWh", bytes.fromhex("0efe0003"))
    assert found["1.8.1"].raw == bytes.fromhex("d687001200000000")


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.id)
def test_only_what_is_asked_for_is_read(profile: Profile) -> None:
    code = profile.energy_codes[0]
    found = read(profile, ask=Ask("1", codes=(code,), serial=False, clock=False))
    assert list(found.registers) == [code]
    assert (found.serial_number, found.clock, found.frozen) == (None, None, ())


def test_what_a_meter_says_is_not_available_is_absent_and_a_zero_is_a_zero() -> None:
    found = read(SWAPPED, meter(SWAPPED, Held({"1.8.0": 0})))
    assert found.registers["1.8.0"].value == 0
    assert set(found.absent) == {"1.8.1", "31.7.0", "32.7.0"}  # 14.7.0 is unsigned: this meter has no marker for it
    assert set(found.registers) == {"1.8.0", "14.7.0"}
    assert found.serial_number is None


def test_a_float_that_is_no_number_is_absent() -> None:
    found = read(FLOATS, meter(FLOATS, Held({"2.8.0": 1000})))
    assert set(found.registers) == {"2.8.0"}
    assert set(found.absent) == set(FLOATS.registers) - {"2.8.0"}


def test_frozen_registers_carry_their_stamp_or_their_counter() -> None:
    stamped, counted = read(MONTHS).frozen
    assert stamped == FrozenSet(
        {
            "1.8.1": Measured(690_000, "kWh", (690_000).to_bytes(4, "big")),
            "1.8.2": Measured(299_000, "kWh", (299_000).to_bytes(4, "big")),
        },
        stamp="2026-11-01T00:00:00",
    )
    assert counted == FrozenSet({"1.8.1": Measured(600_000, "kWh", (600_000).to_bytes(8, "big"))}, back=2)


def test_a_meter_that_has_not_closed_a_month_has_no_frozen_registers() -> None:
    found = read(MONTHS, meter(MONTHS, replace(HELD["months"], frozen=())))
    assert found.frozen == ()
    assert found.registers["1.8.1"].value == 700_001


def test_frozen_registers_whose_stamp_is_refused_are_nobodys_months() -> None:
    (counted,) = read(MONTHS, refusing(meter(MONTHS), without(0x0200))).frozen
    assert counted.back == 2


def test_frozen_registers_are_read_only_when_asked_for() -> None:
    line = sound(meter(MONTHS))
    assert line.carry(modbus.read(MONTHS, Ask("1"))).frozen == ()
    assert not any(request[2] in (2, 3) for request in line.asked)


def test_a_total_is_added_up_where_the_profile_says_so() -> None:
    for codes in ((), ("1.8.0",)):
        found = read(MONTHS, ask=replace(ASK, codes=codes)).registers
        raw = (700_001).to_bytes(4, "big") + (300_002).to_bytes(4, "big")
        assert found["1.8.0"] == Measured(1_000_003, "kWh", raw)
        assert set(found) == ({"1.8.0"} if codes else {"1.8.0", "1.8.1", "1.8.2"})


def test_a_total_is_not_added_up_from_a_part_of_the_tariffs() -> None:
    found = read(MONTHS, meter(MONTHS, Held({"1.8.1": 5})))
    assert set(found.absent) == {"1.8.0", "1.8.2"}
    refused = read(MONTHS, refusing(meter(MONTHS), without(0x0102)))
    assert set(refused.registers) == {"1.8.1"}
    assert refused.refused == {"1.8.2"}
    assert refused.absent == ("1.8.0",)


def test_a_profile_with_a_total_register_adds_nothing_up() -> None:
    found = read(TARIFFS, meter(TARIFFS, Held({"1.8.1": 10, "1.8.2": 10})))
    assert found.registers["1.8.0"].value == 0


def test_a_serial_number_that_is_no_text_says_that_the_meter_is_another() -> None:
    data = Held({}, serial_number="\x07\x01garbage")
    with pytest.raises(NotInProfile, match=r"serial number: 0701.* is not printable text; check that the meter is a"):
        read(SWAPPED, meter(SWAPPED, data))


def test_a_clock_that_is_no_date_is_none() -> None:
    assert read(TARIFFS, meter(TARIFFS, Held({"1.8.0": 5}))).clock is None


# ----------------------------------------------------------------------------- by TCP


def test_a_meter_is_read_by_tcp_and_every_request_has_a_number_of_its_own() -> None:
    line = sound(meter(TARIFFS, tcp=True))
    found = line.carry(modbus.read(TARIFFS, replace(ASK, tcp=True, transaction=0xFFFE)))
    assert found == read(TARIFFS)
    assert [request[:2].hex() for request in line.asked] == ["fffe", "ffff", "0000", "0001", "0002"]


def test_late_answers_by_tcp_are_passed_over() -> None:
    reply = meter(TARIFFS, tcp=True)
    earlier: list[bytes] = []

    def late(request: bytes) -> bytes:
        earlier.append(reply(request))
        return b"".join(earlier)  # all answers so far once more, the right one last

    assert sound(late).carry(modbus.read(TARIFFS, replace(ASK, tcp=True))) == read(TARIFFS)


def test_by_tcp_silence_does_not_wait_for_answers_that_would_name_their_question() -> None:
    silent = Line(lambda request, now: [])
    with pytest.raises(NoAnswer):
        silent.carry(modbus.read(TARIFFS, replace(ASK, tcp=True)))
    waited = TARIFFS.line.timeout + modbus.TCP_WAIT
    assert 2 * waited < silent.now < 2 * waited + 0.5


# ----------------------------------------------------------------------------- lines and profiles


def test_a_line_without_a_meter_is_silence() -> None:
    line = Line(lambda request, now: [])
    with pytest.raises(NoAnswer):
        line.carry(modbus.read(TARIFFS, ASK))
    assert len(line.asked) == 2


def test_a_line_of_pure_noise_is_damage() -> None:
    chance = random.Random(7)
    line = Line(lambda request, now: [(0.02, chance.randbytes(700))])
    with pytest.raises(DamagedFrame):
        line.carry(modbus.read(TARIFFS, ASK))
    assert len(line.asked) == 3


def test_the_next_profile_is_planned_from_its_own_registers() -> None:
    """Two profiles with the same id are two profiles: nothing is remembered by name."""
    text = "modbus: {{function: '{}', word_order: big, most_registers: 9}}\nserial: none\nregisters: {{1.8.0: {}}}"
    one = make(text.format("03", "{address: '0001', type: u32, unit: Wh}"))
    two = make(text.format("04", "{address: '0005', type: u64, unit: Wh}"))
    for profile, expected in ((one, (3, 1, 2)), (two, (4, 5, 4))):
        (block,) = modbus.plan(profile, ASK)
        assert (block.function, block.address, block.count) == expected


def test_a_meter_that_needs_a_pause_has_it_before_each_request_and_in_its_plan() -> None:
    calm = load("gavazzi-em340")
    hasty = calm.model_copy(update={"line": calm.line.model_copy(update={"pause": 0.0})})
    dialogue = modbus.read(calm, ASK)
    first = next(dialogue)
    assert isinstance(first, Send)
    assert first.silence == 0.04
    plans = [modbus.plan(it, replace(ASK, turnaround=0.04)) for it in (calm, hasty)]
    ours, theirs = (sum(block.milliseconds for block in plan) for plan in plans)
    assert ours - theirs == pytest.approx(len(plans[0]) * (40 - 1000 * silence(9600)))
