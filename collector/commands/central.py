"""`meterline central`: the central daemon."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path

import click

from collector.central import service
from collector.clock import SystemClock
from collector.commands.registry import config_option
from collector.config import load_central


@click.group()
def central() -> None:
    """The central daemon."""


@central.command()
@config_option
def run(config_file: Path) -> None:
    """Take in what the gateways send, until SIGTERM or Ctrl-C. A broker that is away does not end it."""
    config = load_central(config_file)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it names every migration it looks at
    for warning in config.warnings:
        logging.getLogger(__name__).warning("%s", warning)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    service.run(config, SystemClock(), stop)
