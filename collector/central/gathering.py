"""Gathers the cases of a month close: which points a utility bills in a period, and what is known of some thousand.

Rule 1. A point belongs to the utility that its version at the edge names, and in a closed period to the one that billed
        it: nobody is billed twice for a month because a point changed hands.
Rule 2. Registry and profiles are looked at once, readings in bulk: a few questions a chunk, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil
from typing import NamedTuple

from sqlalchemy import Connection

from collector import localtime
from collector.central import ledger
from collector.central import utility as utilities
from collector.central.case import Case, Device, Previous, billed, hangs_at_closing, hangs_at_opening, overlapping
from collector.central.edge_value import Growth, Seen
from collector.central.ledger import Entry
from collector.central.near_edge import remembered, seen_near
from collector.central.registry import Point, Registry, Segment, in_force
from collector.central.store.series import SeriesStore
from collector.central.utility import Edge, Utility
from drivers import profile as profiles
from drivers.profile import Profile

# EN 50160, 4.2.2: the supply voltage is at most 230 V + 10 %.
_VOLTS = 253

LoadProfile = Callable[[str], Profile]
_Wanted = dict[Edge, dict[str, set[str]]]  # edge -> meter -> registers


class Member(NamedTuple):
    """A point in a period: its version at the edge, the edges, and the meters that hung there meanwhile."""

    point: Point
    opening: Edge
    closing: Edge
    segments: tuple[Segment, ...]


class Gathering:
    """What a close knows before it looks at readings. `members` are in the order of the files.

    Raises ConfigError for a meter profile that is not known.
    """

    def __init__(
        self,
        connection: Connection,
        registry: Registry,
        store: SeriesStore,
        utility: Utility,
        period: str,
        *,
        require_act: bool = False,
        load_profile: LoadProfile = profiles.load,
    ) -> None:
        self._store = store
        self.utility = utility
        self.period = period
        self._before = localtime.next_month(period, -1)
        self._require_act = require_act
        self.members = self._members(connection, registry)
        names = {item.profile for member in self.members for item in member.segments}
        self._devices = {name: device_of(load_profile(name)) for name in names}

    def cases(
        self, connection: Connection, members: Sequence[Member], stored: Mapping[str, Mapping[str, Entry]]
    ) -> list[Case]:
        """The cases of these members. `stored`: point -> register -> the ledger's row of this period."""
        earlier = ledger.previous(connection, self._before, [member.point.point for member in members])
        memories = remembered(entry for rows in stored.values() for entry in rows.values())
        wanted = self._wanted(members, earlier)
        seen = {edge: seen_near(connection, self._store, edge, meters, memories) for edge, meters in wanted.items()}
        return [self._case(member, earlier.get(member.point.point, {}), seen) for member in members]

    def _case(self, member: Member, earlier: Mapping[str, Previous], seen: Mapping[Edge, Mapping[str, Seen]]) -> Case:
        return Case(
            period=self.period,
            utility=self.utility,
            point=member.point,
            opening=member.opening,
            closing=member.closing,
            segments=member.segments,
            devices={item.meter: self._devices[item.profile] for item in member.segments},
            at_opening=seen.get(member.opening, {}),
            at_closing=seen.get(member.closing, {}),
            previous=earlier,
            require_act=self._require_act,
        )

    def _wanted(self, members: Sequence[Member], earlier: Mapping[str, Mapping[str, Previous]]) -> _Wanted:
        """Which registers of which meters have to be known at which edge."""
        wanted: _Wanted = {}
        for point, opening, closing, segments in members:
            codes = billed(point.tariffs)
            before = earlier.get(point.point, {})
            for item in segments:
                if hangs_at_closing(item, closing.at):
                    wanted.setdefault(closing, {}).setdefault(item.meter, set()).update(codes)
                unbilled = [code for code in codes if code not in before or before[code].status != "ready"]
                if unbilled and hangs_at_opening(item, opening.at):
                    wanted.setdefault(opening, {}).setdefault(item.meter, set()).update(unbilled)
        return wanted

    def _members(self, connection: Connection, registry: Registry) -> list[Member]:
        billed_by = ledger.holders(connection, self.period)
        billed_before = ledger.holders(connection, self._before)
        segments = registry.segments()
        found = []
        for name, history in registry.histories().items():
            # The zone says where the edge is, the edge says which version counts, and that one has the last word.
            zone = history[-1].time_zone
            zone = in_force(history, self.utility.edge_of(self.period, zone).at - 1).time_zone
            closing = self.utility.edge_of(self.period, zone)
            point = in_force(history, closing.at - 1)
            if billed_by.get(name, point.utility) != self.utility.id:
                continue
            opening = self._other(billed_before.get(name)).edge_of(self._before, zone)
            between = overlapping(segments.get(name, ()), opening.at, closing.at)
            found.append(Member(point, opening, closing, between))
        return sorted(found, key=lambda member: (member.point.account, member.point.receipt_order, member.point.point))

    def _other(self, name: str | None) -> Utility:
        """The utility that billed a point the month before, whose edge the month then begins at."""
        return self.utility if name in (None, self.utility.id) else utilities.load(str(name))


def device_of(profile: Profile) -> Device:
    """What a close has to know of a meter."""
    digits = {
        code: ceil(register.factor) if register.type[0] != "f" else 1
        for code, register in profile.registers.items()
        if code in profile.energy_codes
    }
    growth = Growth(profile.max_current * _VOLTS * profile.phases, digits)
    return Device(profile.id, profile.digest, growth, profile.serial != "none", profile.total == "sum")


def utilities_of(registry: Registry) -> list[str]:
    """The utilities that bill or billed some point, sorted."""
    histories: Iterable[tuple[Point, ...]] = registry.histories().values()
    return sorted({version.utility for history in histories for version in history})
