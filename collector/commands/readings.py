"""`meterline readings`: what the series hold, or what is in quarantine and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

import click

from collector import localtime
from collector.central.engine import open_engine
from collector.central.evidence import Quarantined, quarantined
from collector.central.registry import Registry
from collector.central.store import open_store
from collector.central.store.series import Kind, Row, SeriesStore
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
    window = Window(_moment(start, "--from"), _moment(end, "--to"))
    config = load_central(config_file)
    with ExitStack() as stack:
        engine = open_engine(config)
        stack.callback(engine.dispose)
        registry = Registry(engine)
        zones = Zones(registry.zones(), config.time_zone)
        meters = None if meter is None else [meter]
        if rejected:
            connection = stack.enter_context(engine.connect())
            widest = window.widest(zones)
            rows = quarantined(connection, meters, *widest)
            show(form, REJECTED, _rejected(row for row in rows if window.holds(row.time, zones.of(row.meter))))
            return
        if meter is not None and meter not in registry.meters([meter]):
            raise UsageFault(
                f"--meter: {meter!r} is not in the registry; `meterline registry list` shows those that are"
            )
        store = open_store(config)
        stack.callback(store.close)
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

    start: date | int | None
    end: date | int | None

    def holds(self, time: int | None, zone: str) -> bool:
        """Whether a time lies inside; what has no time does so when there are no bounds."""
        start, end = _millis(self.start, zone), _millis(self.end, zone)
        if time is None:
            return start is None and end is None
        return (start is None or start <= time) and (end is None or time < end)

    def widest(self, zones: Zones) -> tuple[int | None, int | None]:
        """The bounds that hold those of every zone."""
        names = {zones.default, *zones.known.values()}
        starts, ends = ([_millis(moment, name) for name in names] for moment in (self.start, self.end))
        return (
            None if self.start is None else min(start for start in starts if start is not None),
            None if self.end is None else max(end for end in ends if end is not None),
        )


def _moment(text: str | None, option: str) -> date | int | None:
    if text is None:
        return None
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return date.fromisoformat(text)
        return localtime.to_millis(localtime.parse_time(text))
    except ValueError as error:
        raise UsageFault(f"{option}: {error}; a date such as 2026-11-01 is possible too") from None


@lru_cache(maxsize=1024)
def _millis(moment: date | int | None, zone: str) -> int | None:
    return localtime.to_millis(localtime.midnight(moment, zone)) if isinstance(moment, date) else moment


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
