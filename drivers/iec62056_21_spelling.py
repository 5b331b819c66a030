"""How meters spell codes, numbers, units, dates and times in data sets, and what each spelling means.

Nothing is guessed: a text that is none of the spellings here is no value. Numbers stay decimal, digit by digit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from functools import lru_cache
from typing import Literal

# ----------------------------------------------------------------------------- codes

CURRENT = ""  # history index of the values of now
ABSTRACT, ELECTRICITY = 0, 1  # value group A (IEC 62056-6-1); others are gas, heat, water
LETTERS = {"C": 96, "F": 97, "L": 98, "P": 99}  # value group C by letters (IEC 62056-6-1, reduced ID codes)


@dataclass(frozen=True, slots=True)
class Code:
    """An OBIS code as a meter spells it, in one form: C.D.E by numbers, and the history index as it is spelled.

    `history` is "" for the value of now, else the separator and its digits: "*01" a closing by the clock, "&01" one by
    hand (IEC 62056-21 EDIS). Which closing an index means is the meter's, so it stays text.
    """

    c: int
    d: int
    e: int
    history: str = CURRENT
    medium: int | None = None
    channel: int | None = None

    @property
    def cde(self) -> str:
        return f"{self.c}.{self.d}.{self.e}"

    @property
    def of_electricity(self) -> bool:
        """Whether it can be this meter's own: electricity on no channel, 0 or 1; abstract on none or 0.

        Other media and channels are meters behind this one: gas and water on a DSMR meter's M-Bus (0-1:96.1.0 is the
        gas meter's number), inputs for pulses.
        """
        if self.medium == ABSTRACT:
            return self.channel == 0
        return self.medium in (None, ELECTRICITY) and self.channel in (None, 0, 1)


_CODE = re.compile(
    r"(?:(?P<a>[0-9]{1,3})-(?P<b>[0-9]{1,3}):)?"
    r"(?P<c>[0-9]{1,3}|[CFLP])\.(?P<d>[0-9]{1,3}|F)(?:\.(?P<e>[0-9]{1,3}))?"
    r"(?:(?P<mark>[*&])(?P<f>[0-9]{1,3})|\.255)?"
)
_POINTS = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.(?=(?:[0-9]{1,3}\.){3}[0-9]{1,3}$)")  # 1.0.1.8.0.255


@lru_cache(maxsize=4096)
def code(ident: str) -> Code | None:
    """`1-0:1.8.1*255`, `1.8.1`, `1.8` (1.8.0), `1.8.1*01`, `1.8.1&01`, `C.1.0`, `1.0.1.8.1.255`; None for other texts.

    A history index of 255 is the value of now (IEC 62056-6-1, value group F).
    """
    found = _CODE.fullmatch(_POINTS.sub(r"\1-\2:", ident.replace(" ", "")))
    if found is None or (found["d"] == "F" and found["c"] != "F"):
        return None
    a, b, c, d, e, f = (
        None if (text := found[name]) is None else LETTERS.get(text) or int(text)
        for name in ("a", "b", "c", "d", "e", "f")
    )
    if c is None or d is None or max(a or 0, b or 0, c, d, e or 0, f or 0) > 255:
        return None
    e = 0 if e == 255 else e  # 255: not told apart (Easymeter's 1-0:1.7.255*255)
    history = CURRENT if f in (None, 255) else f"{found['mark']}{found['f']}"
    return Code(c, d, e or 0, history, a, b)


# ----------------------------------------------------------------------------- numbers and units

_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(?:[.,][0-9]{1,12})?")
_EXACT = Context(prec=60)  # 20 digits before the point and 12 behind it, times at most 10^9: nothing is rounded

_TIGHT = re.compile(r"([+-]?[0-9]+(?:[.,][0-9]+)?)([A-Za-z]{1,5})")

# A value that the meter says it does not have: nothing, blanks, or fillers.
_NONE = re.compile(r"[-?*_ .,]*")


def number(text: str) -> Decimal | None:
    """`000123.450`, ` 000001,5`: point or comma, blanks around it, a sign; None for any other text."""
    text = text.strip(" ")
    return Decimal(text.replace(",", ".")) if _NUMBER.fullmatch(text) else None


def is_nothing(text: str) -> bool:
    """Whether the meter says that it has no value here: `()`, `(   )`, `(????)`, `(----)`."""
    return _NONE.fullmatch(text) is not None


def split_unit(text: str) -> tuple[str, str]:
    """`000123.4*kWh` -> ("000123.4", "kWh"); also with a blank for the star, or nothing; ("...", "") without a unit."""
    value, star, unit = text.partition("*")
    if star:
        return value, unit.strip()
    if (tight := _TIGHT.fullmatch(text.strip(" "))) and unit_of(tight[2]) is not None:
        return tight[1], tight[2]
    value, _, unit = text.strip(" ").rpartition(" ")
    return (value, unit) if value and number(value) is not None and number(unit) is None else (text, "")


_UNITS = {unit.lower(): unit for unit in ("Wh", "varh", "VAh", "W", "var", "VA", "V", "A", "Hz")}
_POWERS = {"": 0, "k": 3, "K": 3, "M": 6, "G": 9}


@lru_cache(maxsize=256)
def unit_of(text: str) -> tuple[str, Decimal] | None:
    """The unit without prefix, and the factor to it: `kWh`, `KWH`, `kW.h`, `kVArh`, `Mvarh`, `mA`; None for others.

    Capitals are no reason to refuse, but for the prefix: M is mega and m is milli, which only V and A have.
    """
    plain = re.sub(r"[ .*]", "", text)
    for length in (0, 1):
        prefix, unit = plain[:length], _UNITS.get(plain[length:].lower())
        if unit is not None and prefix in _POWERS:
            return unit, Decimal(1).scaleb(_POWERS[prefix])
        if unit in ("V", "A") and prefix == "m":
            return unit, Decimal(1).scaleb(-3)
    return None


def whole_wh(value: Decimal, factor: Decimal) -> int:
    """Energy in whole Wh (varh, VAh): what is below one is cut off, towards zero."""
    return int(_EXACT.multiply(value, factor))


def si_value(value: Decimal, factor: Decimal) -> Decimal:
    """A quantity in its SI unit, with the digits that came and no exponent."""
    return Decimal(f"{_EXACT.multiply(value, factor):f}") if factor != 1 else value


# ----------------------------------------------------------------------------- dates and times

Order = Literal["ymd", "dmy"]

_DIGITS = re.compile(r"[0-9]+")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_DATE = re.compile(r"(?:[0-9]{1,2}[.])?([0-9]{2,4})[-./]([0-9]{2})[-./]([0-9]{2,4})")
_SEASON = re.compile(r"[0-9]{12}[WS]")  # DSMR: behind the digits, W winter, S summer


def _numbers(digits: str, count: int) -> list[int] | None:
    """`count` numbers of two digits; one digit more in front tells summer from winter time and is taken off."""
    if _SEASON.fullmatch(digits) and count == 6:
        digits = digits[:-1]
    if not _DIGITS.fullmatch(digits):
        return None
    if len(digits) == 2 * count + 1 and digits[0] in "0123":  # 0 normal, 1 summer, 2 UTC (VDEW 2.0); 3 in some
        digits = digits[1:]
    if len(digits) != 2 * count:
        return None
    return [int(digits[at : at + 2]) for at in range(0, len(digits), 2)]


def time_of(text: str) -> tuple[int, int, int] | None:
    """`132228`, `0155843`, `23:16:43`, `18:45`."""
    text = text.strip()
    if found := _TIME.fullmatch(text):
        return int(found[1]), int(found[2]), int(found[3] or 0)
    parts = _numbers(text, 3) or ([*two, 0] if (two := _numbers(text, 2)) else None)
    return None if parts is None else (parts[0], parts[1], parts[2])


def date_of(text: str, order: Order = "ymd") -> tuple[int, int, int] | None:
    """`121221`, `1120609`, `21-01-04`, `2021-01-04`; by days first (`dmy`) `04.01.21`, `03.13.07.24`, `04-01-2021`.

    Year, month, day. Numbers with points are days first in every meter known and no date where the profile says else.
    """
    text = text.strip()
    if found := _DATE.fullmatch(text):
        parts = [int(part) for part in found.groups()]
        if order == "ymd" and "." in text:
            return None
        lengths = [len(part) for part in found.groups()]
        if lengths[1] != 2 or lengths[0 if order == "dmy" else 2] != 2:
            return None
    elif (plain := _numbers(text, 3)) is not None:
        parts = plain
    else:
        return None
    year, month, day = parts if order == "ymd" else parts[::-1]
    return (year if year > 99 else 2000 + year), month, day


def clock(date: str, time: str, order: Order = "ymd") -> str | None:
    """The meter's own naive text `YYYY-MM-DDTHH:MM:SS`; None where date or time is none."""
    days, hours = date_of(date, order), time_of(time)
    return None if days is None or hours is None else _moment(days, hours)


def moment(text: str, order: Order = "ymd") -> str | None:
    """Date and time in one: `120216091536` with or without season, `16-03-14,18:45`, `210301000000W`."""
    text = text.strip()
    for separator in (",", " ", ";", "T"):
        date, found, time = text.partition(separator)
        if found:
            return clock(date, time, order)
    parts = _numbers(text, 6)
    if parts is None and (short := _numbers(text, 5)) is not None:
        parts = [*short, 0]
    if parts is None:
        return None
    if order == "dmy":
        parts[:3] = parts[2::-1]
    year, month, day, hour, minute, second = parts
    return _moment((2000 + year, month, day), (hour, minute, second))


def _moment(date: tuple[int, int, int], time: tuple[int, int, int]) -> str | None:
    try:
        return datetime(*date, *time).isoformat()  # noqa: DTZ001 - the meter's own, naive
    except ValueError:
        return None
