"""`meterline scan`: lay the scan of a signed page beside its act, bound to the act's hash."""

from __future__ import annotations

from pathlib import Path

import click

from collector.acts.evidence import add_scan
from collector.acts.folder import ActFolder


@click.command(help="Lay FILES, scans of the signed page, beside the act of this NUMBER.")
@click.argument("number")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--folder", type=click.Path(path_type=Path), default=Path("acts"), show_default=True, help="Of the acts.")
def scan(number: str, files: tuple[Path, ...], folder: Path) -> None:
    place = ActFolder(folder)
    act = place.get(number)
    for file in files:
        taken = add_scan(act, file, place.beside(number))
        click.echo(f"{place.beside(number) / taken.name}: sha256 {taken.sha256}")
