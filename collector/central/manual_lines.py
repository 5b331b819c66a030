"""Readings in files: one-line messages, and the lists that elders of houses keep; what is refused is said by line.

A message is what the utility itself takes, or `account*reading*reading` or `account reading reading` in the order of
the receipt (`manual_dialects`). A list is CSV with a header: account, t1 and, as wanted, flat, meter, t2, t3, t4,
total. One account's readings stand on one line. An account may itself hold asterisks, semicolons and blanks: it is
found among those that are known, never by cutting.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from collector.central import manual_dialects
from collector.central.manual_desk import Desk, Refused, Taken
from collector.central.manual_dialects import Said
from collector.central.spreadsheet import unguarded
from drivers.strict_yaml import ConfigError

COLUMNS = ("account", "flat", "meter", "t1", "t2", "t3", "t4", "total")
_TARIFFS = ("t1", "t2", "t3", "t4")
LONGEST = 1000  # characters of a line: an account of 64, an address, a dozen readings; more is no message
MOST_BYTES = 64 << 20  # a line for each of a million accounts


class Line(NamedTuple):
    """What became of one line. `text`: for accepted ones what to look at, for refused ones the reason."""

    line: int
    account: str
    verdict: Literal["accepted", "duplicate", "refused"]
    text: str
    taken: Taken | None


def read(data: bytes, name: str, desk: Desk) -> list[Line]:
    """What each line of a file gives. Nothing is entered yet. Raises ConfigError for what is no text file at all."""
    if len(data) > MOST_BYTES:
        raise ConfigError([f"{name}: {len(data)} bytes; at most {MOST_BYTES}; cut it into several"])
    raw = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    header = _header(raw[0])
    said: list[tuple[int, Said | Refused]] = []
    for number, bare in enumerate(raw, 1):
        if (number == 1 and header) or not bare.strip():
            continue
        try:
            text = line_text(bare)
            told = _row(text, *header) if header else manual_dialects.read(text, desk.utility, desk.accounts)
            said.append((number, told))
        except Refused as refused:
            said.append((number, refused))
    return list(_settled(said, name, desk))


def _settled(said: list[tuple[int, Said | Refused]], name: str, desk: Desk) -> Iterator[Line]:
    """Every line with its verdict: of two about the same meter the first counts, or none where they differ."""
    lines: dict[tuple[str, str | None], list[tuple[int, tuple[str, ...]]]] = {}
    for number, item in said:
        if isinstance(item, Said):
            lines.setdefault((item.account, item.meter), []).append((number, item.values))
    for number, item in said:
        if isinstance(item, Refused):
            yield Line(number, "", "refused", str(item), None)
            continue
        same = lines[item.account, item.meter]
        if others := [at for at, values in same if values != item.values]:
            text = f"line {others[0]} tells other readings of the same account: neither is taken"
            yield Line(number, item.account, "refused", text, None)
        elif number != same[0][0]:
            yield Line(number, item.account, "duplicate", f"the same as line {same[0][0]}", None)
        else:
            yield _line(number, item, name, desk)


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


def line_text(bare: bytes) -> str:
    """A line of a file that somebody sent. Raises Refused for what is no line of text."""
    try:
        text = bare.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"byte {error.start + 1} of the line is 0x{bare[error.start]:02x}, which is not UTF-8") from None
    if len(text) > LONGEST:
        raise Refused(f"{len(text)} characters; a line has at most {LONGEST}")
    if not text.replace("\t", "").isprintable():
        raise Refused("the line holds characters that cannot be printed")
    return text


# ----------------------------------------------------------------------------- lists


def _header(bare: bytes) -> tuple[list[str], str] | None:
    """The columns of a list and what separates them; None for a file of messages."""
    try:
        text = bare.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        return None
    delimiter = ";" if text.count(";") > text.count(",") else ","
    columns = [column.strip().lower() for column in text.split(delimiter)]
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
    try:
        (cells,) = csv.reader([text], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError) as error:
        raise Refused(f"not CSV: {error}; put quotes around a text with {delimiter} or quotes") from None
    if len(cells) != len(columns):
        raise Refused(f"{len(cells)} columns instead of {len(columns)}")
    row = {column: unguarded(cell.strip()) for column, cell in zip(columns, cells, strict=True)}
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
    numbers = [*values, total]
    if not all(re.fullmatch(r"[0-9]{1,12}", number) for number in numbers):
        raise Refused(f"total: {total!r} and the readings have to be whole kWh")
    if sum(map(int, values)) != int(total):
        raise Refused(f"total: {total}, but {' + '.join(values)} is {sum(map(int, values))}")
