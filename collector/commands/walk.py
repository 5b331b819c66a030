"""`meterline walk`: the flats to visit before a utility's window ends, by address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click

from collector.central import utility as utilities
from collector.central.closing import Books, utilities_with_points
from collector.central.edge_value import wall
from collector.central.walking import walking_list
from collector.clock import SystemClock
from collector.commands.books import month, opened_books
from collector.commands.output import Cell, Format, format_option, show
from collector.commands.registry import config_option
from collector.config import load_central
from collector.localtime import rfc3339

COLUMNS = (
    "utility", "address", "flat", "account", "point", "meter", "serial_number", "registers", "last_answer", "why",
    "window_ends",
)  # fmt: skip
SHOWN = ("address", "flat", "account", "serial_number", "registers", "last_answer", "why", "window_ends")  # on paper


@click.command()
@click.argument("period", metavar="YYYY-MM")
@config_option
@click.option("--utility", "name", help="This utility alone (default: every one that has points).")
@format_option
def walk(period: str, config_file: Path, name: str | None, form: Format) -> None:
    """Flats whose reading for a month will be missing: silent meters, and points read by hand that nobody has told."""
    zone = load_central(config_file).time_zone
    with opened_books(config_file) as books:
        when = _local if form == "table" else _utc
        rows = _rows(books, month(period), name, zone, when)
        show(form, COLUMNS, rows, people=SHOWN, nothing=f"{period}: nobody has to be visited as it stands now")


When = Callable[[int, str], str]


def _local(time: int, zone: str) -> str:
    """An instant (ms) as a person who walks there has it on the watch."""
    return wall(time, zone)[:16]


def _utc(time: int, _zone: str) -> str:
    return rfc3339(time)


def _rows(books: Books, period: str, name: str | None, zone: str, when: When) -> Iterator[list[Cell]]:
    now = SystemClock().millis()
    for utility in [utilities.load(name)] if name else utilities_with_points(books, period):
        for visit in walking_list(books, period, utility, now, zone):
            point, device = visit.point, visit.segment
            where = (visit.utility, point.address, point.flat, point.account, point.point)
            meter = ("", "") if device is None else (device.meter, device.serial_number)
            labels = " ".join(utility.label(code) for code in visit.registers)
            times = [None if time is None else when(time, point.time_zone) for time in (visit.last, visit.ends)]
            yield [*where, *meter, labels, times[0], visit.why, times[1]]
