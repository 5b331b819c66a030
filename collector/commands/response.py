"""`meterline response`: what a utility answered to the files that it was sent."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from collector.central import ledger, responses
from collector.central import utility as utilities
from collector.central.response_lines import read
from collector.central.sent_lines import MOST_BYTES
from collector.clock import SystemClock
from collector.commands.books import by_option, month, opened_books, signed
from collector.commands.groups import Group
from collector.commands.input import contents
from collector.commands.registry import config_option
from collector.exits import UsageFault


@click.group(cls=Group)
def response() -> None:
    """The utility's answer."""


@response.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@config_option
@click.option("--utility", "name", required=True, help="Who answered.")
@click.option("--period", metavar="YYYY-MM", required=True, help="Of which month.")
@click.option("--revision", type=click.IntRange(1), help="What was answered: r1, r2 ... (default: the newest).")
@by_option
def import_(*, file: Path, config_file: Path, name: str, period: str, revision: int | None, by: str | None) -> None:
    """Take the answer of a utility: a FILE with the columns account, verdict (accepted, refused) and reason.

    Or without a header a line each, `ACCOUNT accepted` or `ACCOUNT refused REASON`. Nothing is half imported: every
    fault is said with its line. Told again, an answer changes nothing; another one takes its place.
    """
    period, utility, who = month(period), utilities.load(name), signed(by)
    with opened_books(config_file) as books:
        with books.engine.connect() as connection:
            runs = ledger.runs(connection, period, utility.id)
            newest = runs[-1].revision if runs else 0
            if not newest or (revision or 1) > newest:
                what = f"is at r{newest}" if newest else "is not closed: nothing was sent that could be answered"
                raise UsageFault(f"{period} of {utility.id} {what}")
            about = responses.sent(connection, period, utility.id, revision or newest)
        answers = read(contents(file, MOST_BYTES), file.name, about)
        now = SystemClock().millis()
        count = responses.enter(books.engine, period, utility.id, answers, about, file=file.name, now=now, who=who)
        with books.engine.connect() as connection:
            standing = responses.standing(connection, period, utility.id, newest)
    said = Counter(answer.verdict for answer in answers)
    click.echo(f"{said['accepted']} accepted, {said['refused']} refused; {count} of them new", err=True)
    refused = sum(item.verdict == "refused" for item in standing.values())
    if refused:
        click.echo(f"{refused} accounts stand refused: `meterline exceptions list {period}` has why", err=True)
