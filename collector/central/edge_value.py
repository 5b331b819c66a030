"""What a register of one meter showed at an edge: the frozen value, else the live one, with its witness. Pure.

Rule 1. Where the meter froze a value at this edge, that value is the reading, and two askings at least a minute apart
        that agree are its witness. Until then the row is held with it. A live value does not step in: the bill would
        change when the second asking comes, and from one sound value to another.
Rule 2. Else the first accepted value at or after the edge, within an hour; else the last before it, within ten
        minutes. Its witness are the accepted values next to it: not above before it, not below after it, and both
        steps no greater than the meter can count.
Rule 3. Each register goes by itself: where an asking lacks one, that one is taken from the next asking that has it.
Rule 4. A doubt is data. It holds the row or explains it; it never changes or drops a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from collector import localtime
from collector.central.store.series import TimedValue
from collector.central.utility import Edge
from collector.model import Level
from drivers.values import kilo

UNCHECKED = "no-checksum"  # in a snapshot's `quality`: nothing in its bytes would have shown damage

SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
AFTER, BEFORE = 60 * MINUTE, 10 * MINUTE  # contract, Month close: how far a live value may lie from its edge
NEAR = 60 * SECOND  # contract, Month close: further away is quality 1.9
APART = MINUTE  # contract, Month close: two askings of a frozen value at least a minute apart
# Contract, Frozen: a meter's clock may be an hour off when it freezes, and still the month gets its label.
CLOCK_OFF = HOUR
# What a meter sends may be up to a minute old (it refreshes its registers in steps), at either end of a step.
STALE = MINUTE

VALID, CLOCK, SUSPECT = "0.1", "1.9", "5.258"  # quality codes of IEC 61968-9, without the origin


class Doubt(NamedTuple):
    """What is to be said of a value: the check, its level and quality code, the instant it is about, a sentence."""

    check: str
    level: Level
    quality: str
    time: int
    text: str


class Growth(NamedTuple):
    """How far a meter's registers can move. `watt`: at most. `last_digit`: OBIS code -> Wh of the last digit sent.

    `modulus`: Wh after which the dial begins again from 0, where that is known.
    """

    watt: int
    last_digit: Mapping[str, int]
    modulus: int | None = None

    def ahead(self, earlier: int, later: int) -> int:
        """How far a dial (Wh) has come. A lower one has turned over only if it was past nine tenths of its way."""
        if later < earlier and self.modulus is not None and 10 * earlier >= 9 * self.modulus:
            return later + self.modulus - earlier
        return later - earlier

    def most(self, code: str, earlier: TimedValue, later: TimedValue) -> int:
        """The greatest step (Wh) that a register can make between two askings."""
        # A float32 has 24 significant bits, so it moves by up to 2^-23 of its value at a time; twice that for two ends.
        digit = max(self.last_digit.get(code, 1), later.value >> 22)
        return self.watt * (later.time - earlier.time + STALE) // HOUR + digit


class Kept(NamedTuple):
    """A kept snapshot, parsed, and the gateway's zone. `reference`: how the ledger names it.

    A reference says in which batch (`sha256`) and where in it the snapshot came, when it was asked for, and the SHA-256
    of its text (`snapshot`): who has that can find it and see that it is the one.
    """

    reference: Mapping[str, Any]
    zone: str
    snapshot: Mapping[str, Any]


class Seen(NamedTuple):
    """What is known of a meter near an edge, register -> values, oldest first. `frozen`: the askings that gave them.

    `askings`: when asked -> the snapshot that is kept. `clocks`: when asked -> what the meter's clock said and the
    gateway's zone, also of the day before.
    """

    live: Mapping[str, Sequence[TimedValue]] = MappingProxyType({})
    frozen: Mapping[str, Sequence[TimedValue]] = MappingProxyType({})
    askings: Mapping[int, Kept] = MappingProxyType({})
    clocks: Mapping[int, tuple[str, str]] = MappingProxyType({})


NOTHING_SEEN = Seen()


class EdgeValue(NamedTuple):
    """A register at an edge. `time`: the edge of a frozen value, the asking of a live one. `proof`: for the ledger."""

    method: Literal["frozen", "live"]
    time: int
    wh: int
    proof: Mapping[str, Any]
    doubts: tuple[Doubt, ...]


class Dial(NamedTuple):
    """A register of the meter at a point. `start`, `end`: when the meter hung there (None: since ever, or still).

    `initial`: what the act that hung it says of the register. `zone`: for times in sentences.
    """

    meter: str
    code: str
    growth: Growth
    zone: str
    start: int | None = None
    end: int | None = None
    initial: int | None = None

    def most(self, earlier: TimedValue, later: TimedValue) -> int:
        """The greatest step (Wh) that it can make between two askings."""
        return self.growth.most(self.code, earlier, later)


def value_at(edge: Edge, dial: Dial, seen: Seen) -> EdgeValue | None:
    """The value of a register at an edge, or None where nothing was read."""
    if edge.label is not None and (askings := seen.frozen.get(dial.code)):
        return _frozen(edge, dial, seen, askings)
    return _live(edge, dial, seen)


def wall(millis: int, zone: str) -> str:
    """`2026-11-01 00:00:02`: local wall time, for sentences."""
    return f"{localtime.from_millis(millis).astimezone(localtime.zone(zone)):%Y-%m-%d %H:%M:%S}"


# ----------------------------------------------------------------------------- frozen


def _frozen(edge: Edge, dial: Dial, seen: Seen, askings: Sequence[TimedValue]) -> EdgeValue:
    times: dict[int, list[int]] = {}
    for asking in askings:
        times.setdefault(asking.value, []).append(asking.time)
    pairs = {wh: pair for wh, asked in times.items() if (pair := _pair(asked)) is not None}
    # The first value that two askings agree on; while there is none, the first value.
    wh = min(pairs, key=lambda value: pairs[value][1], default=askings[0].value)
    named = f"the meter's frozen value of {edge.label}, {kilo(wh)} kWh,"
    doubts: list[Doubt] = []
    if wh not in pairs:
        text = f"{named} came in one asking only; another one, a minute later, has to agree"
        doubts.append(Doubt("unconfirmed", "hold", SUSPECT, edge.at, text))
    if others := [other for other in times if other != wh]:
        level: Level = "hold" if wh not in pairs or any(other in pairs for other in others) else "warn"
        shown = ", ".join(f"{kilo(other)} kWh at {wall(times[other][0], dial.zone)}" for other in others)
        text = f"{named} changed: other askings gave {shown}"
        doubts.append(Doubt("frozen-changed", level, SUSPECT, times[others[0]][0], text))
    if _without_checksum(seen.askings[at] for at in times[wh] if at in seen.askings):
        doubts.append(_unchecked(named, edge.at))
    if (beside := _beside_live(edge, dial, seen, wh)) is not None:
        shown = f"{kilo(beside.value)} kWh at {wall(beside.time, dial.zone)}"
        doubts.append(Doubt("frozen-live", "hold", SUSPECT, edge.at, f"{named} does not fit the register: {shown}"))
    agreed = [[time, wh] for time in pairs.get(wh, times[wh][:1])]
    differing = [[times[other][0], other] for other in others]
    proof = {
        "method": "frozen",
        "edge": edge.at,
        "month": edge.label,
        "wh": wh,
        "agreed": agreed,
        "others": differing,
        "askings": [seen.askings[time].reference for time, _ in (*agreed, *differing) if time in seen.askings],
    }
    return EdgeValue("frozen", edge.at, wh, proof, tuple(doubts))


def _without_checksum(askings: Iterable[Kept]) -> bool:
    """Whether one of these askings had no checksum."""
    return any(UNCHECKED in kept.snapshot.get("quality", ()) for kept in askings)


def _unchecked(named: str, time: int) -> Doubt:
    """The doubt of such a value: two that are damaged alike, or a neighbour, prove too little."""
    text = f"{named} came without a checksum, so that damage would not show; compare it with the meter's display"
    return Doubt(UNCHECKED, "hold", SUSPECT, time, text)


def _pair(asked: Sequence[int]) -> tuple[int, int] | None:
    """The first asking and the first one far enough behind it."""
    return next(((asked[0], later) for later in asked if later - asked[0] >= APART), None)


def _beside_live(edge: Edge, dial: Dial, seen: Seen, wh: int) -> TimedValue | None:
    """The live value beside which a frozen one cannot stand, if any; the meter may have frozen it an hour off."""
    live = seen.live.get(dial.code, ())
    before = next((value for value in reversed(live) if value.time < edge.at), None)
    after = next((value for value in live if value.time >= edge.at), None)
    own = TimedValue(edge.at, wh)
    slack = dial.growth.watt * CLOCK_OFF // HOUR
    for neighbour, first, second in ((before, before, own), (after, own, after)):
        if neighbour is None or first is None or second is None:
            continue
        low, high = -slack, dial.most(first, second) + slack
        steps = (second.value - first.value, dial.growth.ahead(first.value, second.value))
        if not any(low <= step <= high for step in steps):
            return neighbour
    return None


# ----------------------------------------------------------------------------- live


def _live(edge: Edge, dial: Dial, seen: Seen) -> EdgeValue | None:
    values = seen.live.get(dial.code, ())
    place = _place(edge, dial, values)
    if place is None:
        return None
    own = values[place]
    earlier = values[place - 1] if place else _initial(dial)
    later = values[place + 1] if place + 1 < len(values) else None
    doubts = []
    if (why := _unwitnessed(dial, earlier, own, later)) is not None:
        text = f"{kilo(own.value)} kWh, read at {wall(own.time, dial.zone)}, {why}"
        doubts.append(Doubt("unconfirmed", "hold", SUSPECT, own.time, text))
    kept = seen.askings.get(own.time)
    # An interval snapshot is not kept: what the meter's kept ones near the edge say holds for it too.
    if _without_checksum(seen.askings.values() if kept is None else (kept,)):
        doubts.append(_unchecked(f"{kilo(own.value)} kWh, read at {wall(own.time, dial.zone)},", own.time))
    other = None if kept is None else kept.snapshot.get("registers", {}).get(dial.code)
    if other is not None and other != own.value:
        text = f"two snapshots of {wall(own.time, dial.zone)} differ: {kilo(own.value)} kWh and {kilo(other)} kWh"
        doubts.append(Doubt("conflict", "hold", SUSPECT, own.time, text))
    if abs(own.time - edge.at) > NEAR:
        where = "after" if own.time > edge.at else "before"
        text = f"read {_duration(abs(own.time - edge.at))} {where} the edge at {wall(edge.at, dial.zone)}"
        doubts.append(Doubt("off-edge", "warn", CLOCK, own.time, text))
    proof = {
        "method": "live",
        "edge": edge.at,
        "time": own.time,
        "wh": own.value,
        "before": None if earlier is None else list(earlier),
        "after": None if later is None else list(later),
        "askings": [kept.reference if kept is not None and other == own.value else _stored(dial, own)],
    }
    return EdgeValue("live", own.time, own.value, proof, tuple(doubts))


def _place(edge: Edge, dial: Dial, values: Sequence[TimedValue]) -> int | None:
    """Which of the values stands for the edge."""
    last = None
    for place, (time, _) in enumerate(values):
        if (dial.start is not None and time < dial.start) or (dial.end is not None and time > dial.end):
            continue
        if edge.at <= time <= edge.at + AFTER:
            return place
        if edge.at - BEFORE <= time < edge.at:
            last = place
    return last


def _initial(dial: Dial) -> TimedValue | None:
    """What the act says of a meter that nobody read before: a technician's reading is as good a neighbour."""
    return None if dial.start is None or dial.initial is None else TimedValue(dial.start, dial.initial)


def _unwitnessed(dial: Dial, earlier: TimedValue | None, own: TimedValue, later: TimedValue | None) -> str | None:
    """Why the values next to it do not confirm a live value; None when they do."""
    if later is None:
        return "has no accepted value after it yet that confirms it"
    if earlier is None:
        return "has no accepted value before it that confirms it"
    for first, second, beside in ((earlier, own, earlier), (own, later, later)):
        step = dial.growth.ahead(first.value, second.value)
        if not 0 <= step <= (most := dial.growth.most(dial.code, first, second)):
            shown = f"does not fit {kilo(beside.value)} kWh at {wall(beside.time, dial.zone)}"
            if step < 0:
                return f"{shown}: a register never falls"
            return f"{shown}: the meter counts at most {kilo(most)} kWh in that time"
    return None


def _stored(dial: Dial, own: TimedValue) -> Mapping[str, Any]:
    """What proves a value of an interval snapshot, which nobody keeps: what the series hold."""
    return {"series": {"kind": "live", "meter": dial.meter, "time": own.time, "registers": {dial.code: own.value}}}


def _duration(millis: int) -> str:
    minutes, seconds = divmod(millis // SECOND, 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
