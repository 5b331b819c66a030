"""`meterline explain`: the whole story of one number."""

from __future__ import annotations

from pathlib import Path

import click

from collector.central.explain import explain as story
from collector.commands.books import month, opened_books
from collector.commands.registry import config_option


@click.command()
@click.argument("point")
@click.argument("period", metavar="YYYY-MM")
@config_option
def explain(point: str, period: str, config_file: Path) -> None:
    """What POINT was billed with in a month, and why: raw bytes, batch, profile, act, checks, rounding, sent row."""
    with opened_books(config_file) as books:
        for line in story(books, point, month(period)):
            click.echo(line)
