"""Data sets of a readout or an answer: `ident(value*unit)`, several brackets to an ident, idents left out.

The grammar of IEC 62056-21 (data block, data line, data set), and what meters make of it: several sets on one line,
brackets that stand on lines of their own behind their ident, LF or CR alone as line end, blank lines, the last set
followed by "!" at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.dialogue import DamagedFrame


@dataclass(frozen=True, slots=True)
class DataSet:
    """`ident` as it came without blanks around it, and the text of each bracket, blanks and all."""

    ident: str
    groups: tuple[str, ...]

    def __str__(self) -> str:
        return self.ident + "".join(f"({group})" for group in self.groups)


_BRACKET = re.compile(r"([^()\r\n]*)\(([^()]*)\)")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\r\n]")


def parse(body: bytes, *, proven: bool) -> tuple[DataSet, ...]:
    """The data sets of a block's body, without the "!" at its end.

    `proven`: a check character fitted, so a line without brackets is a meter's odd habit and is passed over; without
    one it is damage. Brackets that do not match and characters that no data set can have are always damage. Raises
    DamagedFrame.
    """
    text = body.decode("ascii")
    if bad := _UNPRINTABLE.search(text):
        raise DamagedFrame(f"a data set with the character {ord(bad[0]):02x}: {_around(text, bad.start())}", whole=True)
    found: list[tuple[str, list[str]]] = []
    at = 0
    for bracket in _BRACKET.finditer(text):
        _between(text, at, bracket.start(), proven)
        at = bracket.end()
        ident = bracket[1].strip()
        if ident or not found:
            found.append((ident, []))
        found[-1][1].append(bracket[2])
    rest = text[at:].strip()
    _between(text, at, len(text), proven or rest == "!")
    return tuple(DataSet(ident, tuple(groups)) for ident, groups in found)


def _between(text: str, start: int, end: int, proven: bool) -> None:
    """What stands between two data sets: line ends, or (proven) lines without brackets."""
    between = text[start:end]
    if between.isspace() or not between:
        return
    if not proven or "(" in between or ")" in between:
        raise DamagedFrame(f"no data set like 1.8.0(000123.4*kWh): {_around(text, start)}", whole=True)


def _around(text: str, at: int) -> str:
    return repr(text[max(0, at - 16) : at + 32])


def to_body(sets: tuple[DataSet, ...] | list[DataSet]) -> bytes:
    """A line a data set. Law: `parse(to_body(sets)) == sets`, where each has an ident and a bracket."""
    return b"".join(str(one).encode("ascii") + b"\r\n" for one in sets)


def values(group: str) -> Iterator[str]:
    """The values of a bracket that lists several: `(000046.24,000031.14)`."""
    return iter(group.split(","))
