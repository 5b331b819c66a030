"""`meterline audit`: proves the ledger and what was emitted from it, and says who did what when."""

from __future__ import annotations

import json
from pathlib import Path

import click

from collector.central import chain
from collector.central.audit import verify as verify_ledger
from collector.commands.books import opened_books
from collector.commands.counted import counted
from collector.commands.groups import Group
from collector.commands.output import Cell, Format, format_option, show
from collector.commands.registry import config_option
from collector.exits import CheckFailed
from collector.localtime import rfc3339

COLUMNS = ("link", "at", "who", "kind", "what", "digest")
SHOWN = 16  # characters of a digest on a screen; `--format csv` and `audit verify` have all of it


@click.group(cls=Group)
def audit() -> None:
    """The ledger's chain."""


@audit.command("verify")
@config_option
@click.option("--head", metavar="DIGEST", help="A digest that was noted earlier and has to be in the chain.")
def verify(config_file: Path, head: str | None) -> None:
    """Look at every link, row, decision, reading by hand and emitted file; exit with 5 where one is not what it was.

    Prints the last digest. Note it where whoever writes to this database cannot: with --head it later proves that
    nothing was taken off.
    """
    with opened_books(config_file) as books:
        verdict = verify_ledger(books.engine, books.out, head)
    for fault in verdict.faults:
        click.echo(fault)
    if verdict.faults:
        raise CheckFailed(f"the ledger was altered: {counted(len(verdict.faults), 'fault')}; compare it with a backup")
    click.echo(verdict.head)
    links, rows, folders = (
        counted(count, noun)
        for count, noun in ((verdict.links, "link"), (verdict.rows, "row"), (verdict.folders, "folder"))
    )
    text = f"{links}, {rows} and {folders} are what they were"
    click.echo(f"{text}; the last digest is on stdout", err=True)


@audit.command("log")
@config_option
@format_option
def log(config_file: Path, form: Format) -> None:
    """Who closed, decided and entered what, oldest first."""
    with opened_books(config_file) as books, books.engine.connect() as connection:
        cells = _shown if form == "table" else _whole
        rows = map(cells, chain.links(connection))
        show(form, COLUMNS, rows, nothing="the ledger is empty: nothing was closed, decided or entered yet")


def _whole(link: chain.Link) -> list[Cell]:
    return [link.id, rfc3339(link.at), link.who, link.kind, link.what, link.digest]


def _shown(link: chain.Link) -> list[Cell]:
    return [link.id, rfc3339(link.at), link.who, link.kind, _said(link), link.digest[:SHOWN]]


def _said(link: chain.Link) -> str:
    """What was done, in a few words."""
    what = json.loads(link.what)
    month = " ".join(str(what[name]) for name in ("utility", "period", "file") if name in what)
    count = f"r{what['revision']}" if "revision" in what else counted(what["rows"], "row")
    return f"{month} {count}".strip()
