"""What may be asked of Mercury meters, and how long the answer is: one table a family. Nothing in it writes.

A request is spelled as the hex of its code and parameters ("05 00 01"). Requests for what a meter kept of a month have
places for it: `m` the month 1-C, `z` the month counted from 0 (0-B), `MM` and `YY` month and year in BCD. The month is
the one that began with the closing: what is on the dial at its beginning is what the month before it ended with.

Sources (see `mercury_bytes`): INC20 2.5.3, 2.5.17, 2.6; M206 tables 2 and 4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal

from drivers.dialogue import character_seconds

Family = Literal["230", "200"]

SPELLING = r"[0-9A-F]{2}( ([0-9A-F][0-9A-Fmz]|MM|YY)){0,5}"


@dataclass(frozen=True, slots=True)
class Readable:
    """A kind of request: which spellings it has, bytes of data in its answer, whether it needs an open channel."""

    pattern: str
    size: int
    session: bool
    what: str


READABLE: dict[Family, tuple[Readable, ...]] = {
    "230": (
        Readable("08 00", 7, False, "serial number and date of make"),
        Readable("04 00", 8, True, "clock"),
        Readable("05 [0-59ACD]0 0[0-4]", 16, True, "energy: since reset, of or at the beginning of a period"),
        Readable("05 [3B][1-9ABCm] 0[0-4]", 16, True, "energy of a month, at the beginning of a month"),
        Readable("05 60 0[0-4]", 12, True, "energy by phase"),
        Readable("18 0[01] [0-3][0-9] ([01][0-9]|MM) ([0-9]{2}|YY) 0[0-4]", 16, True, "energy at a date's beginning"),
        Readable("08 11 ([0-5][0-9A-F]|8[123])", 3, True, "one present value"),
        Readable("08 16 0[0-9A-F]", 12, True, "present power: sum and phases"),
        Readable("08 16 [125][0-3]", 9, True, "present voltages, currents, angles of the phases"),
        Readable("08 16 3[0-3]", 12, True, "present power factors: sum and phases"),
        Readable("08 16 40", 3, True, "present frequency"),
    ),
    "200": (
        Readable("21", 7, False, "clock"),
        Readable("26", 2, False, "power"),
        Readable("27", 16, False, "energy by tariff"),
        Readable("29", 2, False, "voltage of the battery"),
        Readable("2F", 4, False, "serial number"),
        Readable("32 0[0-9ABz]", 16, False, "energy by tariff, monthly"),
        Readable("63", 7, False, "voltage, current, power"),
        Readable("81", 10, False, "frequency"),
    ),
}  # fmt: skip


@lru_cache(maxsize=1024)
def readable(family: Family, request: str) -> Readable | None:
    """The kind of a request as it is spelled; None where nobody may ask that."""
    return next((kind for kind in READABLE[family] if re.fullmatch(kind.pattern, request)), None)


def is_dated(request: str) -> bool:
    """Whether a month must be known before it can be asked."""
    return bool(re.search("[mzMY]", request))


def body(request: str, month: datetime | None = None) -> bytes:
    """Code and parameters as bytes. `month`: the first day of the month that is asked for, where it is dated.

    Raises ValueError for a dated request without a month.
    """
    if not is_dated(request):
        return bytes.fromhex(request)
    if month is None:
        raise ValueError(f"{request} asks for a month")
    text = request.replace("MM", f"{month.month:02d}").replace("YY", f"{month.year % 100:02d}")
    return bytes.fromhex(text.replace("m", f"{month.month:X}").replace("z", f"{month.month - 1:X}"))


def asks(request: str, sent: bytes) -> bool:
    """Whether the bytes sent are that request, of whatever month."""
    pattern = re.escape(request).replace("MM", "[01][0-9]").replace("YY", "[0-9]{2}")
    return bool(re.fullmatch(pattern.replace("m", "[1-9A-C]").replace("z", "[0-9AB]"), sent.hex(" ").upper()))


# ----------------------------------------------------------------------------- the silence that ends a frame

# Milliseconds after which a meter takes a frame for ended, by speed (INC20 table 1.1).
_ENDS = {300: 160, 600: 80, 1200: 40, 2400: 20, 4800: 10, 9600: 5, 19200: 3}
_ENDS_FASTER = 2
_ENDS_CHARACTERS = 6  # M206: "5 to 6 bytes"
_CLOCKS = 1.1  # by how much a meter's timer may be slower than ours, which no document says


def silence(family: Family, baudrate: int, framing: str) -> float:
    """Seconds of silence before a request, so that all meters have ended the frame before it.

    A meter that has not takes the request for the rest of its neighbour's answer, and stays silent.
    """
    if family == "200":
        return _CLOCKS * _ENDS_CHARACTERS * character_seconds(baudrate, framing)
    return _CLOCKS * _ENDS.get(baudrate, _ENDS_FASTER) / 1000
