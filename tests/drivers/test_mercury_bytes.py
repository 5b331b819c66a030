"""Bytes of Mercury meters: every order against examples that others printed or caught, masks, BCD, clocks, serials."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.mercury_bytes import (
    NUMBERS,
    SIZE,
    WrongBytes,
    decode_clock,
    decode_number,
    decode_serial,
    encode_clock,
    encode_number,
    encode_serial,
)

# Incotex, "System of commands" 12.2020: examples of 2.5.17.1, 2.5.17.2, 2.6.16.8; wirenboard/wb-mqtt-serial,
# test/mercury230_expectations.cpp with the values of mercury230_test.cpp; examples 2.6.16.
VECTORS = [
    ("dword", "00 00 70 0A", 2672),
    ("dword", "00 00 6D 06", 1645),
    ("dword", "00 00 5E 7C", 31838),
    ("dword", "00 00 2C 36", 13868),
    ("dword", "30 00 28 C5", 3196200),
    ("dword", "30 00 29 C5", 3196201),
    ("dword", "04 00 9C 95", 300444),
    ("plain", "00 40 5E", 24128),
    ("plain", "00 EB 5D", 24043),
    ("plain", "00 E5 C4", 50405),
    ("plain", "00 45 00", 69),
    ("plain", "00 60 00", 96),
    ("plain", "00 87 13", 4999),
    ("plain", "00 5B 56", 22107),
    ("plain", "48 87 70", 553095),
    ("active", "48 87 70", 553095),  # bit 6 is the reactive direction
    ("active", "C8 87 70", -553095),
    ("active", "88 87 90", -561287),
    ("reactive", "C8 87 70", -553095),
    ("reactive", "88 87 70", 553095),
    ("active", "40 2D 02", 557),
    # github.com/mrkrasser/MercuryStats, readme.md and examples/example.txt
    ("bcd4", "00 06 21 42", 62142),
    ("bcd2", "23 58", 2358),
    ("bcd3", "00 05 88", 588),
    ("bcd2", "03 05", 305),
]


@pytest.mark.parametrize(("kind", "raw", "value"), VECTORS)
def test_numbers_are_those_of_the_documents_and_captures(kind: str, raw: str, value: int) -> None:
    assert decode_number(kind, bytes.fromhex(raw)) == value  # type: ignore[arg-type]  # a name of NUMBERS


@pytest.mark.parametrize("kind", NUMBERS)
def test_all_ones_are_not_supported_whatever_would_be_left_after_masking(kind: str) -> None:
    assert decode_number(kind, b"\xff" * SIZE[kind]) is None  # type: ignore[arg-type]
    assert encode_number(kind, None) == b"\xff" * SIZE[kind]  # type: ignore[arg-type]


def test_a_22_bit_magnitude_of_ones_is_a_number_where_a_direction_bit_is_not_set() -> None:
    assert decode_number("active", bytes.fromhex("BF FF FF")) == -0x3FFFFF
    assert decode_number("plain", bytes.fromhex("3F FF FF")) == 0x3FFFFF


@given(st.sampled_from(sorted(NUMBERS)), st.integers(-(1 << 33), 1 << 33))
def test_what_is_encoded_is_decoded_again_or_refused(kind: str, value: int) -> None:
    try:
        raw = encode_number(kind, value)  # type: ignore[arg-type]
    except ValueError:
        assert (
            value < 0
            or value
            > {"dword": (1 << 32) - 1, "bcd2": 9999, "bcd3": 10**6 - 1, "bcd4": 10**8 - 1}.get(kind, (1 << 22) - 1)
            or (kind in ("active", "reactive") and value < -(1 << 22) + 1)
        )
        return
    masked = raw == b"\xff" * len(raw)
    assert decode_number(kind, raw) == (None if masked else value)  # type: ignore[arg-type]


@given(st.sampled_from(["bcd2", "bcd3", "bcd4"]), st.binary(min_size=4, max_size=4))
def test_a_nibble_above_nine_is_damage(kind: str, four: bytes) -> None:
    raw = four[: SIZE[kind]]
    if raw == b"\xff" * len(raw):
        return
    if raw.hex().isdecimal():
        assert decode_number(kind, raw) == int(raw.hex())  # type: ignore[arg-type]
    else:
        with pytest.raises(WrongBytes, match="not BCD"):
            decode_number(kind, raw)  # type: ignore[arg-type]


def test_a_number_of_the_wrong_length_is_damage() -> None:
    with pytest.raises(WrongBytes, match="dword has 4 bytes, not 3"):
        decode_number("dword", b"\x00\x00\x01")


# ----------------------------------------------------------------------------- serial numbers and clocks


def test_serial_numbers_are_two_digits_a_byte_or_one_binary_number() -> None:
    assert decode_serial("digits", bytes.fromhex("04 2F 0D 3B")) == "04471359"  # INC20 2.6.2
    assert decode_serial("digits", bytes.fromhex("20 57 2F 42")) == "32874766"  # INC20 2.6.3
    assert decode_serial("binary", bytes.fromhex("00 69 AD 4E")) == "6925646"  # MercuryStats
    assert decode_serial("binary", b"\xff" * 4) is None
    assert decode_serial("digits", bytes(4)) is None


def test_a_byte_of_more_than_two_digits_is_no_serial_number() -> None:
    with pytest.raises(WrongBytes, match="two decimal digits"):
        decode_serial("digits", bytes.fromhex("04 64 0D 3B"))


@given(st.integers(1, 99_999_999))
def test_serial_numbers_come_back_as_they_were(number: int) -> None:
    assert decode_serial("digits", encode_serial("digits", str(number))) == f"{number:08d}"
    assert decode_serial("binary", encode_serial("binary", str(number))) == str(number)


@pytest.mark.parametrize(("kind", "text"), [("digits", "123456789"), ("binary", "4294967296"), ("digits", "12A4")])
def test_a_serial_number_that_does_not_fit_is_refused(kind: str, text: str) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode_serial(kind, text)  # type: ignore[arg-type]


def test_clocks_are_those_of_the_documents_and_captures() -> None:
    assert decode_clock("seconds-first", bytes.fromhex("43 14 16 03 27 02 08 01")) == "2008-02-27T16:14:43"  # 2.5.3
    assert decode_clock("weekday-first", bytes.fromhex("03 17 02 35 13 04 11")) == "2011-04-13T17:02:35"  # MercuryStats


@given(st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)))  # noqa: DTZ001 - a meter's own, naive
def test_clocks_come_back_as_they_were(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    for kind in ("seconds-first", "weekday-first"):
        assert decode_clock(kind, encode_clock(kind, moment)) == moment.isoformat()  # type: ignore[arg-type]


def test_an_unset_clock_is_none_and_one_that_is_not_bcd_is_damage() -> None:
    assert decode_clock("seconds-first", bytes(8)) is None
    assert decode_clock("weekday-first", b"\xff" * 7) is None
    with pytest.raises(WrongBytes):
        decode_clock("seconds-first", bytes.fromhex("4A 14 16 03 27 02 08 01"))
