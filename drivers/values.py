"""Meter bytes to values and back: integers, float32, BCD, text and clocks; word order; "not available"; whole Wh.

Everything is exact: `int` and `Decimal`, no binary float survives decoding. A value that the meter says is not
available (a marker that its profile names, or a float that is no number) decodes to None.
"""

from __future__ import annotations

import struct
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from typing import Literal

NumberType = Literal["u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64"]
TextType = Literal["ascii", "ascii-low", "hex", "u32", "u64", "bcd32"]
ClockType = Literal["ymdhms-bytes", "iec870-words"]
WordOrder = Literal["big", "little"]
Marker = Literal["ones", "max"]

SIZE: dict[str, int] = {"u16": 2, "s16": 2, "u32": 4, "s32": 4, "u64": 8, "s64": 8, "f32": 4, "f64": 8, "bcd32": 4}
CLOCK_SIZE: dict[str, int] = {"ymdhms-bytes": 6, "iec870-words": 8}

# Products are exact: the longest double has 1,074 digits behind its point and 309 before it (IEEE 754, binary64).
_EXACT = Context(prec=2000, traps=[InvalidOperation, DivisionByZero, Overflow])

# Prefix of a unit as a power of ten, and the unit in which Meterline carries it.
_PREFIX = {"": 0, "k": 3, "M": 6, "m": -3}
ENERGY_UNITS = ("Wh", "varh", "VAh")
_UNITS = (*ENERGY_UNITS, "W", "var", "VA", "V", "A", "Hz")


def base_unit(unit: str) -> tuple[str, Decimal]:
    """("kWh") -> ("Wh", 1000): the unit without its prefix, and what a value is multiplied by.

    Raises ValueError for a unit that this project does not know.
    """
    if unit == "":
        return "", Decimal(1)
    for prefix, power in _PREFIX.items():
        if unit.startswith(prefix) and unit[len(prefix) :] in _UNITS:
            return unit[len(prefix) :], Decimal(1).scaleb(power)
    raise ValueError(f"{unit!r} is not a unit known here; known are {', '.join(_UNITS)} with the prefixes k, M, m")


def _words(raw: bytes, order: WordOrder) -> bytes:
    """The same registers with the most significant one first."""
    if order == "big":
        return raw
    return b"".join(raw[i : i + 2] for i in range(len(raw) - 2, -1, -2))


def decode_number(kind: NumberType, raw: bytes, order: WordOrder, markers: tuple[Marker, ...] = ()) -> Decimal | None:
    """Decode one number from its registers as they came.

    `markers`: what this meter sends for "not available": "ones" in unsigned types (every bit set; in a signed type that
    is -1) and "max" in signed ones (7F FF ..., the largest value). Floats that are no number are never available.
    Raises ValueError when the length is wrong.
    """
    if len(raw) != SIZE[kind]:
        raise ValueError(f"{kind} has {SIZE[kind]} bytes, not {len(raw)}")
    raw = _words(raw, order)
    if kind[0] == "f":
        value = Decimal(struct.unpack(">f" if kind == "f32" else ">d", raw)[0])
        return (value or Decimal(0)) if value.is_finite() else None  # a float's minus zero is zero
    if raw == _marker(kind, markers):
        return None
    return Decimal(int.from_bytes(raw, "big", signed=kind[0] == "s"))


def _marker(kind: NumberType, markers: tuple[Marker, ...]) -> bytes | None:
    """What an integer type sends for "not available", most significant byte first."""
    if kind[0] == "u":
        return b"\xff" * SIZE[kind] if "ones" in markers else None
    return b"\x7f" + b"\xff" * (SIZE[kind] - 1) if "max" in markers else None


def not_available(kind: NumberType, order: WordOrder, markers: tuple[Marker, ...]) -> bytes:
    """What a meter sends for "not available": its marker, no number as a float, zeros where it has no marker."""
    if kind[0] == "f":
        return _words(struct.pack(">f" if kind == "f32" else ">d", float("nan")), order)
    return _words(_marker(kind, markers) or bytes(SIZE[kind]), order)


def encode_number(kind: NumberType, value: Decimal, order: WordOrder) -> bytes:
    """The meter's side of `decode_number`. Integers are cut towards zero, floats rounded to the nearest.

    Raises ValueError when the value does not fit.
    """
    try:
        if kind[0] == "f":
            raw = struct.pack(">f" if kind == "f32" else ">d", float(value))
        else:
            raw = int(value).to_bytes(SIZE[kind], "big", signed=kind[0] == "s")
    except (OverflowError, struct.error):
        raise ValueError(f"{value} does not fit into {kind}") from None
    return _words(raw, order)


def shortest(kind: NumberType, value: Decimal) -> Decimal:
    """The shortest decimal that names this value of a float type: 230.1 for 230.1000061..., others unchanged."""
    if kind[0] != "f":
        return value
    if kind == "f64":
        return Decimal(repr(float(value)))
    packed = struct.pack(">f", float(value))
    for digits in range(1, 10):  # nine significant digits name every float32 (IEEE 754, 5.12.2)
        text = f"{float(value):.{digits}g}"
        try:
            if struct.pack(">f", float(text)) == packed:
                return Decimal(text)
        except OverflowError:  # rounding up past the largest float32
            continue
    raise AssertionError(f"nine digits did not name {value}")


def si_value(kind: NumberType, value: Decimal, factor: Decimal) -> Decimal:
    """A quantity in its SI unit, exact from what the register names, and written without an exponent."""
    return Decimal(f"{_EXACT.multiply(shortest(kind, value), factor):f}")


def whole_wh(kind: NumberType, value: Decimal, factor: Decimal) -> int:
    """Energy as a whole number of Wh: `value` x `factor` (Wh per unit of the register).

    Integers: exact, digits below 1 Wh dropped (towards zero). Floats: nearest whole Wh, half to even.
    """
    exact = _EXACT.multiply(value, factor)
    if kind[0] == "f":
        return int(exact.to_integral_value(rounding=ROUND_HALF_EVEN))
    return int(exact)


def in_units(value: Decimal, factor: Decimal) -> Decimal:
    """The other way: what a register holds of a value in Wh or an SI unit, to 50 digits."""
    return Context(prec=50).divide(value, factor)


def decode_text(kind: TextType, raw: bytes, order: WordOrder) -> str | None:
    """A serial number as text: printable ASCII without padding, decimal of an integer, or the hex digits themselves.

    "ascii": two characters a register; "ascii-low": one, in its low byte, the high byte says nothing. None where
    nothing is there (blank, all zero or all ones).
    """
    if raw in (b"\xff" * len(raw), b"\x00" * len(raw)):
        return None
    if kind in ("ascii", "ascii-low"):
        raw = raw if kind == "ascii" else raw[1::2]
        text = raw.split(b"\x00", 1)[0].decode("ascii", "replace").strip()
        if not text:
            return None
        if not text.isprintable() or "\ufffd" in text:
            raise ValueError(f"{raw.hex()} is not printable text")
        return text
    raw = _words(raw, order)
    if kind in ("hex", "bcd32"):
        digits = raw.hex()
        if kind == "bcd32" and not digits.isdigit():
            raise ValueError(f"{digits} is not BCD")
        return digits
    return str(int.from_bytes(raw, "big"))


def encode_text(kind: TextType, text: str, size: int, order: WordOrder) -> bytes:
    """The meter's side of `decode_text`: `size` bytes. Raises ValueError when the text does not fit."""
    if kind in ("ascii", "ascii-low"):
        raw, room = text.encode("ascii"), size if kind == "ascii" else size // 2
        if len(raw) > room:
            raise ValueError(f"{text!r} has more than {room} characters")
        raw = raw.ljust(room, b"\x00")
        return raw if kind == "ascii" else b"".join(bytes((0, byte)) for byte in raw)
    base = 16 if kind == "hex" else 10
    try:
        number = int(text, base) if kind != "bcd32" else int(str(int(text)), 16)
        return _words(number.to_bytes(size, "big"), order)
    except (ValueError, OverflowError):
        raise ValueError(f"serial number {text!r} does not fit into {size} bytes of type {kind}") from None


def decode_clock(kind: ClockType, raw: bytes) -> str | None:
    """The meter's own clock as naive text `YYYY-MM-DDTHH:MM:SS`; None when it is no date.

    "ymdhms-bytes": year of the century, month, day, hour, minute, second, a byte each, binary. "iec870-words": four
    registers: year (7 bits), month and day, hour and minute, milliseconds (IEC 60870-5-4 as Schneider uses it).
    """
    if len(raw) != CLOCK_SIZE[kind]:
        raise ValueError(f"{kind} has {CLOCK_SIZE[kind]} bytes, not {len(raw)}")
    if kind == "ymdhms-bytes":
        year, month, day, hour, minute, second = raw
    elif raw[5] & 0x80:  # bit IV: the time is invalid
        return None
    else:
        year, month, day = raw[1] & 0x7F, raw[2] & 0x0F, raw[3] & 0x1F
        hour, minute, second = raw[4] & 0x1F, raw[5] & 0x3F, int.from_bytes(raw[6:8], "big") // 1000
    try:
        return datetime(2000 + year, month, day, hour, minute, second).isoformat()  # noqa: DTZ001 - the meter's own, naive
    except ValueError:
        return None


def encode_clock(kind: ClockType, moment: datetime) -> bytes:
    """The meter's side of `decode_clock`; `moment` is naive, 2000-2099."""
    parts = (moment.year - 2000, moment.month, moment.day, moment.hour, moment.minute)
    if kind == "ymdhms-bytes":
        return bytes((*parts, moment.second))
    year, month, day, hour, minute = parts
    return bytes((0, year, month, day, hour, minute)) + (moment.second * 1000).to_bytes(2, "big")


def kilo(wh: int) -> str:
    """Whole Wh as kWh with three decimals, exactly: 20044630 -> "20044.630"."""
    sign = "-" if wh < 0 else ""
    return f"{sign}{abs(wh) // 1000}.{abs(wh) % 1000:03d}"
