"""The list of a building by entrance and flat, for its elder: account, meter, registers, totals, and no names.

A building is what stands as `address` in the registry; the entrance is found in it by the pattern of the profile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Annotated, BinaryIO, Literal, NamedTuple

from collector.central.submissions.rows import Head, Remark, Row, by_point, number, unready
from collector.central.submissions.table_file import Table, TableSection
from collector.config_fields import from_text

ENTRANCE = r"(?i)[,;]?\s*(?:подъезд|под\.|entrance)\s*№?\s*(?P<entrance>[0-9]+)"
CODES = ("1.8.0", "1.8.1", "1.8.2", "1.8.3", "1.8.4")  # what can be billed


def _pattern(text: str) -> str:
    try:
        found = re.compile(text)
    except re.error as error:
        raise ValueError(f"a regular expression is wanted: {error}") from None
    if "entrance" not in found.groupindex:
        raise ValueError("the pattern needs a group called entrance: (?P<entrance>[0-9]+)")
    return text


class Output(TableSection):
    """`entrance`: a pattern that finds the entrance in an address and is taken off it."""

    format: Literal["building"]
    entrance: Annotated[str, from_text(_pattern)] = ENTRANCE


class Line(NamedTuple):
    """A meter of a flat. `values`: what stands in the columns of `CODES`."""

    building: str
    entrance: str
    flat: str
    account: str
    order: int
    point: str
    serial_number: str
    values: tuple[Decimal | None, ...]
    status: str


def write(output: Output, head: Head, file: BinaryIO) -> BuildingList:
    """The table: a row for each meter, one with the totals after each building."""
    return BuildingList(output, head, file)


class BuildingList:
    """See `Writer`. It holds all lines until the end: they are sorted by where people live, not by account."""

    def __init__(self, output: Output, head: Head, file: BinaryIO) -> None:
        self._output = output
        self._head = head
        self._table = Table(output, file)
        self._lines: list[Line] = []
        self._pattern = re.compile(output.entrance)

    def add(self, rows: Sequence[Row]) -> Iterator[Remark]:
        """The meters of an account."""
        for point in by_point(rows):
            left_out = {remark.register for remark in unready(point, self._output.estimated)}
            first = point[0]
            if (strange := self._table.strange(first.reading)) is not None:
                yield strange
                continue
            yield from self._table.lost(first.reading, [first.address, first.flat])
            found = self._pattern.search(first.address)
            values = {
                row.reading.register_: row.reading.end_kwh for row in point if row.reading.register_ not in left_out
            }
            self._lines.append(
                Line(
                    building=self._pattern.sub("", first.address).strip(),
                    entrance="" if found is None else found["entrance"],
                    flat=first.flat,
                    account=first.reading.account,
                    order=first.receipt_order,
                    point=first.reading.point,
                    serial_number=first.reading.serial_number,
                    values=tuple(values.get(code) for code in CODES),
                    status=" ".join(dict.fromkeys(row.reading.status for row in point)),
                )
            )

    def finish(self) -> int:
        """Write everything; how many meters there are."""
        used = [place for place in range(len(CODES)) if any(line.values[place] is not None for line in self._lines)]
        labels = [self._head.labels.get(CODES[place], CODES[place]) for place in used]
        table = self._table
        table.record(["address", "entrance", "flat", "account", "meter", *labels, "status"])
        for building, lines in groupby(sorted(self._lines, key=_place), key=lambda line: line.building):
            sums = [Decimal(0)] * len(used)
            count = 0
            for line in lines:
                shown = [line.values[place] for place in used]
                sums = [total + (value or 0) for total, value in zip(sums, shown, strict=True)]
                count += 1
                texts = [line.building, line.entrance, line.flat, line.account, line.serial_number]
                table.record([*table.texts(texts), *map(number, shown), line.status])
            table.record([*table.texts([building]), "", "", "", f"total of {count}", *map(number, sums), ""])
        return len(self._lines)


def _place(line: Line) -> tuple[object, ...]:
    """Where people live: numbers by their size, 2 before 12 and 12 before 12a."""
    return (line.building, _natural(line.entrance), _natural(line.flat), line.account, line.order, line.point)


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(digits or 0), rest) for digits, rest in re.findall(r"([0-9]*)([^0-9]*)", text) if digits or rest]
