"""`meterline registry`: bring points.csv into the registry, and list what is known there."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click
from sqlalchemy import Engine

from collector.central import utility
from collector.central.engine import open_engine
from collector.central.points_csv import HEADER, MOST_BYTES, parse
from collector.central.points_import import ImportReport, import_points
from collector.central.registry import Registry
from collector.clock import SystemClock
from collector.commands.output import Cell, Format, format_option, show
from collector.config import CentralConfig, load_central
from drivers.strict_yaml import ConfigError

config_option = click.option(
    "--config", "config_file", required=True, type=click.Path(path_type=Path), help="central.yaml"
)


@click.group()
def registry() -> None:
    """Points, meters and accounts."""


@registry.command("import")
@click.argument("points", type=click.Path(path_type=Path))
@config_option
@click.option("--dry-run", is_flag=True, help="Check and say what would change; change nothing.")
def import_(points: Path, config_file: Path, dry_run: bool) -> None:
    """Bring POINTS (points.csv) into the registry: all of it, or, with every fault by line, nothing."""
    config = load_central(config_file)
    rows = parse(_read(points), str(points), default_zone=config.time_zone, utilities=utility.known())
    with _opened(config) as engine:
        now = SystemClock().millis()
        report = import_points(engine, rows, str(points), now=now, who=user_name(), dry_run=dry_run)
    _say(report, dry_run)


@registry.command("list")
@config_option
@format_option
def list_(config_file: Path, form: Format) -> None:
    """Every point as it counts now, in the columns of points.csv."""
    with _opened(load_central(config_file)) as engine:
        show(form, HEADER, _listed(Registry(engine)))


@contextmanager
def _opened(config: CentralConfig) -> Iterator[Engine]:
    engine = open_engine(config)
    try:
        yield engine
    finally:
        engine.dispose()


def _read(path: Path) -> bytes:
    try:
        with closing(path.open("rb")) as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None


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
        f"{len(report.new)} points {done}added, {changed} {done}changed, {report.unchanged} as they were", err=True
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
