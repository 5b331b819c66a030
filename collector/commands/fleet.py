"""`meterline fleet`: who answers, since when, and which points would be missing today."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import click

from collector.central import own_status
from collector.central.engine import open_engine
from collector.central.fleet import Member
from collector.central.fleet import fleet as fleet_now
from collector.central.store import open_store
from collector.clock import SystemClock
from collector.commands.output import Cell, Format, format_option, show
from collector.commands.registry import config_option
from collector.config import load_central
from collector.localtime import rfc3339

COLUMNS = (
    "point", "account", "meter", "missing", "last_answer", "silent_since", "boundary", "drift_s",
    "gateway", "online", "online_since", "unreceipted", "refused", "evicted", "days_left", "damage",
)  # fmt: skip


@click.command()
@config_option
@format_option
def fleet(config_file: Path, form: Format) -> None:
    """Each point, its meter and its gateway: who answers, the last boundary, what is not receipted.

    `missing` names the billed registers that have no value for the last local midnight. What is wrong with the centre
    itself is told on stderr.
    """
    config = load_central(config_file)
    for text in own_status.in_words(own_status.read(config.data), SystemClock().millis()):
        click.echo(text, err=True)
    with ExitStack() as stack:
        engine = open_engine(config)
        stack.callback(engine.dispose)
        store = open_store(config)
        stack.callback(store.close)
        show(form, COLUMNS, map(_cells, fleet_now(engine, store, SystemClock().millis())))


def _cells(member: Member) -> list[Cell]:
    point = (member.point.point, member.point.account, member.meter or "", " ".join(member.missing))
    meter = (_time(member.last), _time(member.silent_since), member.boundary or "", member.drift_s)
    return [*point, *meter, member.gateway or "", *_gateway(member)]


def _gateway(member: Member) -> Iterator[Cell]:
    health = member.health
    if health is None:
        yield from ("" if member.gateway is None else "never heard", "", None, None, None, None, "")
        return
    yield from ("yes" if health.online else "no", rfc3339(health.since))
    spool = health.status.spool
    if spool is None:
        yield from (None, None, None, None, "")
        return
    days = None if spool.days_left is None else Decimal(str(round(spool.days_left, 1)))
    yield from (spool.unreceipted, spool.refused, spool.evicted, days, spool.damage or "")


def _time(millis: int | None) -> str:
    return "" if millis is None else rfc3339(millis)
