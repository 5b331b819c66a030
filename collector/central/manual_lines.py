"""Readings in files: one-line messages, and the lists that elders of houses keep; what is refused is said by line.

A message is what the utility itself takes, or `account*reading*reading` or `account reading reading` in the order of
the receipt (`manual_dialects`). A list is CSV with a header: account, t1 and, as wanted, flat, meter, t2, t3, t4,
total. One account's readings stand on one line. An account may itself hold asterisks, semicolons and blanks: it is
found among those that are known, never by cutting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

from collector.central import manual_dialects
from collector.central.manual_desk import Desk, Refused, Taken
from collector.central.manual_dialects import Said
from collector.central.sent_lines import cells_of, lines_of, text_of
from drivers.strict_yaml import ConfigError

COLUMNS = ("account", "flat", "meter", "t1", "t2", "t3", "t4", "total")
_TARIFFS = ("t1", "t2", "t3", "t4")


class Line(NamedTuple):
    """What became of one line. `text`: for accepted ones what to look at, for refused ones the reason."""

    line: int
    account: str
    verdict: Literal["accepted", "duplicate", "refused"]
    text: str
    taken: Taken | None


def read(data: bytes, name: str, desk: Desk) -> list[Line]:
    """What each line of a file gives. Nothing is entered yet. Raises ConfigError for what is no text file at all."""
    raw = lines_of(data, name)
    header = _header(raw[0])
    said: list[tuple[int, Said | Refused]] = []
    for number, bare in enumerate(raw, 1):
        if (number == 1 and header) or not bare.strip():
            continue
        try:
            text = text_of(bare)
            told = _row(text, *header) if header else manual_dialects.read(text, desk.utility, desk.accounts)
            said.append((number, told))
        except Refused as refused:
            said.append((number, refused))
    return list(_settled(said, name, desk))


def _settled(said: list[tuple[int, Said | Refused]], name: str, desk: Desk) -> Iterator[Line]:
    """Every line with its verdict: of two about the same meter the first counts, or none where they differ."""
    told = {number: _told(item, desk) for number, item in said if isinstance(item, Said)}
    first: dict[str, dict[_Told, int]] = {}  # point -> what is told of it -> the first line that says so
    for number, points in told.items():
        for point, what in points.items():
            first.setdefault(point, {}).setdefault(what, number)
    for number, item in said:
        if isinstance(item, Refused):
            yield Line(number, "", "refused", str(item), None)
            continue
        mine = told[number]
        others = [
            next(at for other, at in first[point].items() if other != what)
            for point, what in mine.items()
            if len(first[point]) > 1
        ]
        before = [first[point][what] for point, what in mine.items()]
        if others:
            text = f"line {min(others)} tells other readings of the same account: neither is taken"
            yield Line(number, item.account, "refused", text, None)
        elif before and max(before) < number:
            yield Line(number, item.account, "duplicate", f"the same as line {before[0]}", None)
        else:
            yield _line(number, item, name, desk)


_Told = tuple[object, ...]


def _told(said: Said, desk: Desk) -> dict[str, _Told]:
    """point -> what a line tells of it, however it calls the meter; empty where it is nobody's."""
    try:
        places = desk.places(said.account, said.meter)
    except Refused:
        return {}
    if len(places) != len(said.values):  # who knows what is meant: it is another reading than any other
        return {place.point.point: said.values for place in places}
    found: dict[str, _Told] = {}
    for place, text in sorted(zip(places, said.values, strict=True), key=lambda pair: pair[0].code):
        found[place.point.point] = (*found.get(place.point.point, ()), (place.code, text))
    return found


def _line(number: int, said: Said, name: str, desk: Desk) -> Line:
    source = f"{name}:{number}"
    try:
        if said.meter is None:
            taken = desk.take(said.account, said.values, source, "")
        else:
            taken = desk.take_of_meter(said.account, said.meter, said.values, source)
    except Refused as refused:
        return Line(number, said.account, "refused", str(refused), None)
    if not taken.readings:
        return Line(number, said.account, "duplicate", "entered before", None)
    return Line(number, said.account, "accepted", "; ".join(taken.notices), taken)


# ----------------------------------------------------------------------------- lists


def _header(bare: bytes) -> tuple[list[str], str] | None:
    """The columns of a list and what separates them; None for a file of messages."""
    try:
        text = bare.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        return None
    delimiter = ";" if text.count(";") > text.count(",") else ","
    try:
        columns = [column.strip().lower() for column in cells_of(text, delimiter)]
    except Refused:
        return None
    if "account" not in columns:
        return None
    odd = [column for column in columns if column not in COLUMNS]
    if odd or len(set(columns)) < len(columns) or "t1" not in columns:
        raise ConfigError(
            [
                f"line 1: the columns of a list are {', '.join(COLUMNS)}, each once; account and t1 must be there "
                f"(odd: {odd})"
            ]
        )
    return columns, delimiter


def _row(text: str, columns: list[str], delimiter: str) -> Said:
    row = dict(zip(columns, cells_of(text, delimiter, len(columns)), strict=True))
    values = [row.get(column, "") for column in _TARIFFS]
    while values and not values[-1]:
        values.pop()
    _check_total(row, values)
    if not row["account"]:
        raise Refused("no account")
    return Said(row["account"], row.get("meter", ""), tuple(values))


def _check_total(row: Mapping[str, str], values: list[str]) -> None:
    """A total is not billed; where it stands, it has to be the sum."""
    total = row.get("total", "")
    if not total:
        return
    if not all(re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,3})?", number) for number in (*values, total)):
        raise Refused(f"total: {total!r} and the readings have to be kWh in digits")
    if (added := sum(map(Decimal, values))) != Decimal(total):
        raise Refused(f"total: {total}, but {' + '.join(values)} is {added}")
