"""The registry: which points are billed, which meters hang there, through which gateway and profile they are read.

What is known counts from an instant on: the latest version that is not later than an instant counts there; before the
first version, the first.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy import Connection, Engine, Row, Select, func, select

from collector.central.database import among, binding, meter, point_version, registry_log, segment


class Point(NamedTuple):
    """One version of a point: where energy is billed, and to whom."""

    point: str
    valid_from: int
    account: str
    utility: str
    address: str
    flat: str
    tariffs: int
    receipt_order: int
    ratio: Decimal
    time_zone: str


class Binding(NamedTuple):
    """How a meter is read from an instant on."""

    valid_from: int
    profile: str
    gateway: str


class Meter(NamedTuple):
    """A device, its serial number, and how it was and is read (oldest first, never empty)."""

    meter: str
    serial_number: str
    bindings: tuple[Binding, ...]


class Segment(NamedTuple):
    """A meter's time at a point. `from_ms` None: since ever; `to_ms` None: still. `profile`, `gateway`: the newest.

    `initial` and `final`: OBIS code -> whole Wh from the acts that opened and closed it, or None. `ratio`: that of the
    transformers by the act that opened it, or None.
    """

    point: str
    meter: str
    serial_number: str
    profile: str
    gateway: str
    from_ms: int | None
    to_ms: int | None
    initial: Mapping[str, int] | None
    final: Mapping[str, int] | None
    ratio: Decimal | None = None


class Version(Protocol):
    """Something that counts from an instant on."""

    @property
    def valid_from(self) -> int: ...


V = TypeVar("V", bound=Version)


def in_force(history: Sequence[V], at: int) -> V:
    """The version that counts at an instant. `history`: oldest first, not empty."""
    chosen = history[0]
    for version in history[1:]:
        if version.valid_from > at:
            break
        chosen = version
    return chosen


class Registry:
    """Questions to the registry, each one look at the database. Who asks often keeps the answers for as long as
    `version` stays the same."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def version(self) -> int:
        """A number that grows with every change."""
        with self.engine.connect() as connection:
            return int(connection.execute(select(func.coalesce(func.max(registry_log.c.id), 0))).scalar_one())

    def gateways(self) -> frozenset[str]:
        """All gateways through which some meter is or was read."""
        with self.engine.connect() as connection:
            return frozenset(connection.execute(select(binding.c.gateway).distinct()).scalars())

    def meters(self, names: Collection[str] | None = None) -> dict[str, Meter]:
        """The meters of these names (None: all) that are known; sorted by name."""
        found: dict[str, Meter] = {}
        with self.engine.connect() as connection:
            for name, serial_number, *how in _bindings(connection, names):
                earlier = found[name].bindings if name in found else ()
                found[name] = Meter(name, serial_number, (*earlier, Binding(*how)))
        return found

    def histories(self) -> dict[str, tuple[Point, ...]]:
        """Every point with all its versions, oldest first; sorted by name."""
        found: dict[str, tuple[Point, ...]] = {}
        with self.engine.connect() as connection:
            for version in _versions(connection, _VERSIONS):
                found[version.point] = (*found.get(version.point, ()), version)
        return found

    def utilities(self) -> list[str]:
        """The utilities that bill or billed some point, sorted."""
        with self.engine.connect() as connection:
            return sorted(connection.execute(select(point_version.c.utility).distinct()).scalars())

    def history(self, connection: Connection, point: str) -> tuple[Point, ...]:
        """All versions of one point, oldest first; empty for one that is not known."""
        return tuple(_versions(connection, _VERSIONS.where(point_version.c.point == point)))

    def points(self, at: int, utility: str | None = None) -> list[Point]:
        """The version of each point that counts at an instant, sorted by name; of one utility if given."""
        chosen = (in_force(history, at) for history in self.histories().values())
        return [point for point in chosen if utility in (None, point.utility)]

    def segments(self) -> dict[str, tuple[Segment, ...]]:
        """point -> the meters that hung there, oldest first. A point read by hand is absent."""
        with self.engine.connect() as connection:
            rows = connection.execute(_SEGMENTS).all()
            devices = _devices(connection, None)  # after the segments: somebody may import meanwhile, meters never go
        found: dict[str, tuple[Segment, ...]] = {}
        for row in rows:
            item = _segment(row, devices)
            found[item.point] = (*found.get(item.point, ()), item)
        return found

    def segments_around(
        self, connection: Connection, point: str, names: Collection[str]
    ) -> tuple[tuple[Segment, ...], dict[str, Segment]]:
        """The segments of one point, oldest first, and the latest of each of these meters, wherever it hung."""
        here = segment.c.point == point
        rows = connection.execute(_SEGMENTS.where(here | segment.c.meter.in_(names))).all()
        devices = _devices(connection, {row.meter for row in rows})
        items = [_segment(row, devices) for row in rows]
        latest: dict[str, Segment] = {}
        for item in sorted(items, key=lambda item: (item.to_ms is None, item.to_ms or 0)):
            latest[item.meter] = item
        return tuple(item for item in items if item.point == point), latest

    def plates(self, connection: Connection, after: int) -> list[tuple[int, str, str, str]]:
        """(number, meter, serial number, profile) of each binding with a greater number, by that: they only grow."""
        query = (
            select(binding.c.id, meter.c.meter, meter.c.serial_number, binding.c.profile)
            .join_from(binding, meter, meter.c.meter == binding.c.meter)
            .where(binding.c.id > after)
            .order_by(binding.c.id)
        )
        return [(number, name, serial, profile) for number, name, serial, profile in connection.execute(query)]

    def zones(self) -> dict[str, str]:
        """meter -> the time zone of its latest point, as it is known now."""
        histories = self.histories()
        return {item.meter: histories[point][-1].time_zone for point, row in self.segments().items() for item in row}


_RATIO = Point._fields.index("ratio")
_VERSIONS = select(*(point_version.c[name] for name in Point._fields)).order_by(
    point_version.c.point, point_version.c.valid_from, point_version.c.id
)
# Where the nulls of `from_ms` ("since ever") sort differs between databases; -1 is before all instants.
_SEGMENTS = select(
    *(segment.c[name] for name in ("point", "meter", "from_ms", "to_ms", "initial", "final", "ratio"))
).order_by(segment.c.point, func.coalesce(segment.c.from_ms, -1), segment.c.id)


@lru_cache(maxsize=4096)
def _ratio(text: str) -> Decimal:
    return Decimal(text)


def _versions(connection: Connection, query: Select[Any]) -> Iterator[Point]:
    for row in connection.execute(query):
        values = list(row)  # in the order of Point's fields
        values[_RATIO] = _ratio(values[_RATIO])
        yield Point._make(values)


def _bindings(connection: Connection, names: Collection[str] | None) -> Iterator[Row[*tuple[Any, ...]]]:
    """(meter, serial number, valid from, profile, gateway) of these meters (None: all), by name, oldest first."""
    query = (
        select(meter.c.meter, meter.c.serial_number, binding.c.valid_from, binding.c.profile, binding.c.gateway)
        .join_from(meter, binding, meter.c.meter == binding.c.meter)
        .order_by(meter.c.meter, binding.c.valid_from, binding.c.id)
    )
    yield from connection.execute(query if names is None else query.where(among(connection, meter.c.meter, names)))


def _devices(connection: Connection, names: Collection[str] | None) -> dict[str, tuple[str, str, str]]:
    """meter -> serial number, and the newest profile and gateway; of these meters (None: all)."""
    return {name: (serial, profile, way) for name, serial, _, profile, way in _bindings(connection, names)}


def _segment(row: Row[*tuple[Any, ...]], devices: Mapping[str, tuple[str, str, str]]) -> Segment:
    name, device, from_ms, to_ms, initial, final, ratio = row  # in the order of _SEGMENTS
    initial, final = (None if text is None else json.loads(text) for text in (initial, final))
    ratio = None if ratio is None else _ratio(ratio)
    return Segment(name, device, *devices[device], from_ms, to_ms, initial, final, ratio)
