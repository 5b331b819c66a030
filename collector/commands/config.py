"""`meterline config`: check a configuration file, and show what its lines will be doing, in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from collector.commands.groups import Group
from collector.commands.layout import fitting, screen
from collector.config import check_file, load_gateway
from collector.edge.plan import LinePlan, plans
from drivers.table import Planned

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=Group, help="Check a configuration; plan its lines in milliseconds.")
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
        console = screen()
        for line in found:
            console.print(fitting(console, partial(_as_table, line), _GIVING_WAY))
    for line in found:
        for warning in line.warnings:
            click.echo(f"warning: {warning}", err=True)


# On a narrow screen, in this order: what gateway.yaml says too.
_GIVING_WAY = ("profile", "every s", "speed")


def _as_table(line: LinePlan, without: Sequence[str]) -> Table:
    title = f"{line.line.name}  {line.line.port}  {line.share:.1%} of its time"
    table = Table(title=title, title_justify="left", show_footer=True, box=box.SIMPLE)
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    footers = {
        "meter": "all", "profile": "", "speed": "", "requests": "", "ms": f"{line.interval:.0f}", "every s": "",
        "share": f"{line.share:.1%}", "0:00 ms": f"{line.boundary:.0f}",
    }  # fmt: skip
    shown = [name for name in footers if name not in without]
    for name in shown:
        # A number is never cut, however narrow the terminal: names fold.
        text = name in ("meter", "profile", "speed", "requests")
        whole = name not in ("meter", "profile")
        table.add_column(name, footers[name], justify="left" if text else "right", no_wrap=whole, overflow="fold")
    for it in line.meters:
        wire = not line.line.port.startswith("tcp://")
        cells = {
            "meter": it.meter.id,
            "profile": it.meter.profile.id,
            "speed": f"{it.meter.baudrate} {it.meter.framing}" if wire else "",
            "requests": "\n".join(step.text for step in it.requests),
            "ms": "\n".join(f"{step.milliseconds:.1f}" for step in it.requests) if wire else f"{it.interval:.0f}",
            "every s": f"{it.meter.interval // 1000}",
            "share": f"{it.share:.2%}",
            "0:00 ms": f"{it.boundary:.0f}",
        }
        table.add_row(*(cells[name] for name in shown))
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
