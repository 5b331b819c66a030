"""`meterline central`: the central daemon."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from collector import daemon, log
from collector.central import service
from collector.clock import SystemClock
from collector.commands.groups import Group
from collector.commands.registry import config_option
from collector.config import load_central


@click.group(cls=Group)
def central() -> None:
    """The central daemon."""


@central.command()
@config_option
@click.option("--log-format", type=click.Choice(["plain", "json"]), help="In the place of `log` in central.yaml.")
def run(config_file: Path, log_format: str | None) -> None:
    """Take in what the gateways send, until SIGTERM or Ctrl-C. A broker that is away does not end it."""
    config = load_central(config_file)
    log.to_stderr("json" if (log_format or config.log) == "json" else "plain")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it names every migration it looks at
    for warning in config.warnings:
        logging.getLogger(__name__).warning("%s", warning)
    service.run(config, SystemClock(), daemon.until_signal())
