"""What other speeds and framings make of characters, against what UARTs do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.iec62056_21_characters import on_wire
from hil.characters import Setting, received

TEXT = b"/?!\r\n"


@given(st.binary(max_size=40), st.sampled_from(["8N1", "8E1", "8O2"]), st.sampled_from([300, 9600, 115200]))
def test_the_same_setting_brings_the_same_characters(data: bytes, framing: str, baudrate: int) -> None:
    setting = Setting(baudrate, framing)
    assert received(data, setting, setting) == data
    # ... and the bits say so too, not only the short cut:
    assert received(data, Setting(baudrate, framing), Setting(baudrate + 1, framing)) == data  # 0.01 to 0.3 % off


@given(st.lists(st.integers(0, 127), max_size=40).map(bytes), st.sampled_from(["7E1", "7O1"]))
def test_seven_bits_with_parity_are_eight_bits_for_a_port_without(data: bytes, framing: str) -> None:
    seven, eight = Setting(9600, framing), Setting(9600, "8N1")
    assert received(data, seven, eight) == on_wire(data, framing)
    assert received(on_wire(data, framing), eight, seven) == data


@given(st.binary(max_size=40))
def test_a_port_that_cannot_tell_its_framing_is_taken_to_be_right(data: bytes) -> None:
    assert received(data, Setting(9600), Setting(9600, "8E1")) == data
    assert received(data, Setting(9600, "8O1"), Setting(9600)) == data


@pytest.mark.parametrize(
    ("sent", "heard"),
    [("8E1", "8N1"), ("8N1", "8E1"), ("8O1", "8N1")],
)
def test_a_character_of_eleven_bits_is_another_one_for_a_port_of_ten(sent: str, heard: str) -> None:
    data = bytes(range(256))
    found = received(data, Setting(9600, sent), Setting(9600, heard))
    assert found != data
    assert sum(a == b for a, b in zip(data, found, strict=False)) < 192


def test_a_missing_stop_bit_is_a_zero_as_linux_hands_it_over() -> None:
    # 00 with even parity: the parity bit 0 stands where 8N1 wants its stop bit.
    assert received(b"\x00", Setting(9600, "8E1"), Setting(9600, "8N1")) == b"\x00"
    assert received(b"\x41\x43", Setting(9600, "8E1"), Setting(9600, "8N1")) == b"\x00\x43"


@pytest.mark.parametrize("other", [600, 2400, 9600, 19200])
def test_a_wrong_speed_makes_other_characters_and_never_the_same_text(other: int) -> None:
    for data in (TEXT, bytes(range(256)), b"\x06050\r\n"):
        for sent, heard in ((300, other), (other, 300)):
            found = received(data, Setting(sent, "8N1"), Setting(heard, "8N1"))
            assert data not in found
            assert found


def test_a_faster_receiver_sees_more_characters_and_a_slower_one_fewer() -> None:
    assert len(received(TEXT, Setting(300, "8N1"), Setting(9600, "8N1"))) > len(TEXT)
    assert len(received(TEXT, Setting(9600, "8N1"), Setting(300, "8N1"))) < len(TEXT)
