"""One-line messages (SMS, e-mail, messenger): one account each, in the words that the utility's machine understands.

Rule 1. An account whose values are not all there gets no message: what is left out of an ordered list shifts the rest.
Rule 2. A text that holds a character which ends a field in this dialect gets no message: it would be read wrongly.
Rule 3. What one message cannot hold gets none: a message that is cut is read wrongly too.
Rule 4. Only accounts with something new in this revision are sent: a message repeated is a reading sent twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, BinaryIO, Literal

from pydantic import BeforeValidator, Field, model_validator

from collector.central.submissions import gsm
from collector.central.submissions.rows import Head, OutputSection, Remark, Row, by_point, in_order, number, unready
from collector.config_fields import Code, ListOf, Text, from_text, one_of, whole

LINE = ("account", "address", "flat", "place", "serial_number", "values")
VALUE = ("value", "label", "number")
_FIELD = re.compile(r"\{([a-z_]*)\}")


def _template(*known: str) -> BeforeValidator:
    def read(text: str) -> str:
        rest = _FIELD.sub("", text)
        if set(_FIELD.findall(text)) - set(known) or "{" in rest or "}" in rest or not text.isprintable():
            raise ValueError(f"a line of text is wanted, in which {' '.join(f'{{{name}}}' for name in known)} stand")
        return text

    return from_text(read)


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"a regular expression is wanted: {error}") from None
    return text


class Output(OutputSection):
    """`line`: the message. `value`: one value in it. `join`: between values.

    In a line {place} is address and flat; in a value {number} counts the account's meters.

    `tags`: OBIS code -> {label} in this dialect. `per`: a message for an account, or for each of its meters. `account`:
    a pattern of the accounts that the utility has. `tariffs`: the points that this dialect has words for, `meters`: how
    many of them in one message. `carrier`: an sms holds 160 characters (70 where one is not in its alphabet), an email
    any number.
    """

    format: Literal["messages"]
    line: Annotated[str, _template(*LINE)]
    value: Annotated[str, _template(*VALUE)] = "{value}"
    join: Text = " "
    tags: Mapping[Code, Text] = Field(default_factory=dict)
    per: Annotated[Literal["account", "meter"], one_of("account", "meter")] = "account"
    carrier: Annotated[Literal["sms", "email"], one_of("sms", "email")] = "sms"
    account: Annotated[str, from_text(_pattern)] = ".+"
    tariffs: Annotated[ListOf[Annotated[int, whole(1, 4)]], Field(min_length=1)] = (1, 2, 3, 4)
    meters: Annotated[int, whole(1, 99)] | None = None

    @model_validator(mode="after")
    def _tells_whose(self) -> Output:
        if "{account}" not in self.line or "{values}" not in self.line or "{value}" not in self.value:
            raise ValueError("line needs {account} and {values}, value needs {value}: else nobody knows whose they are")
        numbers = "{number}{value}" in self.value or "{value}{number}" in self.value
        if "}{" in self.line or numbers or not self.join or self.join.isalnum():
            raise ValueError(
                "between two fields of line, number and value, and in join a sign is wanted: nobody can "
                "tell where one ends"
            )
        return self

    @cached_property
    def separators(self) -> frozenset[str]:
        """The characters that end a field: blanks only where nothing else stands between two fields."""
        found: set[str] = set()
        for between in _FIELD.split(self.line)[2:-1:2]:
            signs = {character for character in between if not character.isalnum()}
            found |= {sign for sign in signs if not sign.isspace()} or signs
        return frozenset(found)


def of_point(address: str, flat: str, serial_number: str) -> dict[str, str]:
    """What a message can say of a point, by the names of its fields."""
    place = ", ".join(text for text in (address, flat) if text)
    return {"address": address, "flat": flat, "place": place, "serial_number": serial_number}


def write(output: Output, head: Head, file: BinaryIO) -> Messages:
    """One message a line, UTF-8, `\\n`."""
    return Messages(output, head, file)


class Messages:
    """See `Writer`."""

    def __init__(self, output: Output, head: Head, file: BinaryIO) -> None:
        self._output = output
        self._head = head
        self._file = file
        self._count = 0

    def add(self, rows: Sequence[Row]) -> Iterator[Remark]:
        """The messages of an account."""
        if not any(row.reading.revision == self._head.revision for row in rows):
            return
        points = list(by_point(rows))
        if self._output.per == "account":
            yield from self._send(rows, points)
        else:
            for point in points:
                yield from self._send(point, [point])

    def finish(self) -> int:
        """How many messages there are."""
        return self._count

    def _send(self, rows: Sequence[Row], points: Sequence[Sequence[Row]]) -> Iterator[Remark]:
        if found := [*unready(rows, self._output.estimated), *self._unfit(rows)]:
            yield from found
            return
        values = [
            self._value(row, place) for place, point in enumerate(points, 1) for row in in_order(point, self._head)
        ]
        message = self._fill(self._output.line, self._texts(rows[0]) | {"values": self._output.join.join(values)})
        takes, has = gsm.room(message)
        if self._output.carrier == "sms" and takes > has:
            yield self._remark(rows[0], f"the message takes {takes} characters, an SMS has {has}: {message}")
            return
        self._file.write(f"{message}\n".encode())
        self._count += 1

    def _unfit(self, rows: Sequence[Row]) -> Iterator[Remark]:
        """Why this dialect has no words for an account."""
        first, output = rows[0], self._output
        account = first.reading.account
        if not re.fullmatch(output.account, account):
            yield self._remark(first, f"the account {account!r} is not of the form {output.account}")
        for field in sorted(set(_FIELD.findall(output.line)) - {"values"}):
            text = self._texts(first)[field]
            if ends := sorted(output.separators & set(text)):
                yield self._remark(first, f"{field} {text!r} holds {ends[0]!r}, which ends a field in this message")
        if "{serial_number}" in output.line and not first.reading.serial_number:
            yield self._remark(first, "no serial number is known of the meter, and this message names it")
        for tariffs in sorted({row.tariffs for row in rows} - set(output.tariffs)):
            words = " or ".join(map(str, output.tariffs))
            yield self._remark(first, f"tariffs of the point: {tariffs}; this form has words for {words}")
        meters = len({row.reading.point for row in rows})
        if output.meters is not None and meters > output.meters:
            reason = f"meters of the account: {meters}; this form tells {output.meters} apart, a further one is misread"
            yield self._remark(first, reason)

    def _value(self, row: Row, place: int) -> str:
        reading = row.reading
        label = self._output.tags.get(reading.register_, reading.label)
        fields = {"value": number(reading.end_kwh), "label": label, "number": str(place)}
        return self._fill(self._output.value, fields)

    @staticmethod
    def _texts(row: Row) -> dict[str, str]:
        reading = row.reading
        return {"account": reading.account, **of_point(row.address, row.flat, reading.serial_number)}

    @staticmethod
    def _fill(template: str, fields: Mapping[str, str]) -> str:
        return _FIELD.sub(lambda match: fields[match[1]], template)

    @staticmethod
    def _remark(row: Row, reason: str) -> Remark:
        return Remark(row.reading.account, row.reading.point, "", False, reason)
