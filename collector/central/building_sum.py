"""The flats of a building together against the building's own meter: information for whoever looks for losses.

The building's meter is the point of an address without a flat. What differs may be stairwell lighting, a loss, theft or
a swapped account; no flat's bill depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from collector.central.edge_value import VALID
from collector.central.ledger import Entry
from collector.model import Finding

BUILDING = "building"
_LEAST = 2  # flats: with one, its meter and the building's are the same house


@dataclass(slots=True)
class _Building:
    """kWh of the flats, how many points they are and how many of them have no consumption; the building's meters."""

    flats: Decimal = Decimal(0)
    points: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    own: dict[str, Decimal | None] = field(default_factory=dict)
    account: str = ""


class BuildingSums:
    """Adds up as rows come. `percent`: by how much they may differ."""

    def __init__(self, percent: int) -> None:
        self._percent = percent
        self._buildings: dict[str, _Building] = {}

    def add(self, entry: Entry) -> None:
        """The next row."""
        if not entry.place.address:
            return
        building = self._buildings.get(entry.place.address)
        if building is None:
            building = self._buildings[entry.place.address] = _Building()
        point, used = entry.reading.point, entry.reading.consumption_kwh
        if entry.place.flat:
            building.points.add(point)
            building.flats += used or 0
            if used is None:
                building.unknown.add(point)
            return
        before = building.own.get(point, Decimal(0))
        building.own[point] = None if used is None or before is None else before + used
        building.account = entry.reading.account

    def findings(self) -> Iterator[tuple[str, Finding]]:
        """(account, finding) of each building whose flats do not add up, by address."""
        for address, building in sorted(self._buildings.items()):
            if len(building.own) != 1 or len(building.points) < _LEAST:
                continue
            ((point, own),) = building.own.items()
            if own is None or building.unknown:
                continue
            if abs(building.flats - own) * 100 > own * self._percent:
                text = (
                    f"{address}: the {len(building.points)} flats used {building.flats:f} kWh together, the building's "
                    f"meter counted {own:f} kWh; they differ by {building.flats - own:+f} kWh, more than "
                    f"{self._percent} %"
                )
                yield building.account, Finding(point, "", "", None, BUILDING, "info", VALID, text)
