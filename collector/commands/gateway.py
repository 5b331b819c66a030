"""`meterline gateway`: the edge daemon, and what is asked of it while it runs."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import click

from collector import control
from collector.clock import SystemClock
from collector.commands.counted import counted
from collector.commands.enroll import enroll
from collector.commands.groups import Group
from collector.commands.moment import instant
from collector.config import load_gateway, spool_of
from collector.config_fields import milliseconds
from collector.exits import UsageFault

CONFIG = click.option(
    "--config", "file", type=click.Path(dir_okay=False, path_type=Path), required=True, help="gateway.yaml"
)


@click.group(cls=Group, help="The edge daemon and its spool.")
def gateway() -> None:
    """The group."""


gateway.add_command(enroll)


@gateway.command(help="Read the meters and hand their readings to the centre, until SIGTERM or SIGINT.")
@CONFIG
@click.option("--verbose", is_flag=True, help="Log more.")
@click.option("--log-format", type=click.Choice(["plain", "json"]), help="In the place of `log` in gateway.yaml.")
def run(file: Path, verbose: bool, log_format: str | None) -> None:
    """Ends with 0 after a clean stop."""
    from collector import daemon, log
    from collector.edge import gateway as edge

    config = load_gateway(file)
    log.to_stderr(
        "json" if (log_format or config.log) == "json" else "plain", logging.DEBUG if verbose else logging.INFO
    )
    for warning in config.warnings:
        logging.getLogger("collector").warning("%s", warning)
    edge.run(config, SystemClock(), daemon.until_signal(), reread=lambda: load_gateway(file))


@gateway.command(help="Send batches again: those that the centre refused for good, and with --since receipted ones.")
@CONFIG
@click.option(
    "--since", metavar="T", help="After a restore of the centre: each batch made then or later (date or time)."
)
def resend(file: Path, since: str | None) -> None:
    """Works beside the running daemon and without one."""
    config = load_gateway(file)
    after = None if since is None else instant(since, "--since", config.time_zone)
    try:
        count = control.resend(config.spool.path, after)
    except control.NotRunning:
        from collector.spool import resend_beside

        count = resend_beside(config.spool.path, after)
    click.echo(f"{counted(count, 'batch')} will be sent again")


@gateway.command(help="Let go of one line, so that another command can have its port. Ctrl-C gives it back.")
@CONFIG
@click.option("--line", required=True, help="Its name in gateway.yaml.")
@click.option("--for", "lasting", default="10m", show_default=True, help="How long at the most.")
@click.option("--resume", is_flag=True, help="End a pause, whoever began it.")
def pause(file: Path, line: str, lasting: str, resume: bool) -> None:
    """Stays until the time is over. The gateway takes the port back then also when this command is gone."""
    spool = spool_of(file)
    if resume:
        text = "goes on" if control.resume(spool, line) else "is not paused"
        click.echo(f"line {line} {text}", err=True)
        return
    seconds = _seconds(lasting)
    click.echo(f"line {line}: waiting for the asking under way", err=True)
    hold = control.pause(spool, line, seconds)
    try:
        click.echo(f"line {line} is free for {lasting}; Ctrl-C gives it back", err=True)
        time.sleep(seconds)
    except KeyboardInterrupt:
        pass
    finally:
        control.resume(spool, line, hold)
        click.echo(f"line {line} goes on", err=True)


@gateway.command(help="Have the running gateway read gateway.yaml and gateway.d again: meters added, changed, ended.")
@CONFIG
def reload(file: Path) -> None:
    """What needs a new start is named."""
    found = control.reload(spool_of(file))
    for word, names in zip(("added", "changed", "ended"), found[:3], strict=True):
        if names:
            click.echo(f"{word}: {', '.join(names)}")
    if found.restart:
        click.echo(f"changed too, and counts from the next start: {', '.join(found.restart)}", err=True)


def _seconds(text: str) -> float:
    try:
        return milliseconds(text) / 1000
    except ValueError as error:
        raise UsageFault(f"--for: {error}") from None
