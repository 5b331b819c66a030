"""`meterline close`: closes a month into billing readings, or shows what a close would give.

Nothing happens before every utility that was asked for has passed its edge. What is printed is for a clerk: the rows of
a small house in full, else the exceptions alone, each with its reason in a sentence; the files have everything.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from collector import localtime
from collector.central import responses
from collector.central import utility as utilities
from collector.central.closing import (
    Books,
    Closed,
    NotReady,
    check_due,
    close_gathered,
    gather,
    gatherings,
    preview_gathered,
)
from collector.central.edge_value import wall
from collector.central.gathering import Gathering
from collector.clock import SystemClock
from collector.commands.books import opened_books
from collector.commands.registry import config_option, user_name
from collector.config import load_central
from collector.exits import CheckFailed, UsageFault
from collector.localtime import rfc3339
from collector.model import BillingReading

MOST_ROWS = 60  # what a person reads through; of more rows only the exceptions are printed
_COLOURS = {"ready": "green", "held": "yellow", "missing": "red", "estimated": "cyan"}
_WIDE = 100_000  # not a terminal: nothing is folded or cut


@click.command()
@click.argument("period", metavar="YYYY-MM")
@config_option
@click.option("--utility", "name", help="This utility alone (default: every one that has points).")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Where to write (default: central.yaml).")
@click.option("--preview", is_flag=True, help="Show what a close would give; write nothing. Also before the edge.")
@click.option("--strict", is_flag=True, help="Exit with 5 when a row is not ready.")
@click.option("--status", is_flag=True, help="Show the counts alone; write nothing. Also before the edge.")
def close(
    *, period: str, config_file: Path, name: str | None, out: Path | None, preview: bool, strict: bool, status: bool
) -> None:
    """Close a month: the value of every billed register at the utility's edge, into the ledger and into files."""
    try:
        localtime.parse_month(period)
    except ValueError as error:
        raise UsageFault(str(error)) from None
    now = SystemClock().millis()
    # A close makes millions of small objects and no cycles of them: collecting them finds nothing and costs a tenth.
    gc.set_threshold(1_000_000)
    with opened_books(config_file, out) as books:
        chosen = _chosen(books, period, name)
        if preview or status:
            closed = [preview_gathered(books, gathering) for gathering in chosen]
        else:
            for gathering in chosen:
                check_due(gathering, now)
            closed = [_close(books, gathering, now) for gathering in chosen]
        answers = {item.utility: _answers(books, item) for item in closed} if status else {}
    console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False, markup=False, emoji=False)
    if status:
        console.print(_counts_table(closed, answers, now, load_central(config_file).time_zone))
    else:
        for item in closed:
            _show(console, item, written=not preview)
    if strict and not all(item.complete for item in closed):
        unready = sum(item.expected - item.counts["ready"] for item in closed)
        raise CheckFailed(f"{period}: {unready} of {sum(item.expected for item in closed)} rows are not ready")


def _chosen(books: Books, period: str, name: str | None) -> list[Gathering]:
    if name is not None:
        return [gather(books, period, utilities.load(name))]
    chosen = gatherings(books, period)
    if not chosen:
        raise UsageFault("the registry has no points yet; bring them in with `meterline registry import`")
    return chosen


def _close(books: Books, gathering: Gathering, now: int) -> Closed:
    try:
        return close_gathered(books, gathering, now, user_name())
    except OSError as error:
        text = f"{error.filename or books.out} cannot be written: {error.strerror}"
        raise UsageFault(
            f"{text}; close again when it can: what the ledger has by then is written from there"
        ) from error


# ----------------------------------------------------------------------------- what is printed


def _show(console: Console, closed: Closed, *, written: bool) -> None:
    console.print(f"{closed.utility}, {closed.period}, as of {_edges(closed)}", style="bold")
    if closed.expected <= MOST_ROWS:
        console.print(rows_table(closed.rows))
    for line in sentences(closed.exceptions):
        console.print(line)
    unready = closed.expected - closed.counts["ready"]
    if unready > len(closed.exceptions):
        where = "findings.csv has all" if written else "close to have them all in findings.csv"
        console.print(f"... and {unready - len(closed.exceptions)} rows more that are not ready; {where}")
    counts = ", ".join(f"{count} {status}" for status, count in closed.counts.items())
    console.print(f"{closed.expected} rows: {counts}")
    click.echo(_outcome(closed, written=written), err=True)
    if closed.again is not None:
        click.echo(f"{closed.again} is closed already and starts from these rows: close it again", err=True)


def _outcome(closed: Closed, *, written: bool) -> str:
    if written:
        return f"{closed.changed} rows written to {closed.folder}" if closed.changed else f"as it is in {closed.folder}"
    if not closed.changed:
        return f"preview: nothing would change; it is all in {closed.folder}"
    return f"preview: {closed.changed} rows would be written to r{(closed.revision or 0) + 1}; nothing was"


def rows_table(rows: Iterable[BillingReading]) -> Table:
    """Billing readings as a clerk reads them."""
    table = Table(box=None, pad_edge=False)
    for column in ("account", "point", "meter", "register"):
        table.add_column(column, overflow="fold")
    for column in ("start kWh", "end kWh", "ratio", "consumption"):
        table.add_column(column, justify="right")
    for column in ("status", "method", "quality"):
        table.add_column(column)
    for row in rows:
        named = row.label if row.label == row.register_ else f"{row.label} ({row.register_})"
        numbers = (row.start_kwh, row.end_kwh, row.ratio, row.consumption_kwh)
        table.add_row(
            *(row.account, row.point, row.meter, named), *map(_number, numbers), row.status, row.method, row.quality,
            style=None if row.status == "ready" else _COLOURS[row.status],
        )  # fmt: skip
    return table


def sentences(exceptions: Sequence[NotReady]) -> Iterator[str]:
    """What keeps each row from being ready, a line for each."""
    for reading, findings in exceptions:
        reasons = "; ".join(f"{finding.text} [{finding.check}]" for finding in findings if finding.level == "hold")
        yield f"{reading.status}: {reading.point} {reading.label}: {reasons}"


def _answers(books: Books, closed: Closed) -> str:
    """What the utility answered so far to what it was sent, by account."""
    if closed.revision is None:
        return ""
    with books.engine.connect() as connection:
        standing = responses.standing(connection, closed.period, closed.utility, closed.revision)
    counts = Counter(answer.verdict for answer in standing.values())
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) or "none"


def _counts_table(closed: Iterable[Closed], answers: Mapping[str, str], now: int, default_zone: str) -> Table:
    """A line for each utility; the edge on the utility's own clock."""
    table = Table(box=None, pad_edge=False)
    table.add_column("utility", overflow="fold")
    table.add_column("edge", overflow="fold")
    for column in ("expected", "ready", "held", "missing", "estimated", "to write"):
        table.add_column(column, justify="right")
    table.add_column("emitted")
    table.add_column("answers")
    for item in closed:
        zone = utilities.load(item.utility).time_zone or default_zone
        first, last = (wall(edge, zone)[:16] for edge in item.edges)
        edge = (first if first == last else f"{first} to {last}") + ("" if now >= item.edges[1] else " (not yet)")
        emitted = "nothing" if item.revision is None else f"r{item.revision}"
        counts = map(str, (item.expected, *item.counts.values(), item.changed))
        table.add_row(item.utility, edge, *counts, emitted, answers[item.utility])
    return table


def _edges(closed: Closed) -> str:
    first, last = map(rfc3339, closed.edges)
    return first if first == last else f"{first} to {last}"


def _number(value: Decimal | None) -> str:
    return "" if value is None else f"{value:f}"
