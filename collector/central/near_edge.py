"""Gathers what was read of many meters near an edge, in bulk: series, kept snapshots, and what the ledger remembers.

Rule 1. The series say which values were accepted. A kept snapshot adds the bytes that prove one, and who agrees on a
        frozen one.
Rule 2. The ledger remembers which values proved its rows: a series that lost a month (a rebuild reaches only so far
        back) takes nothing back that was billed. The snapshots themselves are kept for ever.
Rule 3. Few questions for many meters: a near look for all, a far one for those whose neighbours lie further away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from collector import localtime
from collector.central.canonical import parsed
from collector.central.edge_value import AFTER, BEFORE, CLOCK_OFF, HOUR, Kept, Seen
from collector.central.evidence import Evidence, evidence_of, reference_of
from collector.central.ledger import Entry
from collector.central.store.series import Around, SeriesStore, TimedValue
from collector.central.utility import Edge

DAY = 24 * HOUR
# The near look finds the neighbours of meters that are asked hourly or more often, the far one those of a meter that
# was silent for two billing periods; further off, a neighbour says nothing about a value.
NEAR, FAR = 2 * HOUR, 62 * DAY
# A gateway asks for a frozen month until it has it and once more a minute later; two days hold that and a bad night.
SOON = 2 * DAY
# The boundary snapshot of the day before, which shows how far the meter's clock has gone since; it may be late.
A_DAY_BEFORE = DAY + CLOCK_OFF


class Near:
    """What is known of one meter near an edge: register -> values (live ones oldest first), when asked -> snapshot."""

    __slots__ = ("askings", "clocks", "frozen", "live")

    def __init__(self) -> None:
        self.live: dict[str, Sequence[TimedValue]] = {}
        self.frozen: dict[str, dict[int, TimedValue]] = {}
        self.askings: dict[int, Kept] = {}
        self.clocks: dict[int, tuple[str, str]] = {}

    def remember(self, code: str, proof: Mapping[str, Any]) -> None:
        """Take in what proved a ledger row."""
        if proof["method"] == "live":
            pairs = (proof["before"], [proof["time"], proof["wh"]], proof["after"])
            self._add_live(code, [TimedValue(*pair) for pair in pairs if pair is not None])
            return
        askings = self.frozen.setdefault(code, {})
        kept = {when_asked(asking) for asking in proof["askings"]}
        for time, wh in (*proof["agreed"], *proof["others"]):
            if time in kept:
                askings[time] = TimedValue(time, wh)

    def take_live(self, registers: Mapping[str, Around]) -> None:
        """Take in what the series hold around the edge."""
        for code, (before, after) in registers.items():
            self._add_live(code, [*before[::-1], *after])

    def _add_live(self, code: str, values: Sequence[TimedValue]) -> None:
        """Values, oldest first; of two of one instant the last one counts."""
        if known := self.live.get(code):
            values = sorted({value.time: value for value in (*known, *values)}.values())
        self.live[code] = values

    def take_kept(self, row: Evidence, edge: Edge) -> None:
        """Take in a kept snapshot, if it can prove something here."""
        near = edge.at - BEFORE <= row.asked <= edge.at + AFTER
        froze = edge.label is not None and '"frozen"' in row.snapshot
        tells = row.asked <= edge.at + AFTER and '"clock"' in row.snapshot
        if not near and not froze and not tells:
            return
        snapshot = parsed(row.snapshot)
        if tells and snapshot.get("clock") is not None:
            self.clocks[row.asked] = (snapshot["clock"], row.zone)
        if not near and not froze:
            return
        self.askings[row.asked] = Kept(reference_of(row), row.zone, snapshot)
        for month, values in snapshot.get("frozen", {}).items():
            if edge.label is None or _month_end(month, row.zone) != edge.at:
                continue
            for code, value in values.items():
                self.frozen.setdefault(code, {})[row.asked] = TimedValue(row.asked, value)

    def take_frozen(self, stored: Mapping[str, int], edge: Edge) -> None:
        """Take in the frozen values of the series; where nobody knows any more who asked, as one asking."""
        for code, value in stored.items():
            askings = self.frozen.setdefault(code, {})
            if all(given.value != value for given in askings.values()):
                askings.setdefault(edge.at, TimedValue(edge.at, value))

    def lacks_witness(self, stored: Mapping[str, int], codes: Collection[str]) -> bool:
        """Whether some frozen value of the series came in fewer than two of the askings known so far."""
        wanted = ((stored[code], self.frozen.get(code, {})) for code in codes if code in stored)
        return any(sum(given.value == value for given in askings.values()) < 2 for value, askings in wanted)

    @property
    def lacks_snapshot(self) -> bool:
        """Whether the ledger remembers an asking of a frozen value whose snapshot was not looked up yet."""
        return any(asked not in self.askings for askings in self.frozen.values() for asked in askings)

    def seen(self, codes: Collection[str]) -> Seen:
        """All of it, oldest first."""
        live = {code: self.live[code] for code in codes if code in self.live}
        frozen = {code: _by_time(self.frozen[code]) for code in codes if code in self.frozen}
        return Seen(live, frozen, self.askings, self.clocks)


def when_asked(asking: Mapping[str, Any]) -> int | None:
    """When a snapshot that a proof names was asked for; None for one that nobody kept."""
    # Rows of versions before this one hold a copy of the snapshot.
    named = asking["snapshot"] if isinstance(asking.get("snapshot"), dict) else asking
    return named.get("asked")


def remembered(entries: Iterable[Entry]) -> dict[tuple[int, str], Near]:
    """(edge, meter) -> what proved these ledger rows."""
    found: dict[tuple[int, str], Near] = {}
    for entry in entries:
        for segment in parsed(entry.evidence)["segments"]:
            for proof in (segment["start"], segment["end"]):
                if proof is not None and proof["method"] in ("live", "frozen"):
                    near = found.setdefault((proof["edge"], segment["meter"]), Near())
                    near.remember(entry.reading.register_, proof)
    return found


def seen_near(
    connection: Connection,
    store: SeriesStore,
    edge: Edge,
    wanted: Mapping[str, Collection[str]],
    memories: Mapping[tuple[int, str], Near],
) -> dict[str, Seen]:
    """meter -> what was read of its registers near the edge. `wanted`: meter -> its registers. Raises StoreAway."""
    nears = {meter: memories.get((edge.at, meter)) or Near() for meter in wanted}
    live = store.around(wanted, edge.at, NEAR)
    if far := {meter: wanted[meter] for meter, registers in live.items() if _lacks_neighbour(registers, edge)}:
        live.update(store.around(far, edge.at, FAR))
    for meter, registers in live.items():
        nears[meter].take_live(registers)
    _take_kept(connection, nears, edge, edge.at - A_DAY_BEFORE, edge.at + SOON)
    if edge.label is not None:
        stored = store.frozen(wanted, edge.at)
        late = {meter for meter, values in stored.items() if nears[meter].lacks_witness(values, wanted[meter])}
        late |= {meter for meter, near in nears.items() if near.lacks_snapshot}
        _take_kept(connection, {meter: nears[meter] for meter in late}, edge, edge.at + SOON, edge.at + FAR)
        for meter, values in stored.items():
            nears[meter].take_frozen(values, edge)
    return {meter: near.seen(wanted[meter]) for meter, near in nears.items()}


def _take_kept(connection: Connection, nears: Mapping[str, Near], edge: Edge, start: int, end: int) -> None:
    for row in evidence_of(connection, nears, start, end):
        nears[row.meter].take_kept(row, edge)


def _lacks_neighbour(registers: Mapping[str, Around], edge: Edge) -> bool:
    """Whether a value that may stand for the edge has no neighbour on one of its sides."""
    for before, after in registers.values():
        if after and after[0].time <= edge.at + AFTER:
            if not before or len(after) < 2:
                return True
        elif before and before[0].time >= edge.at - BEFORE and (len(before) < 2 or not after):
            return True
    return False


@lru_cache(maxsize=4096)
def _month_end(month: str, zone: str) -> int | None:
    """When a month ends in a gateway's zone; None where the zone says nothing."""
    try:
        return localtime.to_millis(localtime.month_end(month, zone))
    except ValueError:
        return None


def _by_time(values: Mapping[int, TimedValue]) -> list[TimedValue]:
    return [values[time] for time in sorted(values)]
