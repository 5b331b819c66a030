"""The desk at which readings by hand are taken: whose account it is, what may be told of it when, and what it means.

Rule 1. One account at a time, all of its registers, in the order of its receipt. What does not fit is refused with the
        reason, in words that can be read out on the phone.
Rule 2. The window applies: a reading that is told when the utility takes none is not taken for that month.
Rule 3. The same reading again changes nothing. Another one takes its place only with a reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import Engine

from collector import localtime
from collector.central import ledger, manual
from collector.central.case import Entered, billed
from collector.central.edge_value import wall
from collector.central.engine import writing
from collector.central.gathering import LoadProfile
from collector.central.registry import Point, Registry, Segment, in_force
from collector.central.utility import Utility
from collector.serials import same_serial
from drivers import profile as profiles
from drivers.values import kilo


class Refused(ValueError):
    """A reading that is not taken. The text says why, and what would be."""


class Place(NamedTuple):
    """A register of an account: its point, the meter that hangs there now (None: read by hand), the OBIS code."""

    point: Point
    segment: Segment | None
    code: str

    @property
    def meter(self) -> str:
        """The meter's id; empty where none hangs."""
        return "" if self.segment is None else self.segment.meter


class Taken(NamedTuple):
    """Readings of one account that may be entered, and what to say of them. None of them new: they were there."""

    readings: tuple[Entered, ...]
    notices: tuple[str, ...]


class Desk:
    """What is known to whoever takes readings of one utility for one period, told at one instant (ms).

    Raises Refused where the utility takes none for the period then.
    """

    def __init__(
        self,
        engine: Engine,
        utility: Utility,
        period: str,
        told: int,
        *,
        default_zone: str,
        load_profile: LoadProfile = profiles.load,
    ) -> None:
        self.utility = utility
        self.period = period
        self._told = told
        self._load_profile = load_profile
        _check_window(utility, period, told, default_zone)
        registry = Registry(engine)
        segments = registry.segments()
        self.accounts: dict[str, list[Place]] = {}
        points = [in_force(history, told) for history in registry.histories().values()]
        for point in sorted(points, key=lambda item: (item.account, item.receipt_order, item.point)):
            if point.utility != utility.id:
                continue
            segment = next((item for item in segments.get(point.point, ()) if _hangs(item, told)), None)
            places = [Place(point, segment, code) for code in utility.in_order(billed(point.tariffs))]
            self.accounts.setdefault(point.account, []).extend(places)
        with engine.connect() as connection:
            names = [place.point.point for places in self.accounts.values() for place in places]
            self._entered = manual.of(connection, period, names)
            before = localtime.next_month(period, -1)
            self._before = ledger.previous(connection, before, names) if len(self.accounts) else {}

    def take(self, account: str, values: Sequence[str], source: str, reason: str) -> Taken:
        """Readings of all registers of an account, in the order of its receipt. Raises Refused."""
        places = self.places(account, None)
        if len(values) != len(places):
            wanted = ", ".join(f"{place.point.point} {self.utility.label(place.code)}" for place in places)
            raise Refused(f"{len(values)} readings; account {account} has {len(places)}: {wanted}")
        return self._taken(list(zip(places, values, strict=True)), source, reason)

    def take_of_meter(self, account: str, meter: str, values: Sequence[str], source: str) -> Taken:
        """Readings of one meter of an account (its serial number or id; empty: its only one). Raises Refused."""
        mine = self.places(account, meter)
        if len(values) != len(mine):
            raise Refused(f"{len(values)} readings; there are {len(mine)}: {', '.join(place.code for place in mine)}")
        return self._taken(list(zip(mine, values, strict=True)), source, "")

    def places(self, account: str, meter: str | None) -> list[Place]:
        """The registers that are told together, in that order: all of an account's receipt, or a meter's by code.

        Raises Refused for an account that is not known, and a meter that is not one of it.
        """
        places = self._places(account)
        if meter is None:
            return places
        points = {place.point.point for place in places}
        if meter:
            named = {place.point.point for place in places if _is(place, meter)}
            if not named:
                shown = ", ".join(sorted({place.segment.serial_number for place in places if place.segment})) or "none"
                raise Refused(f"meter {meter} is not at account {account}; there hang: {shown}")
            points = named
        if len(points) > 1:
            raise Refused(f"account {account} has {len(points)} meters; say which one it is, by its serial number")
        return sorted((place for place in places if place.point.point in points), key=lambda place: place.code)

    def _places(self, account: str) -> list[Place]:
        if account not in self.accounts:
            raise Refused(f"account {account!r} is not one of {self.utility.id}; it has to be exact")
        return self.accounts[account]

    def _taken(self, told: Sequence[tuple[Place, str]], source: str, reason: str) -> Taken:
        readings, notices = [], []
        for place, text in told:
            wh = self._wh(place, text)
            was = self._entered.get(place.point.point, {}).get(place.code)
            if was is not None and (was.wh, was.meter) == (wh, place.meter):
                continue
            if was is not None and not reason:
                raise Refused(
                    f"{place.point.point} {self.utility.label(place.code)} has {kilo(was.wh)} kWh already "
                    f"({was.source}, {was.who}); correct it with `meterline manual enter` and --reason"
                )
            notices += self._notices(place, wh)
            key = (self.period, place.point.point, place.code, place.meter)
            readings.append(Entered(*key, wh, self._told, source, reason if was is not None else "", 0, ""))
        return Taken(tuple(readings), tuple(notices))

    def _wh(self, place: Place, text: str) -> int:
        decimals = self.utility.decimals
        form = r"(0|[1-9][0-9]{0,11})" + (rf"(\.[0-9]{{1,{decimals}}})?" if decimals else "")
        if not re.fullmatch(form, text):
            kind = f"kWh in digits, at most {decimals} behind a point" if decimals else "whole kWh in digits"
            rest = "no zeros in front" + ("" if decimals else ", no point or comma")
            raise Refused(f"{text[:40]!r} is no reading: {kind}, {rest}")
        wh = int(Decimal(text) * 1000)
        digits_of = None if place.segment is None else self._load_profile(place.segment.profile).digits
        if digits_of is not None and wh >= 1000 * 10**digits_of:
            raise Refused(f"{text} kWh: the dial of {place.meter} has {digits_of} digits before the point")
        return wh

    def _notices(self, place: Place, wh: int) -> list[str]:
        before = self._before.get(place.point.point, {}).get(place.code)
        if before is None or before.end_kwh is None or before.meter != place.meter or wh >= before.end_kwh * 1000:
            return []
        named = f"{place.point.point} {self.utility.label(place.code)}"
        return [
            f"{named}: {kilo(wh)} kWh is below the {before.end_kwh} kWh of {before.period}; ask again, it will be held"
        ]


def enter(engine: Engine, taken: Sequence[Taken], *, now: int, who: str) -> int:
    """Keep what was taken; how many readings are new."""
    readings = [reading for item in taken for reading in item.readings]
    if readings:
        with writing(engine) as connection:
            manual.CHAINED.add(connection, readings, now=now, who=who)
    return len(readings)


def _check_window(utility: Utility, period: str, told: int, default_zone: str) -> None:
    zone = utility.time_zone or default_zone
    if utility.window is not None:
        opens, closes = utility.window.of(period, zone)
        if not opens <= told < closes:
            raise Refused(
                f"{utility.id} takes readings for {period} from {wall(opens, zone)} to {wall(closes - 1, zone)} "
                f"({zone}); this one was told at {wall(told, zone)}"
            )
        return
    opens = utility.edge_of(localtime.next_month(period, -1), zone).at
    if told < opens:
        raise Refused(
            f"{period} of {utility.id} begins at {wall(opens, zone)} ({zone}); a reading of before is another month's"
        )
    # No window says how late is too late. When the next month has ended, its own end is the nearer one.
    closes = utility.edge_of(localtime.next_month(period), zone).at
    if told >= closes:
        raise Refused(
            f"{period} of {utility.id} was followed by a month that ended at {wall(closes, zone)} ({zone}); a reading "
            f"of {wall(told, zone)} is another month's (--told says when it was told)"
        )


def _hangs(segment: Segment, at: int) -> bool:
    return (segment.from_ms is None or segment.from_ms <= at) and (segment.to_ms is None or segment.to_ms > at)


def _is(place: Place, meter: str) -> bool:
    return place.segment is not None and (
        place.segment.meter == meter or same_serial(place.segment.serial_number, meter)
    )
