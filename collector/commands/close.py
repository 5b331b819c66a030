"""`meterline close`: closes a month into billing readings, or shows what a close would give.

Nothing happens before every utility that was asked for has passed its edge. What is printed is for a clerk: the rows of
a small house in full, else the exceptions alone, each with its reason in a sentence; the files have everything.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import click
from rich.console import Console, RenderableType
from rich.table import Table

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
from collector.commands.books import month, opened_books
from collector.commands.layout import fitting, laid_out, screen
from collector.commands.registry import config_option, user_name
from collector.exits import CheckFailed, UsageFault
from collector.model import BillingReading

MOST_ROWS = 60  # what a person reads through; of more rows only the exceptions are printed
_COLOURS = {"ready": "green", "held": "yellow", "missing": "red", "estimated": "cyan"}
_NUMBERS = ("start kWh", "end kWh", "ratio", "consumption")
_COLUMNS = ("account", "point", "meter", "register", *_NUMBERS, "status", "method", "quality")
# On a narrow screen, in this order; what is not ready is named by its point in any case. The ratio where all are 1.
_GIVING_WAY = ("ratio", "meter", "account", "quality")
_COUNTED = ("expected", "ready", "held", "missing", "estimated", "to write")
_COUNTS = ("utility", "edge", *_COUNTED, "emitted", "answers")
_WIDE = 100_000  # columns: more than any row has


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
    month(period)
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
    console = screen()
    if status:
        console.print(_counts_table(console, chosen, closed, answers, now))
    else:
        for gathering, item in zip(chosen, closed, strict=True):
            _show(console, item, _edge(gathering), written=not preview)
            if not preview:
                _say_late(gathering, item, now)
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


def _show(console: Console, closed: Closed, edge: str, *, written: bool) -> None:
    console.print(f"{closed.utility}, {closed.period}, up to {edge}", style="bold")
    if closed.expected <= MOST_ROWS:
        console.print(rows_table(console, closed.rows))
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


def _say_late(gathering: Gathering, closed: Closed, now: int) -> None:
    """Whoever sends files that the utility takes no more this month should know before."""
    utility = gathering.utility
    if utility.window is None or not closed.changed:
        return
    zone = utility.time_zone or gathering.members[0].point.time_zone
    _, over = utility.window.of(closed.period, zone)
    if now >= over:
        text = f"{utility.id} took readings for {closed.period} until {wall(over - 1, zone)} ({zone})"
        click.echo(f"{text}: ask it before what is new here is sent", err=True)


def _outcome(closed: Closed, *, written: bool) -> str:
    if written:
        return f"{closed.changed} rows written to {closed.folder}" if closed.changed else f"as it is in {closed.folder}"
    if not closed.changed:
        return f"preview: nothing would change; it is all in {closed.folder}"
    return f"preview: {closed.changed} rows would be written to r{(closed.revision or 0) + 1}; nothing was"


def rows_table(console: Console, rows: Sequence[BillingReading]) -> Table:
    """Billing readings as a clerk reads them: on a narrow screen the columns that can be looked up give way."""
    giving_way = [name for name in _GIVING_WAY if name != "ratio" or all(row.ratio == 1 for row in rows)]
    return fitting(console, lambda without: _rows_table(rows, without), giving_way)


def _rows_table(rows: Sequence[BillingReading], without: Sequence[str]) -> Table:
    shown = [name for name in _COLUMNS if name not in without]
    table = Table(box=None, pad_edge=False)
    for name in shown:
        table.add_column(name, overflow="fold", justify="right" if name in _NUMBERS else "left")
    for row in rows:
        cells = {
            "account": row.account, "point": row.point, "meter": row.meter,
            "register": row.label if row.label == row.register_ else f"{row.label} ({row.register_})",
            "start kWh": _number(row.start_kwh), "end kWh": _number(row.end_kwh), "ratio": _number(row.ratio),
            "consumption": _number(row.consumption_kwh), "status": row.status, "method": row.method,
            "quality": row.quality,
        }  # fmt: skip
        style = None if row.status == "ready" else _COLOURS[row.status]
        table.add_row(*(cells[name] for name in shown), style=style)
    return table


def sentences(exceptions: Sequence[NotReady]) -> Iterator[str]:
    """What keeps rows from being ready: a line for each, or one for those of a point that have the same reason."""
    for (status, point, reasons), alike in groupby(exceptions, _why):
        yield f"{status}: {point} {', '.join(item.reading.label for item in alike)}: {reasons}"


def _why(item: NotReady) -> tuple[str, str, str]:
    reasons = "; ".join(f"{finding.text} [{finding.check}]" for finding in item.findings if finding.level == "hold")
    return item.reading.status, item.reading.point, reasons


def _answers(books: Books, closed: Closed) -> str:
    """What the utility answered so far to what it was sent, by account."""
    if closed.revision is None:
        return ""
    with books.engine.connect() as connection:
        standing = responses.standing(connection, closed.period, closed.utility, closed.revision)
    counts = Counter(answer.verdict for answer in standing.values())
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) or "none"


def _counts_table(
    console: Console, chosen: Iterable[Gathering], closed: Iterable[Closed], answers: Mapping[str, str], now: int
) -> RenderableType:
    """A line for each utility, or a record where the screen is too narrow."""
    rows = []
    for gathering, item in zip(chosen, closed, strict=True):
        walls, _ = _ends(gathering)
        edge = walls + ("" if now >= item.edges[1] else " (not yet)")
        emitted = "nothing" if item.revision is None else f"r{item.revision}"
        counts = map(str, (item.expected, *item.counts.values(), item.changed))
        rows.append((item.utility, edge, *counts, emitted, answers[item.utility]))
    return laid_out(_COUNTS, rows, [name in _COUNTED for name in _COUNTS], console.width)


def _edge(gathering: Gathering) -> str:
    """When the period ends, on the clocks of its points: `2026-11-01 00:00 (Europe/Moscow)`."""
    walls, zones = _ends(gathering)
    return f"{walls} ({', '.join(zones)})"


def _ends(gathering: Gathering) -> tuple[str, Sequence[str]]:
    """The same, and those clocks: only where one zone has no midnight at its edge do they show different times."""
    ends = {(member.closing.at, member.point.time_zone) for member in gathering.members}
    return " to ".join(sorted({wall(at, zone)[:16] for at, zone in ends})), sorted({zone for _, zone in ends})


def _number(value: Decimal | None) -> str:
    return "" if value is None else f"{value:f}"
