"""What is known of one point in one period, and what the close and its checks tell each other about it. Data only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Context, Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from collector.central.edge_value import HOUR, MINUTE, Doubt, Growth, Seen
from collector.central.estimation import NO_MONTHS, PastMonths
from collector.central.registry import Point, Segment
from collector.central.utility import Edge, Utility
from collector.model import Method, RowStatus

UNIT = (1000, 100, 10, 1)  # Wh in a unit of the last billed place, by decimals of a kWh

# A dial has up to 16 digits (2^53 Wh) and a ratio up to 12: nothing is ever rounded in between.
EXACT = Context(prec=60, rounding=ROUND_DOWN)


@dataclass(frozen=True, slots=True)
class Device:
    """What a meter's profile says of it. `proven`: its serial number can be read. `summed`: its total is a sum.

    `tariffs`: the codes of its import tariffs.
    """

    profile: str
    digest: str
    growth: Growth
    proven: bool
    summed: bool
    tariffs: tuple[str, ...] = ()


# A point that is read by hand: nothing is known but what a house connection carries (3 x 100 A at 253 V).
BY_HAND = Device("", "", Growth(3 * 253 * 100, {}), proven=True, summed=False)


class Sent(NamedTuple):
    """A number that the utility was sent, for which period and of which meter."""

    period: str
    kwh: Decimal
    meter: str


class Previous(NamedTuple):
    """How the ledger closed the register in the period before: the current revision.

    `months`: what the last thirteen months were billed with, this one included. `rejected`: a person took its value
    back, so that nothing begins with it. `sent`: the last number that was billed, then or before.
    """

    period: str
    status: RowStatus
    meter: str
    end_time: int | None
    end_kwh: Decimal | None
    revision: int
    digest: str
    months: PastMonths = NO_MONTHS
    rejected: bool = False
    sent: Sent | None = None


class Entered(NamedTuple):
    """A reading by hand that counts: the newest of its register and period. `earlier`: Wh of those that it replaced.

    `taken`: when it was told (ms); `source`: by phone, or file and line; `at` and `who`: when and by whom entered.
    """

    period: str
    point: str
    register: str
    meter: str
    wh: int
    taken: int
    source: str
    reason: str
    at: int
    who: str
    earlier: tuple[int, ...] = ()


class Decision(NamedTuple):
    """What a person decided about a row, and about which state of it (`subject`). `earlier`: newest first."""

    period: str
    point: str
    register: str
    verdict: Literal["accept", "reject"]
    subject: str
    reason: str
    at: int
    who: str
    earlier: tuple[Decision, ...] = ()

    def about(self, subject: str) -> Decision | None:
        """The newest decision about this state."""
        return next((item for item in (self, *self.earlier) if item.subject == subject), None)


class Case(NamedTuple):
    """All that is known of one point in one period. `segments`: those that overlap it, oldest first.

    `at_opening`, `at_closing`: meter -> what was read near that edge. `previous`: register -> the ledger's row.
    `entered_at_opening`, `entered_at_closing`: register -> the reading by hand. `decided`: register -> the decision.
    `strangers`: meter -> why answers near the closing edge are in quarantine. `was`: the point as of the opening.
    """

    period: str
    utility: Utility
    point: Point
    opening: Edge
    closing: Edge
    segments: Sequence[Segment]
    devices: Mapping[str, Device]
    at_opening: Mapping[str, Seen]
    at_closing: Mapping[str, Seen]
    previous: Mapping[str, Previous]
    require_act: bool
    entered_at_opening: Mapping[str, Entered] = MappingProxyType({})
    entered_at_closing: Mapping[str, Entered] = MappingProxyType({})
    decided: Mapping[str, Decision] = MappingProxyType({})
    strangers: Mapping[str, Sequence[str]] = MappingProxyType({})
    was: Point | None = None


class Bound(NamedTuple):
    """A dial at one end of a segment. `units`: cut, in units of the last billed place. `proof`: for the ledger."""

    units: int | None
    time: int | None
    method: Method
    proof: Mapping[str, Any] | None
    doubts: tuple[Doubt, ...]


class Stretch(NamedTuple):
    """A register of one meter through its part of the period, in units of the last billed place. See `stretch_of`.

    `turned`: what has to be added to its end, because the dial began again from 0; else 0. `came`: how far the dial
    came; None where an end is not known. `ratio`: what is billed of it, by the transformers.
    """

    segment: Segment
    start: Bound
    end: Bound
    turned: int
    came: int | None
    ratio: Decimal


def stretch_of(case: Case, segment: Segment, start: Bound, end: Bound) -> Stretch:
    """A stretch between two ends."""
    turned = _turned(case, segment, start, end)
    came = None if start.units is None or end.units is None else end.units - start.units + turned
    return Stretch(segment, start, end, turned, came, _ratio_of(case, segment))


@lru_cache(maxsize=16)
def billed(tariffs: int) -> tuple[str, ...]:
    """The registers that are billed at a point with so many tariffs."""
    return ("1.8.0",) if tariffs == 1 else tuple(f"1.8.{tariff}" for tariff in range(1, tariffs + 1))


def overlapping(segments: Iterable[Segment], opening: int, closing: int) -> tuple[Segment, ...]:
    """The segments of which some part lies between two edges."""
    return tuple(
        item
        for item in segments
        if (item.from_ms is None or item.from_ms < closing) and (item.to_ms is None or item.to_ms > opening)
    )


def hangs_at_opening(segment: Segment, opening: int) -> bool:
    """True where the meter was there before the period began, so that it starts from a value at the edge."""
    return segment.from_ms is None or segment.from_ms < opening


def hangs_at_closing(segment: Segment, closing: int) -> bool:
    """True where the meter stays beyond the period's end, so that it ends with a value at the edge."""
    return segment.to_ms is None or segment.to_ms > closing


def kwh(units: int | None, decimals: int) -> Decimal | None:
    """A dial in units of the last billed place as kWh."""
    if units is None:
        return None
    return Decimal(units).scaleb(-decimals, EXACT) if decimals else Decimal(units)


def consumption(case: Case, stretches: Sequence[Stretch]) -> Decimal | None:
    """The sum over meters of end minus start, each times its ratio, cut towards zero; None where one is not known."""
    if not stretches:
        return None
    units, transformed = 0, Decimal(0)  # of the last billed place
    for _, _, _, _, came, ratio in stretches:
        if came is None:
            return None
        if ratio == 1:
            units += came
        else:
            transformed = EXACT.add(transformed, EXACT.multiply(Decimal(came), ratio))
    if transformed:
        units = int(EXACT.add(Decimal(units), transformed))
    return kwh(units, case.utility.decimals)


def _ratio_of(case: Case, segment: Segment) -> Decimal:
    """What a meter's kWh are multiplied by: the point's ratio, and of one that was taken down meanwhile its own."""
    if hangs_at_closing(segment, case.closing.at):
        return case.point.ratio
    if segment.ratio is not None:
        return segment.ratio
    return case.point.ratio if case.was is None else case.was.ratio


def _turned(case: Case, segment: Segment, start: Bound, end: Bound) -> int:
    """What has to be added to the end of a dial that began again from 0, in units of the last place; else 0.

    Facts of the trade: only where it had passed nine tenths of its way and the meter can have come so far; once.
    """
    if start.units is None or end.units is None or start.time is None or end.time is None or end.units >= start.units:
        return 0
    growth = case.devices[segment.meter].growth
    unit = UNIT[case.utility.decimals]
    ahead = growth.ahead(start.units * unit, end.units * unit)
    if not 0 <= ahead <= most_in(growth, start.time, end.time) + unit:
        return 0
    assert growth.modulus is not None  # else nothing is ahead
    return growth.modulus // unit


def most_in(growth: Growth, start: int, end: int) -> int:
    """The most (Wh) that a meter can count between two instants."""
    return growth.watt * max(0, end - start + 2 * MINUTE) // HOUR
