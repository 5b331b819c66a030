"""Gathers the cases of a month close: which points a utility bills in a period, and what is known of some thousand.

Rule 1. A point belongs to the utility that its version at the edge names (to the old one where neither's edge names
        it itself), and in a closed period to the one that billed it: nobody is billed twice for a month, or for none,
        because a point changed hands.
Rule 2. Registry and profiles are looked at once, readings in bulk: a few questions a chunk, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import Connection

from collector import localtime
from collector.central import decisions, ledger, manual
from collector.central import utility as utilities
from collector.central.case import (
    BY_HAND,
    Case,
    Decision,
    Entered,
    Previous,
    billed,
    hangs_at_closing,
    hangs_at_opening,
    overlapping,
)
from collector.central.device import device_of
from collector.central.edge_value import AFTER, BEFORE, Seen
from collector.central.evidence import quarantined
from collector.central.ledger import Entry
from collector.central.near_edge import remembered, seen_near
from collector.central.registry import Point, Registry, Segment, in_force
from collector.central.store.series import SeriesStore
from collector.central.utility import Edge, Utility
from drivers import profile as profiles
from drivers.profile import Profile

_EVER = 1 << 62

LoadProfile = Callable[[str], Profile]
_Wanted = dict[Edge, dict[str, set[str]]]  # edge -> meter -> registers


# How the checks at the door begin their reason for an answer that was another meter's (collector.central.validate).
_STRANGERS = ("other serial number", "stranger")


class Member(NamedTuple):
    """A point in a period: its version at the edge, the edges, and the meters that hung there meanwhile.

    `was`: its version at the opening. `gone`: meters that were taken down meanwhile and hang nowhere else.
    """

    point: Point
    opening: Edge
    closing: Edge
    segments: tuple[Segment, ...]
    was: Point
    gone: tuple[str, ...]


class _Known(NamedTuple):
    """What is known of the points of a chunk, each by point, and what was read, by edge and meter."""

    earlier: Mapping[str, Mapping[str, Previous]]
    seen: Mapping[Edge, Mapping[str, Seen]]
    entered_before: Mapping[str, Mapping[str, Entered]]
    entered: Mapping[str, Mapping[str, Entered]]
    decided: Mapping[str, Mapping[str, Decision]]
    strangers: Mapping[str, list[tuple[int, str]]]


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
        names = {item.profile for member in self.members for item in member.segments if item.meter}
        self._devices = {name: device_of(load_profile(name)) for name in names} | {BY_HAND.profile: BY_HAND}

    def cases(
        self, connection: Connection, members: Sequence[Member], stored: Mapping[str, Mapping[str, Entry]]
    ) -> list[Case]:
        """The cases of these members. `stored`: point -> register -> the ledger's row of this period."""
        points = [member.point.point for member in members]
        earlier = ledger.previous(connection, self._before, points)
        memories = remembered(entry for rows in stored.values() for entry in rows.values())
        wanted = self._wanted(members, earlier)
        known = _Known(
            earlier=earlier,
            seen={edge: seen_near(connection, self._store, edge, meters, memories) for edge, meters in wanted.items()},
            entered_before=manual.of(connection, self._before, points),
            entered=manual.of(connection, self.period, points),
            decided=decisions.of(connection, self.period, points),
            strangers=_strangers(connection, members),
        )
        return [self._case(member, known) for member in members]

    def _case(self, member: Member, known: _Known) -> Case:
        name, closing = member.point.point, member.closing
        strangers: dict[str, list[str]] = {}
        for meter in {item.meter for item in member.segments} & known.strangers.keys():
            near = [why for time, why in known.strangers[meter] if closing.at - BEFORE <= time <= closing.at + AFTER]
            if near:
                strangers[meter] = near
        return Case(
            period=self.period,
            utility=self.utility,
            point=member.point,
            opening=member.opening,
            closing=closing,
            segments=member.segments,
            devices={item.meter: self._devices[item.profile] for item in member.segments},
            at_opening=known.seen.get(member.opening, {}),
            at_closing=known.seen.get(closing, {}),
            previous=known.earlier.get(name, {}),
            require_act=self._require_act,
            entered_at_opening=known.entered_before.get(name, {}),
            entered_at_closing=known.entered.get(name, {}),
            decided=known.decided.get(name, {}),
            strangers=strangers,
            was=member.was,
        )

    def _wanted(self, members: Sequence[Member], earlier: Mapping[str, Mapping[str, Previous]]) -> _Wanted:
        """Which registers of which meters have to be known at which edge."""
        wanted: _Wanted = {}
        for point, opening, closing, segments, _, gone in members:
            codes = billed(point.tariffs)
            before = earlier.get(point.point, {})
            for item in segments:
                if not item.meter:
                    continue
                if hangs_at_closing(item, closing.at) or item.meter in gone:
                    wanted.setdefault(closing, {}).setdefault(item.meter, set()).update(codes)
                unbilled = [
                    code for code in codes if code not in before or before[code].status not in ("ready", "estimated")
                ]
                if unbilled and hangs_at_opening(item, opening.at):
                    wanted.setdefault(opening, {}).setdefault(item.meter, set()).update(unbilled)
        return wanted

    def _members(self, connection: Connection, registry: Registry) -> list[Member]:
        billed_by = ledger.holders(connection, self.period)
        billed_before = ledger.holders(connection, self._before)
        segments = registry.segments()
        later: dict[str, int] = {}  # meter -> the last instant at which some point has it
        for items in segments.values():
            for item in items:
                until = _EVER if item.to_ms is None else item.to_ms
                later[item.meter] = max(later.get(item.meter, 0), until)
        found = []
        for name, history in registry.histories().items():
            # The zone says where the edge is, the edge says which version counts, and that one has the last word.
            zone = history[-1].time_zone
            zone = in_force(history, self.utility.edge_of(self.period, zone).at - 1).time_zone
            closing = self.utility.edge_of(self.period, zone)
            point = self._version(history, closing, zone)
            if billed_by.get(name, point.utility) != self.utility.id:
                continue
            hung = segments.get(name, ())
            if name not in billed_by and hung and hung[0].from_ms is not None and hung[0].from_ms >= closing.at:
                continue  # the act that opens its billing was made later: there is nothing to bill, and nothing missing
            opening = self._other(billed_before.get(name)).edge_of(self._before, zone)
            between = overlapping(hung, opening.at, closing.at) or (_by_hand(name),)
            gone = tuple(item.meter for item in between if item.to_ms is not None and later[item.meter] == item.to_ms)
            found.append(Member(point, opening, closing, between, in_force(history, opening.at), gone))
        return sorted(found, key=lambda member: (member.point.account, member.point.receipt_order, member.point.point))

    def _version(self, history: Sequence[Point], closing: Edge, zone: str) -> Point:
        """The point as it counts at the edge.

        One that has gone by then to a utility whose own edge had passed before is still the old one's this month: else
        it would be nobody's, and what was used until the new one's edge would never be billed.
        """
        point = in_force(history, closing.at - 1)
        if point.utility == self.utility.id:
            return point
        other = _known(point.utility)
        if other is None:
            return point
        before = in_force(history, other.edge_of(self.period, zone).at - 1)
        return before if before.utility == self.utility.id else point

    def _other(self, name: str | None) -> Utility:
        """The utility that billed a point the month before, whose edge the month then begins at."""
        return self.utility if name in (None, self.utility.id) else utilities.load(str(name))


@lru_cache(maxsize=256)
def _known(name: str) -> Utility | None:
    """A utility of which some point names the id; None where its profile is gone, which is its own months' trouble."""
    return utilities.load(name) if name in utilities.known() else None


def _by_hand(point: str) -> Segment:
    """What stands for the meter of a point at which none hangs that we know of."""
    return Segment(point, "", "", BY_HAND.profile, "", None, None, None, None)


def _strangers(connection: Connection, members: Sequence[Member]) -> dict[str, list[tuple[int, str]]]:
    """meter -> when another one answered in its place near an edge of these members, and the reason."""
    meters = {item.meter for member in members for item in member.segments if item.meter}
    edges = [member.closing.at for member in members]
    found: dict[str, list[tuple[int, str]]] = {}
    for row in quarantined(connection, meters, min(edges) - BEFORE, max(edges) + AFTER + 1):
        reasons = row.reason.split("; ")
        if row.time is not None and any(reason.startswith(_STRANGERS) for reason in reasons):
            found.setdefault(row.meter, []).append((row.time, row.reason))
    return found
