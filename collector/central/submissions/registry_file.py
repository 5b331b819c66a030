"""A utility's registry file: its columns, encoding and line ends by profile, with a trailer of control totals.

Rule 1. It holds the whole state of the revision: who loads the newest file has everything.
Rule 2. What is held or missing is left out and remarked; where the profile says `unready: row`, it is in it with an
        empty value, and remarked all the same.
Rule 3. Account and serial number are exact or the row is left out: a `?` in them would be somebody else's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, BinaryIO, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from collector.central.submissions.rows import Head, Remark, Row, by_point, in_order, number, unready
from collector.central.submissions.table_file import Table, TableSection, lacking
from collector.config_fields import ListOf, Section, Text, Truth, from_text, one_of
from collector.localtime import from_millis, zone
from drivers import obis

# What a cell can hold. Those of the second line are of one register: {end 1.8.1}, or of the row's own: {end}.
FIELDS = ("account", "point", "address", "flat", "meter", "serial_number", "ratio", "period", "year", "month", "date")
OF_REGISTER = ("register", "label", "start", "end", "consumption", "status", "method", "quality")
TOTALS = ("rows", "accounts", "sum_end", "sum_consumption")
_FIELD = re.compile(r"\{([a-z_]+)(?: ([0-9.]+))?\}")


def _cell(plain: Sequence[str], of_register: Sequence[str]) -> BeforeValidator:
    def read(text: str) -> str:
        for name, code in _FIELD.findall(text):
            if name not in (of_register if code else (*plain, *of_register)):
                raise ValueError(f"{{{name}}} is not known; known are {' '.join((*plain, *of_register))}")
            if code:
                obis.parse(code)
        if "{" in _FIELD.sub("", text) or "}" in _FIELD.sub("", text):
            raise ValueError("a field is {account} or, of one register, {end 1.8.1}")
        return text

    return from_text(read)


class Column(Section):
    """`title`: in the header. `value`: text and fields."""

    title: Text
    value: Annotated[str, _cell(FIELDS, OF_REGISTER)]


class Output(TableSection):
    """`per`: a row for each register, or for each meter with its registers beside each other.

    `date`: how {date} is written (strftime), the local day of the value. `decimal`: the sign before decimals. `trailer`
    is the cells of a last record, with {rows} {accounts} {sum_end 1.8.1} {sum_consumption 1.8.1}; without a code, of
    all registers.
    """

    format: Literal["registry"]
    per: Annotated[Literal["register", "meter"], one_of("register", "meter")] = "register"
    header: Truth = True
    columns: Annotated[ListOf[Column], Field(min_length=1)]
    trailer: ListOf[Annotated[str, _cell(TOTALS[:2], TOTALS[2:])]] = ()
    decimal: Annotated[Literal[".", ","], one_of(".", ",")] = "."
    date: Text = "%d.%m.%Y"
    unready: Annotated[Literal["omit", "row"], one_of("omit", "row")] = "omit"

    @model_validator(mode="after")
    def _can_be_loaded(self) -> Self:
        for text in (*(text for column in self.columns for text in (column.title, column.value)), *self.trailer):
            if lost := lacking(text, self.encoding):
                raise ValueError(f"{lost!r} cannot be written in {self.encoding}")
        for name, code in (found for column in self.columns for found in _FIELD.findall(column.value)):
            if self.per == "meter" and name in OF_REGISTER and not code:
                raise ValueError(f"{{{name}}}: of a meter's registers, say which: {{{name} 1.8.1}}")
        return self


def write(output: Output, head: Head, file: BinaryIO) -> RegistryFile:
    """The table."""
    return RegistryFile(output, head, file)


class RegistryFile:
    """See `Writer`."""

    def __init__(self, output: Output, head: Head, file: BinaryIO) -> None:
        self._output = output
        self._head = head
        self._table = Table(output, file)
        self._accounts = 0
        self._rows = 0
        self._sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        if output.header:
            self._table.record([column.title for column in output.columns])

    def add(self, rows: Sequence[Row]) -> Iterator[Remark]:
        """The records of an account."""
        written = self._rows
        for point in by_point(rows):
            ordered = in_order(point, self._head)
            for group in [ordered] if self._output.per == "meter" else [[row] for row in ordered]:
                yield from self._record(group)
        self._accounts += self._rows > written

    def finish(self) -> int:
        """The trailer; how many records there are beside header and trailer."""
        if self._output.trailer:
            self._table.record([_FIELD.sub(self._total, cell) for cell in self._output.trailer])
        return self._rows

    def _record(self, rows: Sequence[Row]) -> Iterator[Remark]:
        output, first = self._output, rows[0].reading
        found = list(unready(rows, output.estimated))
        if found and output.unready == "omit":
            yield from found
            return
        if (strange := self._table.strange(first)) is not None:
            yield strange
            return
        cells = [
            _FIELD.sub(lambda field: self._value(rows, field[1], field[2]), column.value) for column in output.columns
        ]
        self._table.record(self._table.texts(cells))
        self._rows += 1
        for row in rows:
            self._count(row)
        yield from (remark._replace(sent=True) for remark in found)
        yield from self._table.lost(first, cells)

    def _count(self, row: Row) -> None:
        for name, value in (("sum_end", self._sent(row)), ("sum_consumption", self._sent(row, "consumption_kwh"))):
            if value is not None:
                for code in (row.reading.register_, ""):
                    self._sums[name, code] += value

    def _sent(self, row: Row, name: str = "end_kwh") -> Decimal | None:
        """A value as far as it may be sent."""
        status = row.reading.status
        ready = status == "ready" or (status == "estimated" and self._output.estimated)
        value: Decimal | None = getattr(row.reading, name)
        return value if ready else None

    def _value(self, rows: Sequence[Row], name: str, code: str | None) -> str:
        first = rows[0]
        reading = first.reading
        if name in OF_REGISTER:
            row = first if code is None else next((row for row in rows if row.reading.register_ == code), None)
            return "" if row is None else self._of_register(row, name)
        match name:
            case "ratio":
                return self._number(reading.ratio)
            case "period":
                return reading.period
            case "year":
                return reading.period[:4]
            case "month":
                return reading.period[5:]
            case "date":
                ends = reading.end_time
                return (
                    "" if ends is None else from_millis(ends).astimezone(zone(first.zone)).strftime(self._output.date)
                )
            case "address" | "flat":
                return str(getattr(first, name))
            case _:
                return str(getattr(reading, name))

    def _of_register(self, row: Row, name: str) -> str:
        reading = row.reading
        match name:
            case "register":
                return reading.register_
            case "start":
                return self._number(reading.start_kwh if self._sent(row) is not None else None)
            case "end":
                return self._number(self._sent(row))
            case "consumption":
                return self._number(self._sent(row, "consumption_kwh"))
            case _:
                return str(getattr(reading, name))

    def _total(self, field: re.Match[str]) -> str:
        name, code = field.groups()
        match name:
            case "rows":
                return str(self._rows)
            case "accounts":
                return str(self._accounts)
            case _:
                return self._number(self._sums[name, code or ""])

    def _number(self, value: Decimal | None) -> str:
        return number(value).replace(".", self._output.decimal)
