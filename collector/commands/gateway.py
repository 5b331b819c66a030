"""`meterline gateway`: the edge daemon, and what is done to its spool by hand."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path

import click

from collector.clock import SystemClock
from collector.config import load_gateway
from collector.exits import UsageFault

CONFIG = click.option(
    "--config", "file", type=click.Path(dir_okay=False, path_type=Path), required=True, help="gateway.yaml"
)

ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True}  # of a command that is not there yet


@click.group(help="The edge daemon and its spool.")
def gateway() -> None:
    """The group."""


@gateway.command(help="Read the meters and hand their readings to the centre, until SIGTERM or SIGINT.")
@CONFIG
@click.option("--verbose", is_flag=True, help="Log more.")
def run(file: Path, verbose: bool) -> None:
    """Ends with 0 after a clean stop."""
    config = load_gateway(file)
    _log(logging.DEBUG if verbose else logging.INFO)
    for warning in config.warnings:
        logging.getLogger("collector").warning("%s", warning)
    from collector.edge import gateway as daemon

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # In a thread of its own: the handler runs in the thread that waits for `stop`, maybe while that holds its lock.
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    daemon.run(config, SystemClock(), stop)


@gateway.command(help="Send the batches again that the centre refused for good; a running daemon notices by itself.")
@CONFIG
def resend(file: Path) -> None:
    """Works beside the running daemon."""
    from collector.spool import unpark_beside

    count = unpark_beside(load_gateway(file).spool.path)
    click.echo(f"{count} batches will be sent again")


@gateway.command(help="Make a new gateway's user, rule and file. (Not built yet.)", context_settings=ANYTHING)
def enroll() -> None:
    """Comes with the shipped deployment."""
    raise UsageFault("gateway enroll: not built yet")


@gateway.command(help="Let go of one line for a while. (Not built yet.)", context_settings=ANYTHING)
def pause() -> None:
    """Comes with the acts."""
    raise UsageFault("gateway pause: not built yet")


def _log(level: int) -> None:
    """Plain lines on stderr; the journal of systemd puts the time before them itself."""
    time = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(level=level, format=f"{time}%(levelname)s %(message)s")
