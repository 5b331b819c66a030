"""Who answers, since when the others do not, and which points would be `missing` if the month ended last midnight."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import NamedTuple

from sqlalchemy import Engine

from collector import localtime
from collector.central.case import billed
from collector.central.edge_value import AFTER, BEFORE
from collector.central.registry import Point, Registry, Segment
from collector.central.status import Health, healths
from collector.central.store.series import SeriesStore
from collector.model import MeterState

# The usual interval is 15 minutes: a meter that has been silent for longer than four of them is worth a look.
SILENT = 3_600_000


class Member(NamedTuple):
    """One point, its meter (None: read by hand) and its gateway as far as they are known. Instants in ms.

    `last`: the meter's last answer; `silent_since`: the same, when it is long ago. `boundary`: the local date of the
    last midnight reading. `missing`: billed registers without a value that could stand for the last local midnight.
    """

    point: Point
    meter: str | None
    gateway: str | None
    health: Health | None
    last: int | None
    silent_since: int | None
    boundary: str | None
    drift_s: int | None
    missing: tuple[str, ...]


def fleet(engine: Engine, store: SeriesStore, now: int) -> Iterator[Member]:
    """Every point, sorted by name. Raises StoreAway."""
    registry = Registry(engine)
    points = registry.points(now)
    current = {point: items[-1] for point, items in registry.segments().items() if items[-1].to_ms is None}
    with engine.connect() as connection:
        known = {health.gateway: health for health in healths(connection)}
    last = store.last([segment.meter for segment in current.values()])
    missing = _missing(points, current, store, now)
    for point in points:
        segment = current.get(point.point)
        if segment is None:
            yield Member(point, None, None, None, None, None, None, None, billed(point.tariffs))
            continue
        health = known.get(segment.gateway)
        state = _state(health, segment.meter)
        stored = last[segment.meter].time if segment.meter in last else None
        answer = max(filter(None, (state.last, stored)), default=None)
        silent = answer if answer is not None and now - answer > SILENT else None
        device = (segment.meter, segment.gateway, health, answer, silent, state.boundary, state.drift_s)
        yield Member(point, *device, missing[point.point])


def last_midnight(now: int, zone: str) -> int:
    """The instant at which the present local day began."""
    return localtime.to_millis(localtime.midnight(localtime.local_date(localtime.from_millis(now), zone), zone))


def _state(health: Health | None, meter: str) -> MeterState:
    meters = None if health is None else health.status.meters
    return (meters or {}).get(meter, MeterState())


def _missing(
    points: Collection[Point], current: dict[str, Segment], store: SeriesStore, now: int
) -> dict[str, tuple[str, ...]]:
    """point -> registers without a value by the rule for a month's end, were it the last local midnight."""
    by_edge: dict[int, list[tuple[Point, str]]] = defaultdict(list)
    for point in points:
        if point.point in current:
            by_edge[last_midnight(now, point.time_zone)].append((point, current[point.point].meter))
    found = {}
    for edge, members in by_edge.items():
        around = store.around({meter: billed(point.tariffs) for point, meter in members}, edge, max(AFTER, BEFORE))
        frozen = store.frozen([meter for _, meter in members], edge)
        for point, meter in members:
            live = around.get(meter, {})
            found[point.point] = tuple(
                code
                for code in billed(point.tariffs)
                if code not in frozen.get(meter, {})
                and not (
                    code in live and any(-BEFORE <= t - edge <= AFTER for t, _ in live[code].before + live[code].after)
                )
            )
    return found
