"""`meterline backup` and `meterline restore`: the centre's whole state into one file, and back into an empty centre."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from collector import localtime
from collector.central.archive import Manifest
from collector.central.backup import back_up
from collector.central.restore import restore as bring_back
from collector.clock import SystemClock
from collector.commands.output import Cell, Format, format_option, show
from collector.commands.registry import config_option, user_name
from collector.config import load_central

PARTS = ("part", "rows", "bytes")


@click.command()
@config_option
@click.option("--out", "target", required=True, type=click.Path(path_type=Path), help="The new file.")
@format_option
def backup(config_file: Path, target: Path, form: Format) -> None:
    """Write the whole state into one file, also while the centre runs: spool, series, registry, ledger, emitted months.

    The file is read back before it gets its name. What InfluxDB holds is not in it; you are told what that means.
    """
    config = load_central(config_file)
    manifest = back_up(config, config_file, target, SystemClock().millis())
    show(form, PARTS, _parts(manifest))
    click.echo(f"{target}: {target.stat().st_size} bytes, read back and whole", err=True)
    for line in _said(manifest):
        click.echo(line, err=True)


@click.command()
@click.argument("archive", metavar="FILE", type=click.Path(path_type=Path))
@config_option
def restore(archive: Path, config_file: Path) -> None:
    """Bring FILE, made by `backup`, into the empty centre of central.yaml: all of it or, after any fault, nothing.

    The database may be another than the one that the backup was made of. A restore that was cut off is finished by
    running it again.
    """
    config = load_central(config_file)
    done = bring_back(config, archive, SystemClock().millis(), user_name())
    ended = "the restore that was cut off is finished" if done.finished else "restored"
    click.echo(f"{ended}: the centre as it was at {done.manifest.made}", err=True)
    click.echo("what gateways have delivered after that is not in it", err=True)
    if (done.manifest.series, config.store.influxdb) != ("embedded", None):
        click.echo(f"the series of this centre were not restored. {_reach(done.manifest)}", err=True)


def _parts(manifest: Manifest) -> Iterator[list[Cell]]:
    """The members; emitted months, which may be thousands of files, as one."""
    emitted = [item.bytes for item in manifest.files if item.name.startswith("out/")]
    for item in manifest.files:
        if not item.name.startswith("out/"):
            yield [item.name, item.rows, item.bytes]
    yield ["out", len(emitted), sum(emitted)]


def _said(manifest: Manifest) -> Iterator[str]:
    if manifest.spool is not None and manifest.spool.unsettled:
        yield f"{manifest.spool.unsettled} batches were not yet in series and database; a restored centre goes on there"
    if manifest.series == "influxdb":
        yield f"the series are in InfluxDB and not in this file. {_reach(manifest)}"


def _reach(manifest: Manifest) -> str:
    """How much of the series can be had again, and how."""
    if manifest.spool is None or manifest.spool.since is None:
        return "The spool is empty: only a backup of InfluxDB's own (`influx backup`) keeps them"
    since = localtime.rfc3339(manifest.spool.since)
    return (
        f"What came in from {since} on, `meterline store rebuild` makes anew from the spool; what is older, only a "
        "backup of InfluxDB's own (`influx backup`) keeps"
    )
