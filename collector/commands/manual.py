"""`meterline manual`: readings that people tell, by phone, in one-line messages, in lists of a house's elder."""

from __future__ import annotations

from collections import Counter
from datetime import date, time
from pathlib import Path

import click

from collector import localtime
from collector.central.closing import Books
from collector.central.manual_desk import Desk, Refused, enter
from collector.central.manual_lines import Line, read
from collector.central.registry import Registry
from collector.central.sent_lines import MOST_BYTES
from collector.clock import SystemClock
from collector.commands.books import by_option, month, only_utility, opened_books, signed
from collector.commands.counted import counted
from collector.commands.groups import Group
from collector.commands.input import contents
from collector.commands.output import Format, format_option, show
from collector.commands.registry import config_option
from collector.config import load_central
from collector.exits import CheckFailed, UsageFault

COLUMNS = ("line", "account", "verdict", "text")
LONGEST_WORDS = 400  # characters, as of a utility's reason: two SMS and some
NOON = time(12)  # a day that is told without a time of day

utility_option = click.option("--utility", "name", help="Whose account it is (default: the only utility there is).")
told_option = click.option("--told", metavar="YYYY-MM-DD", help="The day on which it was told (default: now).")


@click.group(cls=Group)
def manual() -> None:
    """Readings by hand."""


@manual.command("enter")
@click.argument("account")
@click.argument("period", metavar="YYYY-MM")
@click.argument("readings", metavar="READING...", nargs=-1, required=True)
@config_option
@utility_option
@click.option("--source", default="by phone", show_default=True, help="How it was told.")
@click.option("--reason", default="", help="Why it takes the place of an earlier one.")
@told_option
@by_option
def enter_(
    *,
    account: str,
    period: str,
    readings: tuple[str, ...],
    config_file: Path,
    name: str | None,
    source: str,
    reason: str,
    told: str | None,
    by: str | None,
) -> None:
    """Enter what somebody tells: all READINGs of an ACCOUNT in the order of its receipt, whole kWh."""
    for option, words in (("--source", source), ("--reason", reason)):
        if not words.isprintable() or len(words) > LONGEST_WORDS:
            raise UsageFault(f"{option}: 1 to {LONGEST_WORDS} printable characters are wanted, they are kept for ever")
    now = SystemClock().millis()
    with opened_books(config_file) as books:
        try:
            desk = _desk(books, config_file, month(period), name=name, told=told, now=now)
            taken = desk.take(account, readings, source, reason)
        except Refused as refused:
            raise UsageFault(f"refused: {refused}") from None
        for notice in taken.notices:
            click.echo(f"look at this: {notice}", err=True)
        count = enter(books.engine, [taken], now=now, who=signed(by))
    click.echo(
        f"accepted: {counted(count, 'reading')} of account {account} for {period}" if count else "nothing new", err=True
    )


@manual.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("period", metavar="YYYY-MM")
@config_option
@utility_option
@told_option
@by_option
@format_option
def import_(
    *, file: Path, period: str, config_file: Path, name: str | None, told: str | None, by: str | None, form: Format
) -> None:
    """Take a FILE of one-line messages, or a list (CSV with the columns account, t1 ...).

    Each line is accepted, known already, or refused with its reason. What is sound is entered; with a refused line the
    command ends with 5.
    """
    now = SystemClock().millis()
    with opened_books(config_file) as books:
        try:
            desk = _desk(books, config_file, month(period), name=name, told=told, now=now)
        except Refused as refused:
            raise UsageFault(f"refused: {refused}") from None
        lines = read(contents(file, MOST_BYTES), file.name, desk)
        enter(books.engine, [line.taken for line in lines if line.taken is not None], now=now, who=signed(by))
    show(form, COLUMNS, (list(_cells(line)) for line in lines))
    counts = Counter(line.verdict for line in lines)
    click.echo(", ".join(f"{counts[word]} {word}" for word in ("accepted", "duplicate", "refused")), err=True)
    if counts["refused"]:
        raise CheckFailed(f"{file}: {counts['refused']} of {len(lines)} lines were refused; the others are entered")


def _cells(line: Line) -> tuple[int, str, str, str]:
    return (line.line, line.account, line.verdict, line.text)


def _desk(books: Books, config_file: Path, period: str, *, name: str | None, told: str | None, now: int) -> Desk:
    zone = load_central(config_file).time_zone
    utility = only_utility(Registry(books.engine), name, now)
    at = now
    if told is not None:
        try:
            day = date.fromisoformat(told)
        except ValueError:
            raise UsageFault(f"--told {told!r}: a day is YYYY-MM-DD") from None
        at = min(now, localtime.to_millis(localtime.instant(day, NOON, utility.time_zone or zone)))
        if at == now and day > localtime.local_date(localtime.from_millis(now), utility.time_zone or zone):
            raise UsageFault(f"--told {told}: that day has not come yet")
    return Desk(books.engine, utility, period, at, default_zone=zone)
