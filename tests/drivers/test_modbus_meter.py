"""The meter's side, and recorded exchanges between it and ours."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import modbus
from drivers.dialogue import (
    DamagedFrame,
    Done,
    DriverError,
    MeterRefused,
    More,
    Never,
    Readout,
)
from drivers.meter_side import Held
from drivers.modbus_frames import Question, enveloped, sealed
from drivers.profile import HexProof, Profile
from tests.drivers.modbus_world import (
    ASK,
    FLOATS,
    PROFILES,
    SWAPPED,
    TARIFFS,
    heard,
    meter,
    read,
    sound,
)

LEAST, LAST = datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2099-12-31T23:59:59")


# ----------------------------------------------------------------------------- recorded exchanges


def understood(profile: Profile, request: bytes, answer: bytes) -> Readout:
    """What the driver makes of a recorded exchange."""
    return modbus.understand(profile, HexProof.model_construct(request=request, answer=answer))


def exchanges(profile: Profile) -> Iterable[tuple[bytes, bytes]]:
    """The requests of a whole reading and their answers, on a serial line."""
    line = sound(meter(profile))
    line.carry(modbus.read(profile, ASK))
    return [(request, meter(profile)(request)) for request in line.asked]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.id)
def test_recorded_exchanges_say_what_a_reading_says(profile: Profile) -> None:
    found = [understood(profile, request, answer) for request, answer in exchanges(profile)]
    registers = {code: value for part in found for code, value in part.registers.items()}
    right = read(profile)
    assert registers == dict(right.registers)
    assert [part.serial_number for part in found if part.serial_number] == [right.serial_number]
    assert [part.clock for part in found if part.clock] == ([right.clock] if right.clock else [])
    assert {group for part in found for group in [str(group) for group in part.frozen]} == {
        str(g) for g in right.frozen
    }


def test_a_value_that_lies_half_in_an_answer_is_not_understood() -> None:
    question = Question(1, 3, 0x0133, 12)  # the second register of 1.8.1 to the first of 1.8.2
    answer = sealed(bytes((1, 3, 24)) + bytes(24))
    assert understood(TARIFFS, question.rtu(), answer) == Readout()


def test_an_answer_with_another_function_is_not_taken_for_the_profiles() -> None:
    question = Question(1, 3, 0x0048, 2)
    assert understood(FLOATS, question.rtu(), sealed(bytes((1, 3, 4)) + bytes(4))) == Readout()


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.id)
def test_no_flipped_bit_of_a_recorded_exchange_is_understood(profile: Profile) -> None:
    for request, answer in exchanges(profile):
        for bit in range(8 * len(answer)):
            flipped = (int.from_bytes(answer, "big") ^ 1 << bit).to_bytes(len(answer), "big")
            with pytest.raises(DamagedFrame):
                understood(profile, request, flipped)
        for bit in range(8 * len(request)):
            flipped = (int.from_bytes(request, "big") ^ 1 << bit).to_bytes(len(request), "big")
            with pytest.raises(DamagedFrame):
                understood(profile, flipped, answer)
        for size in range(len(answer)):
            with pytest.raises(DamagedFrame):
                understood(profile, request, answer[:size])


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_random_exchanges_raise_nothing_but_driver_errors(request: bytes, answer: bytes) -> None:
    with pytest.raises(DriverError):
        understood(TARIFFS, request, answer)


@pytest.mark.parametrize("count", [0, 126])
def test_a_recorded_request_beyond_the_protocol_is_refused(count: int) -> None:
    request = sealed(bytes((1, 3, 0, 0, 0, count)))
    with pytest.raises(DamagedFrame, match="1 to 125"):
        understood(TARIFFS, request, b"")


@pytest.mark.parametrize("spoil", [lambda request: b"\x00" + request, lambda request: request + b"\x00"])
def test_a_recorded_request_has_no_byte_before_or_behind_it(spoil) -> None:
    request = Question(1, 3, 0x0108, 2).rtu()
    answer = sealed(bytes((1, 3, 4)) + bytes(4))
    assert understood(TARIFFS, request, answer).registers["1.8.0"].value == 0
    with pytest.raises(DamagedFrame, match="no sound read request"):
        understood(TARIFFS, spoil(request), answer)


def test_a_recorded_refusal_is_a_refusal() -> None:
    with pytest.raises(MeterRefused):
        understood(TARIFFS, Question(1, 3, 0, 2).rtu(), sealed(bytes((1, 0x83, 2))))


# ----------------------------------------------------------------------------- the meter's side


def refused(profile: Profile, pdu: str) -> int | None:
    """The code with which a simulated meter refuses a request, None when it answers."""
    outcome = heard(profile, sealed(b"\x01" + bytes.fromhex(pdu)))
    assert isinstance(outcome, Done)
    assert outcome.frame[1] & 0x7F == int(pdu[:2], 16)
    return outcome.frame[2] if outcome.frame[1] & 0x80 else None


@pytest.mark.parametrize(
    ("profile", "pdu", "code"),
    [
        (TARIFFS, "03 0108 0002", None),
        (TARIFFS, "03 0108 0001", None),  # half a value: a meter does not mind
        (TARIFFS, "03 0132 0026", None),  # with the holes between the tariffs
        (TARIFFS, "03 0134 0004", None),  # a part of a hole
        (TARIFFS, "04 0108 0002", 1),
        (TARIFFS, "06 0108 0002", 1),
        (TARIFFS, "10 0108 0001 02 0000", 1),
        (TARIFFS, "03 0107 0002", 2),  # before the first of a group
        (TARIFFS, "03 00F0 0002", 2),
        (TARIFFS, "03 8122 0002", 2),  # behind the last
        (TARIFFS, "03 2000 0002", 2),  # in a hole that no request can span
        (TARIFFS, "03 0000 0000", 3),
        (TARIFFS, "03 0132 003D", 3),  # 61 registers of at most 60
        (FLOATS, "04 0048 0002", None),
        (FLOATS, "04 0049 0002", 2),
        (FLOATS, "04 0048 0003", 3),
        (FLOATS, "03 FC00 0002", None),
        (FLOATS, "03 FBFE 0002", 2),  # before the first that is read with this function
        (FLOATS, "03 FFFE 0002", 2),
        (SWAPPED, "03 000B 0001", None),
        (SWAPPED, "03 000B 0002", 2),
        (SWAPPED, "03 000A 0003", 2),
    ],
)
def test_a_simulated_meter_refuses_what_a_real_one_refuses(profile: Profile, pdu: str, code: int | None) -> None:
    assert refused(profile, pdu) == code


def test_a_part_of_a_value_is_that_part() -> None:
    whole = (1_592_260).to_bytes(4, "big")
    for start, count, data in ((0x0108, 1, whole[:2]), (0x0109, 1, whole[2:])):
        assert meter(TARIFFS)(Question(1, 3, start, count).rtu()) == sealed(bytes((1, 3, 2)) + data)


def test_a_meter_is_silent_for_others_and_for_everybody() -> None:
    for unit in (0, 2, 247):
        request = Question(unit, 3, 0x0108, 2).rtu()
        assert heard(TARIFFS, request) == Done(b"", 8)


def test_a_meter_waits_for_the_end_of_a_request_and_answers_it_behind_rubbish() -> None:
    request = Question(1, 3, 0x0108, 2).rtu()
    whole = heard(TARIFFS, request)
    assert isinstance(whole, Done)
    for size in range(8):
        assert isinstance(heard(TARIFFS, request[:size]), More)
    for rubbish in (b"\x00", b"\x01\x03", request[:-1], b"\xff" * 30):
        answer = heard(TARIFFS, rubbish + request)
        assert answer == Done(whole.frame, len(rubbish) + 8)


def test_a_meter_by_tcp_answers_with_the_requests_number_and_closes_on_rubbish() -> None:
    question = Question(1, 3, 0x0108, 2)
    outcome = heard(TARIFFS, question.tcp(513) + b"\x00", tcp=True)
    assert outcome == Done(enveloped(513, 1, bytes((3, 4)) + (1_592_260).to_bytes(4, "big")), 12)
    assert heard(TARIFFS, question.tcp(513), address="2", tcp=True) == Done(b"", 12)
    assert isinstance(heard(TARIFFS, b"GET / HTTP/1.1", tcp=True), Never)
    short = enveloped(1, 1, bytes((3, 1)))
    assert heard(TARIFFS, short, tcp=True) == Done(enveloped(1, 1, b"\x83\x03"), len(short))


def test_a_value_that_the_register_cannot_hold_is_the_simulations_fault_and_said() -> None:
    with pytest.raises(ValueError, match="does not fit into u32"):
        meter(TARIFFS, Held({"1.8.0": 10**12}))(Question(1, 3, 0x0108, 2).rtu())


@given(st.data())
def test_whatever_a_meter_holds_is_read_to_its_registers_resolution(data: st.DataObject) -> None:
    energy = st.integers(0, 2**32 - 1).map(lambda raw: raw * 10)
    held = Held(
        {code: data.draw(energy) for code in TARIFFS.energy_codes}
        | {"16.7.0": Decimal(data.draw(st.integers(-(2**31), 2**31 - 1)))}
        | {"32.7.0": Decimal(data.draw(st.integers(0, 0xFFFF))) / 10},
        serial_number=str(data.draw(st.integers(1, 2**32 - 2))),
        clock=data.draw(st.datetimes(min_value=LEAST, max_value=LAST).map(lambda at: at.replace(microsecond=0))),
    )
    found = read(TARIFFS, meter(TARIFFS, held))
    assert {code: value.value for code, value in found.registers.items()} == dict(held.registers)
    assert found.serial_number == held.serial_number
    assert held.clock is not None
    assert found.clock == held.clock.isoformat()


def test_energy_below_the_registers_resolution_is_cut() -> None:
    found = read(TARIFFS, meter(TARIFFS, Held({"1.8.0": 1_999})))
    assert found.registers["1.8.0"].value == 1_990
