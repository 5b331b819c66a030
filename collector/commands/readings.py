"""`meterline readings`: what the series hold, or what is in quarantine and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

import click

from collector import localtime
from collector.central.engine import opened_engine
from collector.central.evidence import Quarantined, quarantined
from collector.central.registry import Registry
from collector.central.store import open_store
from collector.central.store.series import Kind, Row, SeriesStore
from collector.commands.moment import Moment, millis, moment
from collector.commands.output import Cell, Format, format_option, show
from collector.commands.registry import config_option
from collector.config import load_central
from collector.exits import UsageFault
from drivers import obis
from drivers.values import kilo

READINGS = ("meter", "time", "register", "value", "unit", "kind")
REJECTED = ("gateway", "spool", "sequence", "meter", "time", "register", "value", "reason")
_ALWAYS = 1 << 62  # later than any time that is stored


@click.command()
@config_option
@click.option("--meter", help="Of this meter only.")
@click.option("--from", "start", help="From this time on: RFC 3339, or a date: local midnight of the meter's zone.")
@click.option("--to", "end", help="To just before this time.")
@click.option("--frozen", is_flag=True, help="What the meters froze at the ends of months.")
@click.option("--rejected", is_flag=True, help="What was kept and is not believed, and why.")
@format_option
def readings(
    *,
    config_file: Path,
    meter: str | None,
    start: str | None,
    end: str | None,
    frozen: bool,
    rejected: bool,
    form: Format,
) -> None:
    """What the series hold, sorted by meter, time and register."""
    if frozen and rejected:
        raise UsageFault("--frozen and --rejected: one of them at a time")
    window = Window(
        None if start is None else moment(start, "--from"),
        None if end is None else moment(end, "--to"),
    )
    config = load_central(config_file)
    with opened_engine(config) as engine:
        registry = Registry(engine)
        zones = Zones(registry.zones(), config.time_zone)
        meters = None if meter is None else [meter]
        if rejected:
            with engine.connect() as connection:
                rows = quarantined(connection, meters, *window.widest(zones))
                show(form, REJECTED, _rejected(row for row in rows if window.holds(row.time, zones.of(row.meter))))
            return
        if meter is not None and meter not in registry.meters([meter]):
            raise UsageFault(
                f"--meter: {meter!r} is not in the registry; `meterline registry list` shows those that are"
            )
        with closing(open_store(config)) as store:
            show(form, READINGS, _readings(_stored(store, meters, frozen, window, zones)))


@dataclass(frozen=True)
class Zones:
    """The time zone of each meter's point; the centre's for those that the registry does not know."""

    known: Mapping[str, str]
    default: str

    def of(self, meter: str) -> str:
        return self.known.get(meter, self.default)


@dataclass(frozen=True)
class Window:
    """From <= time < to. A date is another instant in each zone; None is no bound."""

    start: Moment | None
    end: Moment | None

    def holds(self, time: int | None, zone: str) -> bool:
        """Whether a time lies inside; what has no time does so when there are no bounds."""
        if time is None:
            return self.start is None and self.end is None
        after = self.start is None or millis(self.start, zone) <= time
        return after and (self.end is None or time < millis(self.end, zone))

    def widest(self, zones: Zones) -> tuple[int | None, int | None]:
        """The bounds that hold those of every zone."""
        names = {zones.default, *zones.known.values()}
        return (
            None if self.start is None else min(millis(self.start, name) for name in names),
            None if self.end is None else max(millis(self.end, name) for name in names),
        )


def _stored(store: SeriesStore, meters: list[str] | None, frozen: bool, window: Window, zones: Zones) -> Iterator[Row]:
    start, end = window.widest(zones)
    kinds: tuple[Kind, ...] = ("frozen",) if frozen else ("live", "quantity")
    for row in store.span(kinds, meters, start or 0, _ALWAYS if end is None else end):
        if window.holds(row.time, zones.of(row.meter)):
            yield row


def _readings(rows: Iterator[Row]) -> Iterator[list[Cell]]:
    for meter, time, register, value, kind in rows:
        number = Decimal(kilo(int(value))) if kind != "quantity" else Decimal(repr(value))
        yield [meter, localtime.rfc3339(time), register, number, _unit(register), kind]


@lru_cache(maxsize=1024)
def _unit(register: str) -> str:
    return obis.parse(register).unit


def _rejected(rows: Iterator[Quarantined]) -> Iterator[list[Cell]]:
    for row in rows:
        time = "" if row.time is None else _readable(row.time)
        yield [row.gateway, row.spool, row.sequence, row.meter, time, row.register, _value(row.value), row.reason]


def _value(text: str) -> Cell:
    """A number as one, so that the minus of a rejected value is not taken for a formula's."""
    return Decimal(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else text


def _readable(time: int) -> str:
    """A rejected time may be one that no calendar has: then the number as it came."""
    try:
        return localtime.rfc3339(time)
    except (OverflowError, ValueError):
        return str(time)
