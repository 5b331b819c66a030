"""What a submission is made of: the rows of one account, what they are part of, and what is said of those left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Annotated, NamedTuple, Protocol

from collector.config_fields import Section, Truth, from_text
from collector.model import BillingReading

REMARKS = "remarks.csv"  # the file beside the submissions that says what they leave out


class Row(NamedTuple):
    """One billed register, with what its point was when it was closed. `zone`: the point's time zone."""

    reading: BillingReading
    receipt_order: int
    tariffs: int
    address: str
    flat: str
    zone: str


class Head(NamedTuple):
    """What a submission is part of. `at`: when the period ends on the utility's own clock (ms UTC).

    `order`: OBIS codes in the order in which the utility wants them; `labels`: what it calls them.
    """

    period: str
    utility: str
    title: str
    revision: int
    order: Sequence[str]
    labels: dict[str, str]
    decimals: int
    at: int


class Remark(NamedTuple):
    """Something that a clerk has to know of: `sent` False where the account (or meter) is not in the file."""

    account: str
    point: str
    register: str
    sent: bool
    reason: str


class Writer(Protocol):
    """A submission in the making."""

    def add(self, rows: Sequence[Row]) -> Iterable[Remark]:
        """All rows of the next account, in the order of billing.csv; what is to be said of them."""

    def finish(self) -> int:
        """Write what comes at the end; how many records (messages, rows, meters) the file holds."""


# ----------------------------------------------------------------------------- what all forms share


def _file_name(text: str) -> str:
    if not re.fullmatch(
        r"[A-Za-z0-9_-][A-Za-z0-9._-]*", re.sub(r"\{(utility|period|year|month|revision)\}", "x", text)
    ):
        raise ValueError(
            "a file's name has letters, digits, dots (not first), dashes, and {utility} {period} {year} {month} "
            "{revision}"
        )
    return text


class OutputSection(Section):
    """The keys that every form has. `estimated`: whether estimates are sent like readings."""

    file: Annotated[str, from_text(_file_name)]
    estimated: Truth = False

    def name(self, head: Head) -> str:
        """The file's name in this period and revision."""
        year, month = head.period.split("-")
        return self.file.format(
            utility=head.utility, period=head.period, year=year, month=month, revision=head.revision
        )


def by_point(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows of an account, point after point, as on the receipt."""
    for _, found in groupby(rows, key=lambda row: (row.receipt_order, row.reading.point)):
        yield list(found)


def in_order(rows: Iterable[Row], head: Head) -> list[Row]:
    """The rows of a point in the order in which the utility wants its registers."""
    places = {code: place for place, code in enumerate(head.order)}
    return sorted(rows, key=lambda row: (places.get(row.reading.register_, len(places)), row.reading.register_))


def unready(rows: Iterable[Row], estimated: bool) -> Iterator[Remark]:
    """Why rows cannot be sent: what is held or missing, and what is estimated where that is not wanted."""
    for row in rows:
        reading = row.reading
        if reading.status == "ready" or (reading.status == "estimated" and estimated):
            continue
        reason = {
            "held": "held: see findings.csv, then `meterline exceptions`",
            "missing": "missing: no reading, enter one by hand",
            "estimated": "estimated: this form takes readings only",
        }[reading.status]
        yield Remark(reading.account, reading.point, reading.register_, False, reason)


def number(value: Decimal | None) -> str:
    """A number as utilities take it: no exponent, no leading zeros, no sign but a minus."""
    return "" if value is None else f"{value:f}"
