"""`meterline config`: check a configuration file, and show what its lines will be doing, in milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from collector.config import check_file, load_gateway
from collector.edge.plan import LinePlan, plans
from drivers.table import Planned

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(help="Check a configuration; plan its lines in milliseconds.")
def config() -> None:
    """The group."""


@config.command(help="Check gateway.yaml (with gateway.d/ beside it) or central.yaml; say everything that is wrong.")
@click.argument("file", type=FILE)
def check(file: Path) -> None:
    """Exit status 2 with all faults, else 0, with warnings on stderr."""
    for warning in check_file(file).warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"{file}: sound")


@config.command(help="Show each line's requests, how long they take, and whether they fit their interval.")
@click.argument("file", type=FILE, metavar="gateway.yaml")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def plan(file: Path, form: str) -> None:
    """Plans that do not fit are warned of on stderr; the exit status is 0."""
    found = plans(load_gateway(file))
    if form == "json":
        click.echo(json.dumps({"schema": 1, "lines": [_as_json(line) for line in found]}, indent=1))
    else:
        console = Console(highlight=False, markup=False)
        for line in found:
            console.print(_as_table(line))
    for line in found:
        for warning in line.warnings:
            click.echo(f"warning: {warning}", err=True)


def _as_table(line: LinePlan) -> Table:
    title = f"{line.line.name}  {line.line.port}  {line.share:.1%} of its time"
    table = Table(title=title, title_justify="left", show_footer=True, box=box.SIMPLE)
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    table.add_column("meter", "all", overflow="fold")
    table.add_column("profile", overflow="fold")
    for name, footer in (
        ("speed", ""),
        ("requests", ""),
        ("ms", f"{line.interval:.0f}"),
        ("every s", ""),
        ("share", f"{line.share:.1%}"),
        ("0:00 ms", f"{line.boundary:.0f}"),
    ):
        # A number is never cut, however narrow the terminal: names fold.
        table.add_column(name, footer, justify="left" if name in ("speed", "requests") else "right", no_wrap=True)
    for it in line.meters:
        wire = not line.line.port.startswith("tcp://")
        table.add_row(
            it.meter.id,
            it.meter.profile.id,
            f"{it.meter.baudrate} {it.meter.framing}" if wire else "",
            "\n".join(step.text for step in it.requests),
            "\n".join(f"{step.milliseconds:.1f}" for step in it.requests) if wire else f"{it.interval:.0f}",
            f"{it.meter.interval // 1000}",
            f"{it.share:.2%}",
            f"{it.boundary:.0f}",
        )
    return table


def _as_json(line: LinePlan) -> dict[str, Any]:
    return {
        "line": line.line.name,
        "port": line.line.port,
        "interval_ms": round(line.interval, 3),
        "boundary_ms": round(line.boundary, 3),
        "share": round(line.share, 6),
        "fits": line.share <= 1,
        "meters": [
            {
                "meter": it.meter.id,
                "profile": it.meter.profile.id,
                "address": it.meter.address,
                "baudrate": it.meter.baudrate,
                "framing": it.meter.framing,
                "every_ms": it.meter.interval,
                "interval_ms": round(it.interval, 3),
                "boundary_ms": round(it.boundary, 3),
                "share": round(it.share, 6),
                "interval": [_step(step) for step in it.requests],
                "boundary": [_step(step) for step in it.boundary_requests],
            }
            for it in line.meters
        ],
    }


def _step(step: Planned) -> dict[str, Any]:
    return {"text": step.text, "names": list(step.names), "milliseconds": round(step.milliseconds, 3)}
