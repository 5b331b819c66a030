"""What is known of one point in one period, and what the close and its checks tell each other about it. Data only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Context, Decimal
from typing import Any, NamedTuple

from collector.central.edge_value import Doubt, Growth, Seen
from collector.central.registry import Point, Segment
from collector.central.utility import Edge, Utility
from collector.model import Method, RowStatus

# A dial has up to 16 digits (2^53 Wh) and a ratio up to 12: nothing is ever rounded in between.
EXACT = Context(prec=60, rounding=ROUND_DOWN)


@dataclass(frozen=True, slots=True)
class Device:
    """What a meter's profile says of it. `proven`: its serial number can be read. `summed`: its total is a sum."""

    profile: str
    digest: str
    growth: Growth
    proven: bool
    summed: bool


class Previous(NamedTuple):
    """How the ledger closed the register in the period before: the current revision."""

    period: str
    status: RowStatus
    meter: str
    end_time: int | None
    end_kwh: Decimal | None
    revision: int
    digest: str


@dataclass(frozen=True, slots=True)
class Case:
    """All that is known of one point in one period. `segments`: those that overlap it, oldest first.

    `at_opening`, `at_closing`: meter -> what was read near that edge. `previous`: register -> the ledger's row.
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


class Bound(NamedTuple):
    """A dial at one end of a segment. `units`: cut, in units of the last billed place. `proof`: for the ledger."""

    units: int | None
    time: int | None
    method: Method
    proof: Mapping[str, Any] | None
    doubts: tuple[Doubt, ...]


class Stretch(NamedTuple):
    """A register of one meter through its part of the period."""

    segment: Segment
    start: Bound
    end: Bound


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
    return None if units is None else Decimal(units).scaleb(-decimals, EXACT)
