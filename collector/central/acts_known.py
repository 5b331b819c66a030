"""What the centre knows of the point and the meters of one act: registry, chain, bills, and what was read around it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from collector.central import database as tables
from collector.central.points_csv import brand
from collector.central.registry import Meter, Point, Registry, Segment
from collector.central.store.series import Around, SeriesStore
from collector.localtime import to_millis
from collector.model_act import Act, Device
from collector.model_act_chain import opened
from collector.model_act_grounds import billed
from collector.serials import plain_serial

# How far from an act its neighbours among the readings are looked for: two billing periods, as the close does.
WITHIN = 62 * 86_400_000
TAKEN, HELD = "taken", "held"


@dataclass(frozen=True)
class Known:
    """All that is held against one act. Empty where the centre knows nothing.

    `acts`: those of the point that were taken, by hash. `number`: the hash that has the act's number already.
    `segments`: of the point, oldest first. `places`: meter -> its latest segment anywhere. `owners`: (maker, plain
    serial number) -> the meter that it is bound to. `billed`: meters of the point in a ready row of the ledger.
    `alike`: (new name, known one) that differ in case only.
    """

    acts: Mapping[str, Act] = field(default_factory=dict)
    number: str | None = None
    history: tuple[Point, ...] = ()
    segments: tuple[Segment, ...] = ()
    meters: Mapping[str, Meter] = field(default_factory=dict)
    places: Mapping[str, Segment] = field(default_factory=dict)
    owners: Mapping[tuple[str, str], str] = field(default_factory=dict)
    billed: frozenset[str] = frozenset()
    around: Mapping[str, Mapping[str, Around]] = field(default_factory=dict)
    alike: tuple[tuple[str, str], ...] = ()


class Looker:
    """Looks things up for one act after the other. Serial numbers are read once, and then what is new."""

    def __init__(self, registry: Registry, store: SeriesStore) -> None:
        self._registry, self._store = registry, store
        self._owners: dict[tuple[str, str], str] = {}
        self._spelled: dict[str, str] = {}
        self._newest = 0

    def known(self, connection: Connection, act: Act) -> Known:
        """What is known now. Raises StoreAway."""
        names = {part.id for part in devices(act)}
        history = self._registry.history(connection, act.point)
        taken = {found.hash: found for found in _taken(connection, act.point)}
        meters = self._registry.meters(names)
        segments, places = self._registry.segments_around(connection, act.point, names)
        owners = self._serials(connection)
        alike = [(name, known) for name in names if (known := self._spelled.get(name.casefold(), name)) != name]
        if not history and act.decision.admitted:
            alike += _alike(connection, act.point)
        return Known(
            acts=taken,
            number=connection.execute(
                select(tables.act.c.hash).where(tables.act.c.number == act.number, tables.act.c.hash != act.hash)
            ).scalar(),
            history=history,
            segments=segments,
            meters=meters,
            places=places,
            owners=owners,
            billed=_billed(connection, act.point),
            alike=tuple(alike),
            around=self._around(act, read_ms(act, taken)),
        )

    def _around(self, act: Act, at: int) -> dict[str, dict[str, Around]]:
        wanted = {part.id: set(billed(part.tariffs)) for part in devices(act)} if act.decision.admitted else {}
        return self._store.around(wanted, at, WITHIN) if wanted else {}

    def _serials(self, connection: Connection) -> Mapping[tuple[str, str], str]:
        """Every meter by its plate. Who was looked up before is remembered: a meter is bound to its number for ever."""
        for number, name, serial_number, profile in self._registry.plates(connection, self._newest):
            self._owners[brand(profile), plain_serial(serial_number)] = name
            self._spelled[name.casefold()] = name
            self._newest = number
        return self._owners


def devices(act: Act) -> list[Device]:
    """The meters that an act speaks of."""
    parts = (act.meter, act.old_meter.meter if act.old_meter is not None else None)
    return [part for part in parts if part is not None]


def read_ms(act: Act, acts: Mapping[str, Act]) -> int:
    """When the readings of an act were taken: those of a correction, with the act that it corrects."""
    while act.supersedes is not None and act.supersedes in acts:
        act = acts[act.supersedes]
    return to_millis(act.instant)


def _taken(connection: Connection, point: str) -> list[Act]:
    rows = select(tables.act.c.document).where(tables.act.c.point == point, tables.act.c.state == TAKEN)
    return [opened(text.encode()) for text in connection.execute(rows).scalars()]


def _alike(connection: Connection, point: str) -> list[tuple[str, str]]:
    """The same name in another case: a look at all points, for one that is new here."""
    column = tables.point_version.c.point
    query = select(column).where(func.lower(column) == point.lower(), column != point).limit(1)
    return [(point, known) for known in connection.execute(query).scalars()]


def _billed(connection: Connection, point: str) -> frozenset[str]:
    rows = connection.execute(select(tables.ledger.c.row).where(tables.ledger.c.point == point)).scalars()
    found = map(json.loads, rows)
    return frozenset(row["meter"] for row in found if row["status"] == "ready")
