"""The thresholds of the checks at the door: those of the utility that bills where a meter hangs.

Rule 1. As of the asking, by the registry as it is known now: a meter is moved by acts, a point changes its utility.
Rule 2. A meter that hangs nowhere, and a utility whose profile is not known any more, have the usual ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Engine, Row, func, select

from collector.central import utility
from collector.central.database import among, point_version, segment
from collector.central.registry import in_force
from collector.central.thresholds import Checks
from drivers.strict_yaml import ConfigError

USUAL = Checks()
EVER = 0  # ms: before it nothing was read


class Terms(NamedTuple):
    """The thresholds that count for a meter from an instant (ms) on."""

    valid_from: int
    checks: Checks


class _Billed(NamedTuple):
    """Who bills a point from an instant (ms) on."""

    valid_from: int
    utility: str


def thresholds_of(engine: Engine, meters: Collection[str]) -> dict[str, tuple[Terms, ...]]:
    """meter -> its terms, oldest first, never empty, no two alike in a row; for meters that hang or hung at a point."""
    found: dict[str, tuple[Terms, ...]] = {}
    with engine.connect() as connection:
        rows = connection.execute(_HUNG.where(among(connection, segment.c.meter, meters)))
        for meter, hung in groupby(rows, key=lambda row: row.meter):
            found[meter] = _terms(hung)
    return found


# Where the nulls of `from_ms` ("since ever") sort differs between databases; -1 is before all instants.
_HUNG = (
    select(
        segment.c.meter, segment.c.id, segment.c.from_ms, segment.c.to_ms,
        point_version.c.valid_from, point_version.c.utility,
    )
    .join_from(segment, point_version, segment.c.point == point_version.c.point)
    .order_by(
        segment.c.meter, func.coalesce(segment.c.from_ms, -1), segment.c.id, point_version.c.valid_from,
        point_version.c.id,
    )
)  # fmt: skip


def _terms(rows: Iterable[Row[*tuple[Any, ...]]]) -> tuple[Terms, ...]:
    """What counts when, out of one meter's segments and the versions of their points, by time."""
    changes = {EVER: USUAL}  # by instant; a later word about the same one wins
    for _, versions in groupby(rows, key=lambda row: row.id):
        hung = list(versions)
        start, end = hung[0].from_ms or EVER, hung[0].to_ms
        billed = [_Billed(row.valid_from, row.utility) for row in hung]
        changes[start] = _checks(in_force(billed, start).utility)
        for version in billed:
            if start < version.valid_from and (end is None or version.valid_from < end):
                changes[version.valid_from] = _checks(version.utility)
        if end is not None:
            changes[end] = USUAL
    terms: list[Terms] = []
    for instant in sorted(changes):
        if not terms or terms[-1].checks != changes[instant]:
            terms.append(Terms(instant, changes[instant]))
    return tuple(terms)


@lru_cache(maxsize=256)
def _checks(name: str) -> Checks:
    try:
        return utility.load(name).checks
    except ConfigError:
        return USUAL
