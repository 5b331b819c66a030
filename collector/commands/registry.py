"""`meterline registry`: bring points.csv into the registry, and list what is known there."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from pathlib import Path

import click

from collector.central import utility
from collector.central.engine import opened_engine
from collector.central.points_csv import HEADER, MOST_BYTES, parse
from collector.central.points_import import ImportReport, import_points
from collector.central.registry import Registry
from collector.clock import SystemClock
from collector.commands.counted import counted
from collector.commands.groups import Group
from collector.commands.input import contents
from collector.commands.output import Cell, Format, format_option, show
from collector.config import load_central

config_option = click.option(
    "--config", "config_file", required=True, type=click.Path(path_type=Path), help="central.yaml"
)


@click.group(cls=Group)
def registry() -> None:
    """Points, meters and accounts."""


@registry.command("import")
@click.argument("points", type=click.Path(path_type=Path))
@config_option
@click.option("--dry-run", is_flag=True, help="Check and say what would change; change nothing.")
def import_(points: Path, config_file: Path, dry_run: bool) -> None:
    """Bring POINTS (points.csv) into the registry: all of it, or, with every fault by line, nothing."""
    config = load_central(config_file)
    rows = parse(contents(points, MOST_BYTES), str(points), default_zone=config.time_zone, utilities=utility.known())
    with opened_engine(config) as engine:
        now = SystemClock().millis()
        report = import_points(engine, rows, str(points), now=now, who=user_name(), dry_run=dry_run)
    _say(report, dry_run)


@registry.command("list")
@config_option
@format_option
def list_(config_file: Path, form: Format) -> None:
    """Every point as it counts now, in the columns of points.csv."""
    with opened_engine(load_central(config_file)) as engine:
        show(form, HEADER, _listed(Registry(engine)))


def user_name() -> str:
    """Who runs the command, for the log: the login name, and who became root by sudo."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user number without a name, as in a container; OSError from 3.13 on
        name = f"uid {os.getuid()}"
    sudo = os.environ.get("SUDO_USER")
    return f"{name} ({sudo} by sudo)" if sudo and sudo != name else name


def _say(report: ImportReport, dry_run: bool) -> None:
    for warning in report.warnings:
        click.echo(f"look at this: {warning}", err=True)
    for change in report.changes:
        click.echo(f"line {change.line}: {change.point}: {change.column}: {change.before!r} -> {change.after!r}")
    changed = len({change.point for change in report.changes})
    done = "would be " if dry_run else ""
    click.echo(
        f"{counted(len(report.new), 'point')} {done}added, {changed} {done}changed, {report.unchanged} as they were",
        err=True,
    )


def _listed(known: Registry) -> Iterator[list[Cell]]:
    segments = known.segments()
    for point in known.points(SystemClock().millis()):
        where = (point.point, point.account, point.utility, point.address, point.flat)
        device: tuple[str, ...] = ("", "", "", "")
        for item in segments.get(point.point, ()):
            if item.to_ms is None:
                device = (item.meter, item.serial_number, item.profile, item.gateway)
        yield [*where, point.tariffs, point.receipt_order, *device, point.ratio, point.time_zone]
