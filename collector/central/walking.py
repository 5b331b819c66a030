"""Who has to be visited: flats whose reading for a month will be missing when the utility's window ends, by address.

Before the edge those are the points whose meter has not answered for a day (or that have none) and for which nobody has
told a reading; after it, those whose value at the edge is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from collector.central import manual
from collector.central.case import billed, hangs_at_closing
from collector.central.closing import Books, gather, missing_rows
from collector.central.edge_value import AFTER, HOUR
from collector.central.gathering import Member
from collector.central.registry import Point, Segment
from collector.central.utility import Utility

# A meter is asked every quarter of an hour or oftener: one that was silent for a day will not answer by itself.
SILENT = 24 * HOUR


class Visit(NamedTuple):
    """A point to be visited. `last`: its meter's last answer (ms); `ends`: when the window is over (ms, None: open)."""

    utility: str
    point: Point
    segment: Segment | None
    registers: tuple[str, ...]
    last: int | None
    why: str
    ends: int | None


def walking_list(books: Books, period: str, utility: Utility, now: int, default_zone: str) -> Iterator[Visit]:
    """Visits by address and flat. Raises StoreAway."""
    gathering = gather(books, period, utility)
    members = gathering.members
    window = utility.window.of(period, utility.time_zone or default_zone) if utility.window else None
    meters = {member.point.point: _meter(member) for member in members}
    last = books.store.last([item.meter for item in meters.values() if item is not None])
    past = [member for member in members if member.closing.at + AFTER <= now]
    missing = missing_rows(books, gathering, past)
    with books.engine.connect() as connection:
        told = manual.of(connection, period, [member.point.point for member in members])
    for member in sorted(members, key=lambda item: place(item.point)):
        point, segment = member.point, meters[member.point.point]
        answer = None if segment is None or segment.meter not in last else last[segment.meter].time
        lacking = tuple(code for code in billed(point.tariffs) if code not in told.get(point.point, {}))
        if member in past:
            lacking, why = missing.get(point.point, ()), "no value at the edge"
        elif segment is None:
            why = "read by hand"
        elif answer is None or now - answer > SILENT:
            why = "the meter never answered" if answer is None else "the meter is silent"
        else:
            continue
        if lacking:
            yield Visit(utility.id, point, segment, lacking, answer, why, None if window is None else window[1])


def place(point: Point) -> tuple[list[tuple[int, str]], list[tuple[int, str]], str]:
    """Where a point stands in a walk: house 2 before house 10, flat 9 before flat 10."""
    return _natural(point.address), _natural(point.flat), point.point


def _natural(text: str) -> list[tuple[int, str]]:
    return [
        (int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in re.findall(r"[0-9]+|[^0-9]+", text)
    ]


def _meter(member: Member) -> Segment | None:
    last = member.segments[-1]
    return last if last.meter and hangs_at_closing(last, member.closing.at) else None
