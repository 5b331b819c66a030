"""Values of Mercury meters as bytes: byte orders, direction bits, BCD, "not supported" masks, clocks, serial digits.

Rule 1. A value whose bytes are all ones does not exist in this meter (INC20 2.5.17: such values are masked). That is
        looked at before any bit is taken off: an FF FF FF cut to its 22 bits reads 41943.03, a number like others.
Rule 2. BCD is strict: a nibble above 9 is damage. A date that no calendar has (an unset clock) is no clock.
Rule 3. Everything is exact: int and Decimal. Law: `decode(kind, encode(kind, value)) == value`.

Sources: INC20 is Incotex, "System of commands" of the Mercury 203.2TD, 204, 208, 230, 231, 234, 236, 238, version
12.2020; M206 is Incotex, "System of commands of the M206 meters" (200, 201, 203, 206).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, get_args

NumberType = Literal["dword", "active", "reactive", "plain", "bcd2", "bcd3", "bcd4"]
SerialType = Literal["digits", "binary"]
ClockType = Literal["seconds-first", "weekday-first"]

DIRECTION = {"active": 0x80, "reactive": 0x40}  # bits of the first of three bytes: reverse (INC20 figure 2.51)
MAGNITUDE = 0x3F  # what of that byte belongs to the number


class WrongBytes(ValueError):
    """Bytes that no meter sends where this kind of value is: damage that a check did not show, or another meter."""


@dataclass(frozen=True, slots=True)
class Number:
    """How many bytes a kind of number has, and how it is taken from them and put into them."""

    size: int
    decode: Callable[[bytes], int]
    encode: Callable[[int], bytes]


def _ordered(order: tuple[int, ...]) -> Number:
    """An unsigned integer; `order` says which byte of the wire comes first, second ... of the big-endian number."""

    def decode(raw: bytes) -> int:
        return int.from_bytes(bytes(raw[place] for place in order), "big")

    def encode(value: int) -> bytes:
        big = value.to_bytes(len(order), "big")
        return bytes(big[order.index(place)] for place in range(len(order)))

    return Number(len(order), decode, encode)


# The third, and the second, most significant byte last on the wire (INC20 figures 2.40, 2.51).
_DWORD = _ordered((1, 0, 3, 2))
_TRIPLE = _ordered((0, 2, 1))


def _directed(bit: int) -> Number:
    """Three bytes with direction bits in the first one; `bit` (0: none) makes the value negative."""

    def decode(raw: bytes) -> int:
        magnitude = _TRIPLE.decode(bytes((raw[0] & MAGNITUDE,)) + raw[1:])
        return -magnitude if raw[0] & bit else magnitude

    def encode(value: int) -> bytes:
        if abs(value) >> 22 or (value < 0 and not bit):
            raise OverflowError
        raw = _TRIPLE.encode(abs(value))
        return bytes((raw[0] | (bit if value < 0 else 0),)) + raw[1:]

    return Number(3, decode, encode)


def _packed(size: int) -> Number:
    """Two decimal digits a byte, the most significant first."""

    def encode(value: int) -> bytes:
        digits = f"{value:0{2 * size}d}"
        if value < 0 or len(digits) > 2 * size:
            raise OverflowError
        return bytes.fromhex(digits)

    return Number(size, _bcd, encode)


def _bcd(raw: bytes) -> int:
    digits = raw.hex()
    if not digits.isdecimal():
        raise WrongBytes(f"{raw.hex(' ')} is not BCD")
    return int(digits)


NUMBERS: dict[str, Number] = {
    "dword": _DWORD,
    "active": _directed(DIRECTION["active"]),
    "reactive": _directed(DIRECTION["reactive"]),
    "plain": _directed(0),
    "bcd2": _packed(2),
    "bcd3": _packed(3),
    "bcd4": _packed(4),
}
assert set(NUMBERS) == set(get_args(NumberType))

SIZE: dict[str, int] = {kind: number.size for kind, number in NUMBERS.items()}
SIZE |= {"digits": 4, "binary": 4, "seconds-first": 8, "weekday-first": 7}


def decode_number(kind: NumberType, raw: bytes) -> int | None:
    """One number as it came; None where the meter does not have it (rule 1). Raises WrongBytes."""
    if len(raw) != SIZE[kind]:
        raise WrongBytes(f"{kind} has {SIZE[kind]} bytes, not {len(raw)}")
    return None if raw == b"\xff" * len(raw) else NUMBERS[kind].decode(raw)


def encode_number(kind: NumberType, value: Decimal | int | None) -> bytes:
    """The meter's side of `decode_number`; digits behind the last one it shows are cut. Raises ValueError."""
    if value is None:
        return b"\xff" * SIZE[kind]
    try:
        return NUMBERS[kind].encode(int(value))
    except OverflowError:
        raise ValueError(f"{value} does not fit into {kind}") from None


def decode_serial(kind: SerialType, raw: bytes) -> str | None:
    """A serial number; None where nothing is there. Raises WrongBytes.

    "digits": two decimal digits in each binary byte, 04 2F 0D 3B is 04471359 (INC20 2.6.2). "binary": one number.
    """
    if raw == b"\xff" * len(raw) or not any(raw):
        return None
    if kind == "binary":
        return str(int.from_bytes(raw, "big"))
    if max(raw) > 99:
        raise WrongBytes(f"{raw.hex(' ')} is no serial number: a byte of it has two decimal digits")
    return "".join(f"{byte:02d}" for byte in raw)


def encode_serial(kind: SerialType, text: str) -> bytes:
    """The meter's side of `decode_serial`. Raises ValueError when the text does not fit."""
    digits = text.zfill(8)
    if digits.isdecimal() and kind == "digits" and len(digits) == 8:
        return bytes(int(digits[at : at + 2]) for at in range(0, 8, 2))
    if digits.isdecimal() and kind == "binary" and int(digits) >> 32 == 0:
        return int(digits).to_bytes(4, "big")
    raise ValueError(f"serial number {text!r} does not fit into four bytes ({kind})")


def decode_clock(kind: ClockType, raw: bytes) -> str | None:
    """The meter's clock as naive text `YYYY-MM-DDTHH:MM:SS`; None where it is unset. Raises WrongBytes.

    "seconds-first": second, minute, hour, weekday, day, month, year, winter (INC20 2.5.3). "weekday-first": weekday,
    hour, minute, second, day, month, year (M206 table 4). All BCD; weekday and winter are not looked at: documents and
    meters count weekdays differently.
    """
    if len(raw) != SIZE[kind]:
        raise WrongBytes(f"a clock ({kind}) has {SIZE[kind]} bytes, not {len(raw)}")
    if raw == b"\xff" * len(raw):
        return None
    parts = [_bcd(raw[at : at + 1]) for at in range(7)]
    if kind == "seconds-first":
        second, minute, hour, _, day, month, year = parts
    else:
        _, hour, minute, second, day, month, year = parts
    try:
        return datetime(2000 + year, month, day, hour, minute, second).isoformat()  # noqa: DTZ001 - the meter's, naive
    except ValueError:
        return None


def encode_clock(kind: ClockType, moment: datetime) -> bytes:
    """The meter's side of `decode_clock`; `moment` is naive, 2000-2099. Sunday is 7, or 0 where weekdays come first."""
    date = (moment.day, moment.month, moment.year - 2000)
    if kind == "seconds-first":
        winter = 1  # a simulated meter keeps one time all the year
        parts = [moment.second, moment.minute, moment.hour, moment.isoweekday(), *date, winter]
    else:
        parts = [moment.isoweekday() % 7, moment.hour, moment.minute, moment.second, *date]
    return bytes.fromhex("".join(f"{part:02d}" for part in parts))
