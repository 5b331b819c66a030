"""Bytes and values: every type there and back, exactly; what is not available; whole Wh."""

from __future__ import annotations

import math
import struct
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers import values
from drivers.values import SIZE, NumberType

INTEGERS = [kind for kind in get_args(NumberType) if kind[0] != "f"]
ORDERS = st.sampled_from(["big", "little"])
LARGEST = struct.unpack(">f", b"\x7f\x7f\xff\xff")[0]  # of float32
FACTORS = st.sampled_from([Decimal(text) for text in ("0.001", "0.003125", "0.1", "1", "10", "100", "1000", "1E+6")])


@st.composite
def integers(draw: st.DrawFn) -> tuple[str, int]:
    kind = draw(st.sampled_from(INTEGERS))
    bits = 8 * SIZE[kind]
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if kind[0] == "s" else (0, 2**bits - 1)
    return kind, draw(st.integers(low, high))


# ----------------------------------------------------------------------------- numbers


@given(integers(), ORDERS)
def test_an_integer_survives_its_bytes(pair, order) -> None:
    kind, value = pair
    raw = values.encode_number(kind, Decimal(value), order)
    assert len(raw) == SIZE[kind]
    assert values.decode_number(kind, raw, order) == value


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), ORDERS)
def test_a_float32_survives_its_bytes_exactly(number: float, order) -> None:
    value = Decimal(number)
    assert values.decode_number("f32", values.encode_number("f32", value, order), order) == value


@given(st.floats(allow_nan=False, allow_infinity=False), ORDERS)
def test_a_float64_survives_its_bytes_exactly(number: float, order) -> None:
    value = Decimal(number)
    assert values.decode_number("f64", values.encode_number("f64", value, order), order) == value


@given(st.sampled_from(get_args(NumberType)), st.binary(min_size=8, max_size=8), ORDERS)
def test_any_registers_are_a_number_or_not_available(kind, raw: bytes, order) -> None:
    raw = raw[: SIZE[kind]]
    value = values.decode_number(kind, raw, order)
    if value is None:
        assert kind[0] == "f"
    else:
        assert values.decode_number(kind, values.encode_number(kind, value, order), order) == value


@pytest.mark.parametrize(
    ("kind", "raw", "order", "value"),
    [
        # ABB A43 manual, page 168 shows 5000: four registers, most significant first.
        ("u64", "0000 0000 0001 0001", "big", 65537),
        ("s32", "ffff 7fff", "little", 0x7FFFFFFF),  # overflow of the GNM3D protocol as it is on the wire
        ("s32", "0efe 0003", "little", 0x00030EFE),
        ("u64", "0004 0003 0002 0001", "little", 0x0001000200030004),
        ("s16", "fff6", "big", -10),
        ("f32", "c32c 970a", "big", Decimal("-172.589996337890625")),  # a captured power of an SDM meter
        ("u16", "091d", "little", 2333),
    ],
)
def test_registers_are_in_the_meters_order_and_bytes_in_modbus_own(kind, raw: str, order, value) -> None:
    assert values.decode_number(kind, bytes.fromhex(raw), order) == value


@pytest.mark.parametrize("raw", ["7fc00000", "ffc00000", "7f800000", "ff800000", "ffffffff", "7f800001"])
def test_a_float_that_is_no_number_is_not_available(raw: str) -> None:
    assert values.decode_number("f32", bytes.fromhex(raw), "big") is None


def test_a_float_minus_zero_is_zero() -> None:
    assert str(values.decode_number("f32", bytes.fromhex("80000000"), "big")) == "0"


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("order", ["big", "little"])
def test_a_marker_means_not_available_only_where_the_profile_names_it(kind, order) -> None:
    ones, most = b"\xff" * SIZE[kind], values.encode_number(kind, Decimal(2 ** (8 * SIZE[kind] - 1) - 1), order)
    unsigned = kind[0] == "u"
    assert (values.decode_number(kind, ones, order, ("ones",)) is None) == unsigned
    assert (values.decode_number(kind, most, order, ("max",)) is None) != unsigned
    for raw in (ones, most):
        assert values.decode_number(kind, raw, order) is not None
    assert values.decode_number(kind, ones, order, ("ones", "max")) == (None if unsigned else -1)
    assert (
        values.decode_number(kind, values.not_available(kind, order, ("ones", "max")), order, ("ones", "max")) is None
    )
    assert values.decode_number(kind, values.not_available(kind, order, ()), order) == 0


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_a_float_says_by_itself_that_it_is_not_available(kind, order) -> None:
    assert values.decode_number(kind, values.not_available(kind, order, ()), order) is None


@pytest.mark.parametrize(
    ("kind", "value"), [("u16", -1), ("u16", 65536), ("s16", 32768), ("u32", 2**32), ("s64", 2**63), ("f32", 10**39)]
)
def test_a_value_that_does_not_fit_is_refused(kind, value: int) -> None:
    with pytest.raises(ValueError, match=f"does not fit into {kind}"):
        values.encode_number(kind, Decimal(value), "big")


def test_registers_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="u32 has 4 bytes, not 2"):
        values.decode_number("u32", b"\x00\x00", "big")


# ----------------------------------------------------------------------------- their meaning


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(3.4028234663852886e38)
@example(1.401298464324817e-45)
@example(16777216.0)
def test_the_shortest_decimal_names_the_float_and_no_shorter_one_does(number: float) -> None:
    value = Decimal(number)
    short = values.shortest("f32", value)
    assert struct.pack(">f", float(short)) == struct.pack(">f", number)
    digits = len(short.as_tuple().digits)
    if digits > 1:
        shorter = float(f"{number:.{digits - 1}g}")
        assert shorter > LARGEST or struct.pack(">f", shorter) != struct.pack(">f", number)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_shortest_decimal_of_a_double_names_it(number: float) -> None:
    assert float(values.shortest("f64", Decimal(number))) == number


@pytest.mark.parametrize(
    ("kind", "value", "factor", "text"),
    [
        ("f32", Decimal(struct.unpack(">f", struct.pack(">f", 230.1))[0]), "1", "230.1"),
        ("f32", Decimal(struct.unpack(">f", struct.pack(">f", 0.4))[0]), "1E+3", "400"),
        ("f32", Decimal(50), "1", "50"),
        ("f32", Decimal(0), "1", "0"),
        ("u16", Decimal(2301), "0.1", "230.1"),
        ("u16", Decimal(5000), "0.01", "50.00"),
        ("s16", Decimal(-950), "0.001", "-0.950"),
        ("s32", Decimal(2), "1E+6", "2000000"),
    ],
)
def test_a_quantity_reads_as_a_person_would_write_it(kind, value: Decimal, factor: str, text: str) -> None:
    assert str(values.si_value(kind, value, Decimal(factor))) == text


@given(integers(), FACTORS)
def test_energy_of_an_integer_register_is_exact_and_cut_below_one_wh(pair, factor: Decimal) -> None:
    kind, value = pair
    assert values.whole_wh(kind, Decimal(value), factor) == math.trunc(Fraction(value) * Fraction(factor))


@given(st.sampled_from(["f32", "f64"]), st.floats(0, 1e9, width=32), FACTORS)
def test_energy_of_a_float_register_is_the_nearest_whole_wh(kind, number: float, factor: Decimal) -> None:
    assert values.whole_wh(kind, Decimal(number), factor) == round(Fraction(number) * Fraction(factor))


@given(st.floats(allow_nan=False, allow_infinity=False), FACTORS)
def test_energy_of_any_double_is_exact_before_it_is_rounded(number: float, factor: Decimal) -> None:
    assert values.whole_wh("f64", Decimal(number), factor) == round(Fraction(number) * Fraction(factor))


@pytest.mark.parametrize(
    ("value", "wh"), [("0.0005", 0), ("0.0015", 2), ("0.0025", 2), ("-0.0015", -2), ("1.2345", 1234)]
)
def test_half_a_wh_goes_to_the_even_one(value: str, wh: int) -> None:
    assert values.whole_wh("f64", Decimal(value), Decimal(1000)) == wh


@given(integers(), FACTORS)
def test_a_register_holds_again_what_its_meaning_says(pair, factor: Decimal) -> None:
    kind, value = pair
    meaning = values.si_value(kind, Decimal(value), factor)
    assert values.encode_number(kind, values.in_units(meaning, factor), "big") == values.encode_number(
        kind, Decimal(value), "big"
    )


@pytest.mark.parametrize(
    ("unit", "base", "factor"),
    [
        ("kWh", "Wh", 1000),
        ("MWh", "Wh", 10**6),
        ("Wh", "Wh", 1),
        ("kvarh", "varh", 1000),
        ("VA", "VA", 1),
        ("mA", "A", Decimal("0.001")),
        ("kW", "W", 1000),
        ("V", "V", 1),
        ("", "", 1),
    ],
)
def test_a_unit_is_its_base_and_a_power_of_ten(unit: str, base: str, factor: Decimal) -> None:
    assert values.base_unit(unit) == (base, factor)


@pytest.mark.parametrize("unit", ["kwh", "GWh", "k", "m", "kkW", "Joule", " W"])
def test_an_unknown_unit_is_refused(unit: str) -> None:
    with pytest.raises(ValueError, match="is not a unit known here; known are Wh"):
        values.base_unit(unit)


@pytest.mark.parametrize(
    ("wh", "text"), [(20_044_630, "20044.630"), (0, "0.000"), (7, "0.007"), (-1, "-0.001"), (-1000, "-1.000")]
)
def test_wh_are_written_as_kwh_with_three_decimals(wh: int, text: str) -> None:
    assert values.kilo(wh) == text


@given(st.integers())
def test_kwh_lose_no_wh(wh: int) -> None:
    assert Fraction(values.kilo(wh)) * 1000 == wh


# ----------------------------------------------------------------------------- serial numbers


@given(st.text("0123456789ABCDEFGHIJ-/", min_size=1, max_size=14), ORDERS)
def test_text_survives_its_registers(text: str, order) -> None:
    for kind, size in (("ascii", 14), ("ascii-low", 28)):
        raw = values.encode_text(kind, text, size, order)
        assert len(raw) == size
        assert values.decode_text(kind, raw, order) == text


@given(st.integers(1, 2**32 - 2), ORDERS)
def test_a_serial_number_survives_an_integer(number: int, order) -> None:
    assert values.decode_text("u32", values.encode_text("u32", str(number), 4, order), order) == str(number)


@given(st.integers(1, 99_999_999), ORDERS)
def test_a_serial_number_survives_bcd_with_its_leading_zeros(number: int, order) -> None:
    text = f"{number:08d}"
    assert values.decode_text("bcd32", values.encode_text("bcd32", text, 4, order), order) == text


@given(st.binary(min_size=6, max_size=6), ORDERS)
def test_hex_digits_are_the_registers_themselves(raw: bytes, order) -> None:
    text = values.decode_text("hex", raw, order)
    if text is None:
        assert raw in (b"\x00" * 6, b"\xff" * 6)
    else:
        assert values.encode_text("hex", text, 6, order) == raw


@pytest.mark.parametrize("kind", ["ascii", "ascii-low", "hex", "u32", "u64", "bcd32"])
@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
def test_an_empty_place_has_no_serial_number(kind, byte: bytes) -> None:
    assert values.decode_text(kind, byte * 8, "big") is None


@pytest.mark.parametrize(
    ("kind", "raw", "text"),
    [
        ("ascii", b"BK0420017003H\x00", "BK0420017003H"),
        ("ascii", b"12345   ", "12345"),
        ("ascii", b"        ", None),
        ("ascii", b"12\x0034\x00\x00\x00", "12"),
        ("ascii-low", b"\x001\x002\xff3\x00\x00", "123"),
        ("hex", bytes.fromhex("15060001"), "15060001"),  # the digits of an Inepro PRO380 are its serial number
        ("bcd32", bytes.fromhex("00000201"), "00000201"),
        ("u32", bytes.fromhex("00bc614e"), "12345678"),
    ],
)
def test_a_serial_number_reads_as_on_the_name_plate(kind, raw: bytes, text: str | None) -> None:
    assert values.decode_text(kind, raw, "big") == text


@pytest.mark.parametrize(
    ("kind", "raw"), [("ascii", b"\x01abc"), ("ascii", b"\xb1\xb2\xb3\xb4"), ("bcd32", b"\x1a\x00\x00\x00")]
)
def test_what_is_no_text_of_its_kind_is_refused(kind, raw: bytes) -> None:
    with pytest.raises(ValueError, match="is not"):
        values.decode_text(kind, raw, "big")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("u32", "4294967296"), ("u32", "A1"), ("u32", "-1"), ("bcd32", "123456789"), ("bcd32", "12AB"), ("bcd32", "-1"),
        ("hex", "123456789"), ("hex", "xy"), ("ascii", "12345"), ("ascii", "ü"),
    ],
)  # fmt: skip
def test_a_serial_number_that_does_not_fit_is_refused(kind, text: str) -> None:
    with pytest.raises(ValueError):
        values.encode_text(kind, text, 4, "big")


# ----------------------------------------------------------------------------- clocks

CENTURY = st.datetimes(datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2099-12-31T23:59:59"))


@given(CENTURY, st.sampled_from(["ymdhms-bytes", "iec870-words"]))
def test_a_clock_survives_its_registers(moment: datetime, kind) -> None:
    moment = moment.replace(microsecond=0)
    assert values.decode_clock(kind, values.encode_clock(kind, moment)) == moment.isoformat()


@given(st.binary(min_size=8, max_size=8))
def test_any_registers_are_a_clock_or_none(raw: bytes) -> None:
    for kind, size in values.CLOCK_SIZE.items():
        text = values.decode_clock(kind, raw[:size])  # type: ignore[arg-type]
        assert text is None or datetime.fromisoformat(text).isoformat() == text


@pytest.mark.parametrize(
    ("kind", "raw", "text"),
    [
        ("ymdhms-bytes", "1a0b 0100 003b", "2026-11-01T00:00:59"),
        ("ymdhms-bytes", "0000 0000 0000", None),
        ("ymdhms-bytes", "1a02 1e00 0000", None),  # 30 February
        ("iec870-words", "001a 0b01 0000 e678", "2026-11-01T00:00:59"),
        ("iec870-words", "001a 0be1 8000 e678", "2026-11-01T00:00:59"),  # with weekday and summer time
        ("iec870-words", "001a 0b01 0080 e678", None),  # invalid
        ("iec870-words", "0000 0000 0000 0000", None),
    ],
)
def test_a_clock_is_naive_text_or_none(kind, raw: str, text: str | None) -> None:
    assert values.decode_clock(kind, bytes.fromhex(raw)) == text


def test_a_clock_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="ymdhms-bytes has 6 bytes, not 8"):
        values.decode_clock("ymdhms-bytes", bytes(8))
