"""A reading from the first request to the last value: both ends joined, refusals, memory, and what is not available."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import modbus
from drivers.dialogue import (
    Ask,
    DamagedFrame,
    Done,
    DriverError,
    FrozenSet,
    Held,
    Measured,
    MeterRefused,
    More,
    Never,
    NoAnswer,
    NotInProfile,
    Readout,
)
from drivers.modbus_frames import Question, enveloped, sealed
from drivers.profile import Profile
from tests.drivers.modbus_world import FLOATS, HELD, MONTHS, PROFILES, SWAPPED, TARIFFS, Line, Meter, make, meter, sound

ASK = Ask("1", frozen=True)
LEAST, LAST = datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2099-12-31T23:59:59")


def read(profile: Profile, reply: Meter | None = None, ask: Ask = ASK) -> Readout:
    return sound(reply or meter(profile)).carry(modbus.read(profile, ask))


def refusing(reply: Meter, refuses: Callable[[int, int, int], int]) -> Meter:
    """A meter that answers with the exception that `refuses(function, start, end)` says, unless that is 0."""

    def answer(request: bytes) -> bytes:
        function, start, count = request[1], int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        code = refuses(function, start, start + count)
        return sealed(bytes((request[0], function | 0x80, code))) if code else reply(request)

    return answer


def without(*addresses: int) -> Callable[[int, int, int], int]:
    """What a meter says that does not have these registers."""
    return lambda _, start, end: 2 if any(start <= address < end for address in addresses) else 0


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


# ----------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("code", [2, 3])
@pytest.mark.parametrize("missing", ["1.8.0", "1.8.1", "1.8.2", "1.8.4", "16.7.0", "serial", "clock", "32.7.0"])
def test_one_refused_value_is_found_and_all_others_are_read(missing: str, code: int) -> None:
    values = {**TARIFFS.registers, "serial": TARIFFS.serial, "clock": TARIFFS.clock}
    address = values[missing].address  # type: ignore[union-attr]
    reply = refusing(meter(TARIFFS), lambda *at: code if without(address)(*at) else 0)
    found, right = read(TARIFFS, reply), read(TARIFFS)
    assert {key for key in found.refused if ":" not in key} == {missing}
    assert found.registers == {code: value for code, value in right.registers.items() if code != missing}
    assert found.serial_number == (None if missing == "serial" else right.serial_number)


def test_what_is_refused_is_not_asked_again_and_the_rest_in_as_few_requests() -> None:
    reply = refusing(meter(TARIFFS), without(0x013F, 0x0140))  # 1.8.2 and 16.7.0
    first = sound(reply)
    found = first.carry(modbus.read(TARIFFS, ASK))
    assert {"1.8.2", "16.7.0"} <= found.refused
    second = sound(reply)
    known = frozenset(found.refused)
    again = second.carry(modbus.read(TARIFFS, replace(ASK, refused=known)))
    assert again.registers == found.registers
    for _ in range(3):  # a hole that is not there may be learnt of now; after a few rounds nothing is refused any more
        line = sound(reply)
        known |= line.carry(modbus.read(TARIFFS, replace(ASK, refused=known))).refused
    last = sound(reply)
    assert last.carry(modbus.read(TARIFFS, replace(ASK, refused=known))).refused == frozenset()
    assert len(last.asked) < len(second.asked) or len(second.asked) < len(first.asked)


def test_a_hole_that_is_not_there_is_remembered_and_costs_no_value() -> None:
    reply = refusing(meter(TARIFFS), without(0x0135))
    line = sound(reply)
    found = line.carry(modbus.read(TARIFFS, ASK))
    assert found.registers == read(TARIFFS).registers
    assert found.refused == {"apart:03:0134-013E"}
    again = sound(reply)
    assert again.carry(modbus.read(TARIFFS, replace(ASK, refused=found.refused))) == replace(found, refused=frozenset())
    assert len(again.asked) == len(line.asked) - 1


def test_a_meter_that_gives_fewer_registers_at_once_than_its_profile_says_is_read_whole() -> None:
    reply = refusing(meter(MONTHS), lambda _, start, end: 3 if end - start > 4 else 0)
    known: frozenset[str] = frozenset()
    for _ in range(4):
        found = read(MONTHS, reply, replace(ASK, refused=known))
        assert replace(found, refused=frozenset()) == read(MONTHS)
        known |= found.refused
    assert not found.refused
    assert all(key.startswith("apart:") for key in known)


@given(st.frozensets(st.sampled_from(sorted(set(range(0x0100, 0x0160)) | {0, 0x4000, 0x8120}))))
def test_whatever_a_meter_lacks_all_the_rest_is_read_and_soon_without_a_refusal(missing: frozenset[int]) -> None:
    reply = refusing(meter(TARIFFS), without(*missing))
    lacks = {
        code
        for code, it in TARIFFS.registers.items()
        if not missing.isdisjoint(range(it.address, it.address + it.words))
    }
    right = read(TARIFFS).registers
    known: frozenset[str] = frozenset()
    if lacks == set(TARIFFS.registers):
        with pytest.raises(NotInProfile):
            read(TARIFFS, reply)
        return
    for _ in range(12):
        found = read(TARIFFS, reply, replace(ASK, refused=known))
        assert found.registers == {code: value for code, value in right.items() if code not in lacks}
        known |= found.refused
        assert lacks == known & set(right)
    assert not found.refused


def test_a_function_that_the_meter_does_not_know_costs_what_is_read_with_it_alone() -> None:
    reply = refusing(meter(FLOATS), lambda function, *_: 1 if function == 3 else 0)
    line = sound(reply)
    found = line.carry(modbus.read(FLOATS, ASK))
    assert found.refused == {"serial"}
    assert found.serial_number is None
    assert found.registers == read(FLOATS).registers


@pytest.mark.parametrize("code", [1, 2, 3])
def test_a_meter_that_refuses_everything_is_not_the_one_of_the_profile(code: int) -> None:
    with pytest.raises(NotInProfile, match=rf"refuses all of 1\.8\.0, .* check that it is .*exception 0{code}"):
        read(TARIFFS, refusing(meter(TARIFFS), lambda *_: code))


def test_a_function_that_is_not_known_is_not_asked_for_in_parts() -> None:
    line = sound(refusing(meter(TARIFFS), lambda *_: 1))
    with pytest.raises(NotInProfile):
        line.carry(modbus.read(TARIFFS, ASK))
    planned = modbus.plan(TARIFFS, baudrate=9600, framing="8N1", turnaround=0.02, serial=True, clock=True)
    assert len(line.asked) == len(planned)


def test_a_meter_that_gives_its_serial_number_alone_is_not_the_one_of_the_profile() -> None:
    with pytest.raises(NotInProfile, match="refuses all of"):
        read(FLOATS, refusing(meter(FLOATS), lambda function, *_: 2 if function == 4 else 0))


def test_what_was_refused_whole_before_is_not_asked_for_at_all() -> None:
    line = sound(meter(TARIFFS))
    with pytest.raises(NotInProfile, match=r"refused all of .* before"):
        line.carry(modbus.read(TARIFFS, replace(ASK, refused=frozenset(TARIFFS.registers))))
    assert line.asked == []


@pytest.mark.parametrize("code", [4, 5, 6, 7, 8, 10, 99])
def test_other_refusals_end_the_reading_at_once(code: int) -> None:
    line = sound(refusing(meter(TARIFFS), lambda *_: code))
    with pytest.raises(MeterRefused) as caught:
        line.carry(modbus.read(TARIFFS, ASK))
    assert caught.value.code == code
    assert len(line.asked) == 1


def test_a_gateway_that_finds_the_meter_silent_is_asked_once_more_and_then_it_is_silence() -> None:
    line = sound(refusing(meter(TARIFFS), lambda *_: 11))
    with pytest.raises(NoAnswer, match="gateway got no answer"):
        line.carry(modbus.read(TARIFFS, ASK))
    assert len(line.asked) == 2


@pytest.mark.parametrize("codes", [("9.9.9",), ("1.8.0", "2.8.0")])
def test_a_code_that_is_not_in_the_profile_is_refused_before_anything_is_asked(codes: tuple[str, ...]) -> None:
    line = sound(meter(TARIFFS))
    with pytest.raises(NotInProfile, match=f"has no {codes[-1]}"):
        line.carry(modbus.read(TARIFFS, replace(ASK, codes=codes)))
    assert line.asked == []


def test_an_address_that_is_none_is_refused_before_anything_is_asked() -> None:
    line = sound(meter(TARIFFS))
    with pytest.raises(NotInProfile, match="1 to 247"):
        line.carry(modbus.read(TARIFFS, replace(ASK, address="0")))
    assert line.asked == []


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


# ----------------------------------------------------------------------------- recorded exchanges


def exchanges(profile: Profile) -> Iterable[tuple[bytes, bytes]]:
    """The requests of a whole reading and their answers, on a serial line."""
    line = sound(meter(profile))
    line.carry(modbus.read(profile, ASK))
    return [(request, meter(profile)(request)) for request in line.asked]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.id)
def test_recorded_exchanges_say_what_a_reading_says(profile: Profile) -> None:
    found = [modbus.understand(profile, request, answer) for request, answer in exchanges(profile)]
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
    assert modbus.understand(TARIFFS, question.rtu(), answer) == Readout()


def test_an_answer_with_another_function_is_not_taken_for_the_profiles() -> None:
    question = Question(1, 3, 0x0048, 2)
    assert modbus.understand(FLOATS, question.rtu(), sealed(bytes((1, 3, 4)) + bytes(4))) == Readout()


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.id)
def test_no_flipped_bit_of_a_recorded_exchange_is_understood(profile: Profile) -> None:
    for request, answer in exchanges(profile):
        for bit in range(8 * len(answer)):
            flipped = (int.from_bytes(answer, "big") ^ 1 << bit).to_bytes(len(answer), "big")
            with pytest.raises(DamagedFrame):
                modbus.understand(profile, request, flipped)
        for bit in range(8 * len(request)):
            flipped = (int.from_bytes(request, "big") ^ 1 << bit).to_bytes(len(request), "big")
            with pytest.raises(DamagedFrame):
                modbus.understand(profile, flipped, answer)
        for size in range(len(answer)):
            with pytest.raises(DamagedFrame):
                modbus.understand(profile, request, answer[:size])


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_random_exchanges_raise_nothing_but_driver_errors(request: bytes, answer: bytes) -> None:
    with pytest.raises(DriverError):
        modbus.understand(TARIFFS, request, answer)


@pytest.mark.parametrize("count", [0, 126])
def test_a_recorded_request_beyond_the_protocol_is_refused(count: int) -> None:
    request = sealed(bytes((1, 3, 0, 0, 0, count)))
    with pytest.raises(DamagedFrame, match="1 to 125"):
        modbus.understand(TARIFFS, request, b"")


@pytest.mark.parametrize("spoil", [lambda request: b"\x00" + request, lambda request: request + b"\x00"])
def test_a_recorded_request_has_no_byte_before_or_behind_it(spoil) -> None:
    request = Question(1, 3, 0x0108, 2).rtu()
    answer = sealed(bytes((1, 3, 4)) + bytes(4))
    assert modbus.understand(TARIFFS, request, answer).registers["1.8.0"].value == 0
    with pytest.raises(DamagedFrame, match="no sound read request"):
        modbus.understand(TARIFFS, spoil(request), answer)


def test_a_recorded_refusal_is_a_refusal() -> None:
    with pytest.raises(MeterRefused):
        modbus.understand(TARIFFS, Question(1, 3, 0, 2).rtu(), sealed(bytes((1, 0x83, 2))))


# ----------------------------------------------------------------------------- the meter's side


def refused(profile: Profile, pdu: str) -> int | None:
    """The code with which a simulated meter refuses a request, None when it answers."""
    outcome = modbus.answer(profile, "1", HELD[profile.id], sealed(b"\x01" + bytes.fromhex(pdu)))
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
        assert modbus.answer(TARIFFS, "1", HELD["tariffs"], request) == Done(b"", 8)


def test_a_meter_waits_for_the_end_of_a_request_and_answers_it_behind_rubbish() -> None:
    request = Question(1, 3, 0x0108, 2).rtu()
    whole = modbus.answer(TARIFFS, "1", HELD["tariffs"], request)
    assert isinstance(whole, Done)
    for size in range(8):
        assert isinstance(modbus.answer(TARIFFS, "1", HELD["tariffs"], request[:size]), More)
    for rubbish in (b"\x00", b"\x01\x03", request[:-1], b"\xff" * 30):
        answer = modbus.answer(TARIFFS, "1", HELD["tariffs"], rubbish + request)
        assert answer == Done(whole.frame, len(rubbish) + 8)


def test_a_meter_by_tcp_answers_with_the_requests_number_and_closes_on_rubbish() -> None:
    question = Question(1, 3, 0x0108, 2)
    outcome = modbus.answer_tcp(TARIFFS, "1", HELD["tariffs"], question.tcp(513) + b"\x00")
    assert outcome == Done(enveloped(513, 1, bytes((3, 4)) + (1_592_260).to_bytes(4, "big")), 12)
    assert modbus.answer_tcp(TARIFFS, "2", HELD["tariffs"], question.tcp(513)) == Done(b"", 12)
    assert isinstance(modbus.answer_tcp(TARIFFS, "1", HELD["tariffs"], b"GET / HTTP/1.1"), Never)
    short = enveloped(1, 1, bytes((3, 1)))
    assert modbus.answer_tcp(TARIFFS, "1", HELD["tariffs"], short) == Done(enveloped(1, 1, b"\x83\x03"), len(short))


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
        (block,) = modbus.plan(profile, baudrate=9600, framing="8N1", turnaround=0.02)
        assert (block.function, block.address, block.count) == expected
