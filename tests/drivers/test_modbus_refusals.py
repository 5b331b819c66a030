"""What a meter refuses: found, remembered, not asked again, and never taken from the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import modbus
from drivers.dialogue import (
    MeterRefused,
    NoAnswer,
    NotInProfile,
)
from tests.drivers.modbus_world import (
    ASK,
    FLOATS,
    MONTHS,
    TARIFFS,
    meter,
    read,
    refusing,
    sound,
    without,
)


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
    assert len(last.asked) <= len(second.asked) < len(first.asked)


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
    planned = modbus.plan(TARIFFS, ASK)
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
