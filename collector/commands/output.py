"""Rows to stdout as a table for people, CSV or JSON for programs; however many there are, they stream."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain, islice
from typing import Literal

import click

from collector.central.spreadsheet import guarded
from collector.commands.layout import laid_out, screen

Format = Literal["table", "csv", "json"]
Cell = str | int | Decimal | None

# A table is laid out when all its rows are known; a long one comes in parts of this many rows.
_PART = 1000

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="For people, or for programs.",
)


def show(
    form: Format,
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    people: Sequence[str] | None = None,
    nothing: str = "",
) -> None:
    """Write the rows under these column names. A number is a Decimal or an int; any other text is guarded in CSV.

    `people`: the columns of a table, where all of them are more than a screen holds. `nothing`: what is said to the
    person (stderr) where there is no row.
    """
    rows = iter(rows)
    first = list(islice(rows, 1))
    if not first and nothing:
        click.echo(nothing, err=True)
    rows = chain(first, rows)
    if form == "table" and people is not None:
        places = [columns.index(name) for name in people]
        columns, rows = people, ([row[place] for place in places] for row in rows)
    {"table": _table, "csv": _csv, "json": _json}[form](columns, rows)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([guarded(cell) if isinstance(cell, str) else _text(cell) for cell in row] for row in rows)


def _json(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    lead = "["
    for row in rows:
        values = (cell if cell is None or isinstance(cell, int) else _text(cell) for cell in row)
        sys.stdout.write(f"{lead}\n{json.dumps(dict(zip(columns, values, strict=True)), ensure_ascii=False)}")
        lead = ","
    sys.stdout.write("[]\n" if lead == "[" else "\n]\n")


def _table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
    console = screen()
    for part in _parts(iter(rows)):
        right = [all(isinstance(row[place], Decimal | int | None) for row in part) for place in range(len(columns))]
        console.print(laid_out(columns, [list(map(_text, row)) for row in part], right, console.width))


def _parts(rows: Iterator[Sequence[Cell]]) -> Iterator[list[Sequence[Cell]]]:
    part = list(islice(rows, _PART))
    while True:  # also without rows: the header says what would be here
        yield part
        part = list(islice(rows, _PART))
        if not part:
            return


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    return f"{cell:f}" if isinstance(cell, Decimal) else str(cell)
