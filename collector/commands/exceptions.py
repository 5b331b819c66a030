"""`meterline exceptions`: rows that a person has to look at, and what the person decides, with name and reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import click
from sqlalchemy import Connection

from collector.central import ledger
from collector.central import utility as utilities
from collector.central.closing import close_month, utilities_with_points
from collector.central.exceptions import Exceptional, Verdict, decide, exceptional, refused
from collector.central.live_findings import live_findings
from collector.central.utility import Utility
from collector.clock import SystemClock
from collector.commands.books import by_option, month, opened_books, signed
from collector.commands.groups import Group
from collector.commands.output import Cell, Format, format_option, show
from collector.commands.registry import config_option
from collector.exits import UsageFault
from collector.localtime import rfc3339

COLUMNS = (
    "utility", "account", "point", "meter", "register", "status", "start_kwh", "end_kwh", "consumption_kwh", "revision",
    "check", "level", "quality", "text",
)  # fmt: skip
SHOWN = ("account", "point", "register", "status", "start_kwh", "end_kwh", "check", "text")  # on a screen
LIVE = ("time", "meter", "check", "level", "quality", "text")
DAY = 86_400_000


@click.group(cls=Group)
def exceptions() -> None:
    """Rows that are not ready: what is wrong with them, and a person's decision."""


@exceptions.command("list")
@click.argument("period", metavar="YYYY-MM")
@config_option
@click.option("--utility", "name", help="This utility alone (default: every one that has points).")
@click.option("--warned", is_flag=True, help="Rows too that are ready, but of which a check warns.")
@format_option
def list_(*, period: str, config_file: Path, name: str | None, warned: bool, form: Format) -> None:
    """Rows of a closed month that are not ready, a line for each reason; and accounts that the utility refused."""
    period = month(period)
    with opened_books(config_file) as books, books.engine.connect() as connection:
        chosen = [utilities.load(name)] if name else utilities_with_points(books, period)
        rows = _listed(connection, period, chosen, warned)
        show(form, COLUMNS, rows, people=SHOWN, nothing=_nothing(connection, period, chosen))


def _add_verdict(verdict: Verdict, said: str) -> None:
    """A command by which a person decides."""

    @exceptions.command(verdict, help=said)
    @click.argument("period", metavar="YYYY-MM")
    @click.argument("points", metavar="POINT...", nargs=-1, required=True)
    @config_option
    @click.option("--register", "registers", multiple=True, help="This register alone (default: all).")
    @click.option("--reason", required=True, help="Why; it is kept for ever.")
    @by_option
    def decided(
        *,
        period: str,
        points: tuple[str, ...],
        config_file: Path,
        registers: tuple[str, ...],
        reason: str,
        by: str | None,
    ) -> None:
        period, now, who = month(period), SystemClock().millis(), signed(by)
        if not reason.strip() or not reason.isprintable():
            raise UsageFault("--reason: printable words are wanted, they are kept with the row for ever")
        with opened_books(config_file) as books:
            of_rows = decide(books.engine, period, points, registers, verdict, reason=reason.strip(), now=now, who=who)
            for name in of_rows:
                closed = close_month(books, period, utilities.load(name), now, who)
                click.echo(f"{verdict}ed by {who}; {closed.changed} rows of {name} are new: {closed.folder}", err=True)
                if closed.again is not None:
                    again = f"{closed.again} is closed already and starts from these rows: close it again"
                    click.echo(again, err=True)


_add_verdict("accept", "Bill held rows of POINTs as they are; the month is closed again with them.")
_add_verdict(
    "reject",
    "Take values of POINTs back: their rows are missing then, or estimated where the utility wants that.",
)


@exceptions.command("live")
@config_option
@click.option("--days", type=click.IntRange(1, 366), default=7, show_default=True, help="Of so many days.")
@format_option
def live(config_file: Path, days: int, form: Format) -> None:
    """What the checks at the door said of readings that were accepted, once a day for each meter."""
    with opened_books(config_file) as books, books.engine.connect() as connection:
        since = SystemClock().millis() - days * DAY
        rows = live_findings(connection, since)
        cells = ([rfc3339(row.time), row.meter, *row[2:]] for row in rows)
        show(form, LIVE, cells, nothing=f"in the last {days} days no check at the door had anything to say")


def _listed(connection: Connection, period: str, chosen: Sequence[Utility], warned: bool) -> Iterator[list[Cell]]:
    for utility in chosen:
        for found in exceptional(connection, period, utility.id, warned=warned):
            yield from _lines(found)
        for answer in refused(connection, period, utility.id):
            blank = ("", "", "", "refused", None, None, None)  # of an account with all that was sent of it
            yield [answer.utility, answer.account, *blank, answer.revision, "refused", "hold", "", answer.reason]


def _nothing(connection: Connection, period: str, chosen: Sequence[Utility]) -> str:
    """What is said where nothing is listed: that all is well, or that there is nothing yet that could be."""
    open_ = [utility.id for utility in chosen if not ledger.runs(connection, period, utility.id)]
    if open_:
        return f"{period} of {', '.join(open_)} is not closed; `meterline close {period} --status` shows how it stands"
    return f"{period}: every row is ready, and no account stands refused"


def _lines(found: Exceptional) -> Iterator[list[Cell]]:
    row = found.entry.reading
    numbers: tuple[Decimal | None, ...] = (row.start_kwh, row.end_kwh, row.consumption_kwh)
    who = (row.utility, row.account, row.point, row.meter, row.register_, row.status)
    for finding in found.findings:
        yield [*who, *numbers, row.revision, finding.check, finding.level, finding.quality, finding.text]
