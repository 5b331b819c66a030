"""`meterline fleet`: who answers, since when, and which points would be missing today."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import click

from collector.central import own_status
from collector.central.edge_value import wall
from collector.central.engine import opened_engine
from collector.central.fleet import Member
from collector.central.fleet import fleet as fleet_now
from collector.central.status import Health, behind, healths
from collector.central.store import open_store
from collector.clock import SystemClock
from collector.commands.layout import screen
from collector.commands.output import Cell, Format, format_option, show
from collector.commands.registry import config_option
from collector.config import load_central
from collector.localtime import rfc3339

COLUMNS = (
    "point", "account", "meter", "missing", "last_answer", "silent_since", "boundary", "drift_s",
    "gateway", "online", "online_since", "unreceipted", "refused", "evicted", "days_left", "damage",
)  # fmt: skip
POINTS = ("point", "meter", "missing", "last answer", "silent", "drift s")  # on a screen, under their gateway
DAY, HOUR, MINUTE = 86_400_000, 3_600_000, 60_000  # milliseconds


@click.command()
@config_option
@format_option
def fleet(config_file: Path, form: Format) -> None:
    """Each point, its meter and its gateway: who answers, the last boundary, what is not receipted.

    `missing` names the billed registers that have no value for the last local midnight. A table stands under each
    gateway, in local time. What is wrong with the centre itself is told on stderr.
    """
    config = load_central(config_file)
    now = SystemClock().millis()
    for text in own_status.in_words(own_status.read(config.data), now, config.time_zone):
        click.echo(text, err=True)
    with opened_engine(config) as engine, closing(open_store(config)) as store:
        with engine.connect() as connection:
            if text := behind(healths(connection)):
                click.echo(text, err=True)
        members = fleet_now(engine, store, now)
        if form == "table":
            _for_people(members, config.time_zone, now)
        else:
            show(form, COLUMNS, map(_cells, members))


# ----------------------------------------------------------------------------- for people


def _for_people(members: Iterable[Member], zone: str, now: int) -> None:
    """Each gateway in a sentence, its points in a table under it; those read by hand last."""
    beside: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        beside[member.gateway or ""].append(member)
    console = screen()
    for gateway, group in sorted(beside.items(), key=lambda item: (not item[0], item[0])):
        said = f"{gateway}: {in_words(group[0].health, zone)}" if gateway else "read by hand"
        console.print(said, style="bold")
        show("table", POINTS, (_shown(member, now) for member in group))
        console.print()
    everyone = [member for group in beside.values() for member in group]
    silent, missing = sum(map(_silent, everyone)), sum(bool(member.missing) for member in everyone)
    click.echo(f"points: {len(everyone)}, silent: {silent}, would be missing: {missing}", err=True)


def _silent(member: Member) -> bool:
    """Whether it has a meter that does not answer, or never did."""
    return member.meter is not None and (member.last is None or member.silent_since is not None)


def in_words(health: Health | None, zone: str) -> str:
    """How a gateway is, in the centre's local time."""
    if health is None:
        return "never heard"
    said = [f"{'online' if health.online else 'OFFLINE'} since {wall(health.since, zone)[:16]}"]
    if (spool := health.status.spool) is not None:
        said.append(f"batches: {spool.unreceipted} not receipted, {spool.refused} refused, {spool.evicted} evicted")
        if spool.days_left is not None:
            said.append(f"room for {spool.days_left:.0f} days")
        if spool.damage:
            said.append(f"DAMAGE: {spool.damage}")
    return "; ".join(said)


def _shown(member: Member, now: int) -> list[Cell]:
    last = "" if member.last is None else wall(member.last, member.point.time_zone)[:16]
    silent = "" if member.silent_since is None else _span(now - member.silent_since)
    if _silent(member) and member.last is None:
        silent = "always"
    missing = " ".join("total" if code == "1.8.0" else f"T{code[-1]}" for code in member.missing)
    return [member.point.point, member.meter or "", missing, last, silent, member.drift_s]


def _span(millis: int) -> str:
    """How long, in the largest unit that says it: `5 h`, `21 d`."""
    size, name = next((it for it in ((DAY, "d"), (HOUR, "h")) if millis >= 2 * it[0]), (MINUTE, "min"))
    return f"{millis // size} {name}"


# ----------------------------------------------------------------------------- for programs


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
