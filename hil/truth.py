"""The truth of a bench as a file: what every meter should show at each tick, and what a centre has against it. Pure.

A row is `meter,time,register,value,digit,kind`: kWh, the last digit that the meter's format has (kWh), `live` at a tick
or `frozen` at the end of a month. Meters count between two ticks, so what was read there lies between two rows.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Literal, NamedTuple, TextIO

from collector import localtime
from collector.central.store.series import Row
from drivers.strict_yaml import ConfigError
from drivers.values import kilo
from hil.bench import BenchMeter

HEADER = ("meter", "time", "register", "value", "digit", "kind")
UNKNOWN_DIGIT = 10  # Wh: meters whose readout is taken as it comes show 0.01 kWh or less
FLOAT_BITS = 22  # a float32 has 24 significant bits: two units of its last one

Key = tuple[str, str]  # meter, register


class Point(NamedTuple):
    """What a register should show at an instant: Wh, and Wh of its last digit."""

    time: int
    wh: int
    digit: int


class Verdict(NamedTuple):
    """Something that is not as it should be. `value` is the centre's, `truth` what was to be there (kWh)."""

    verdict: Literal["wrong", "missing", "late"]
    meter: str
    time: int
    register: str
    value: str
    truth: str


class Truth(NamedTuple):
    """A truth file: live points by register, oldest first, and frozen ones by their instant."""

    live: Mapping[Key, Sequence[Point]]
    frozen: Mapping[Key, Mapping[int, Point]]


# ----------------------------------------------------------------------------- written


def rows_at(meter: BenchMeter, tick: int) -> Iterator[tuple[str, ...]]:
    """The rows of a meter at a tick; with those of the month that ended then, where it freezes months."""
    truth = meter.truth
    yield from _rows(meter, tick, truth.energy(tick), "live")
    zone = localtime.zone(truth.zone)
    here = localtime.from_millis(tick).astimezone(zone)
    if truth.profile.frozen and (here.day, here.hour, here.minute, here.second) == (1, 0, 0, 0):
        yield from _rows(meter, tick, truth.energy(truth.passed(tick)), "frozen")


def _rows(meter: BenchMeter, tick: int, energy: Mapping[str, int], kind: str) -> Iterator[tuple[str, ...]]:
    registers = meter.meter.profile.registers
    for code, wh in energy.items():
        register = registers.get(code)
        digit = UNKNOWN_DIGIT if register is None else register.step
        if getattr(register, "type", "") == "f32":
            digit = max(digit, (wh >> FLOAT_BITS) + 1)
        yield meter.id, localtime.rfc3339(tick), code, kilo(wh), kilo(digit), kind


# ----------------------------------------------------------------------------- read


def read(file: TextIO, name: str) -> Truth:
    """Read a truth file; its rows are in the order of time, as `simulate` writes them. Raises ConfigError."""
    live: dict[Key, list[Point]] = {}
    frozen: dict[Key, dict[int, Point]] = {}
    rows = csv.reader(file)
    if tuple(next(rows, ())) != HEADER:
        raise ConfigError([f"{name}:1: the header {','.join(HEADER)} is wanted; this is no file of simulate --truth"])
    for row in rows:
        try:
            meter, time, register, value, digit, kind = row
            point = Point(localtime.to_millis(localtime.parse_time(time)), _wh(value), _wh(digit))
            if kind not in ("live", "frozen"):
                raise ValueError(f"kind {kind!r}")
        except (ValueError, InvalidOperation) as error:
            raise ConfigError([f"{name}:{rows.line_num}: {error}; a row is {','.join(HEADER)}"]) from None
        key = meter, register
        if kind == "frozen":
            frozen.setdefault(key, {})[point.time] = point
        else:
            points = live.setdefault(key, [])
            if points and points[-1].time >= point.time:
                raise ConfigError([f"{name}:{rows.line_num}: {time} is not after the row before it of {meter}"])
            points.append(point)
    return Truth(live, frozen)


def _wh(text: str) -> int:
    return int(Decimal(text) * 1000)


# ----------------------------------------------------------------------------- compared


def compared(truth: Truth, stored: Iterable[Row], late: int) -> Iterator[Verdict]:
    """What is wrong, missing and late (first value more than `late` ms behind its tick). `stored`: live and frozen.

    Values outside the time of the truth are passed over: nobody knows what they should be.
    """
    live: dict[Key, list[tuple[int, int]]] = {}
    frozen: dict[Key, dict[int, int]] = {}
    for meter, time, register, value, kind in stored:
        if kind == "live":
            live.setdefault((meter, register), []).append((time, int(value)))
        elif kind == "frozen":
            frozen.setdefault((meter, register), {})[time] = int(value)
    for key, points in truth.live.items():
        yield from _live(key, points, sorted(live.get(key, ())), late)
    for key, ends in truth.frozen.items():
        for time, point in ends.items():
            came = frozen.get(key, {}).get(time)
            if came is None:
                yield Verdict("missing", key[0], time, key[1], "", kilo(point.wh))
            elif abs(came - point.wh) > point.digit:
                yield Verdict("wrong", key[0], time, key[1], kilo(came), kilo(point.wh))


def _live(key: Key, points: Sequence[Point], values: Sequence[tuple[int, int]], late: int) -> Iterator[Verdict]:
    meter, register = key
    times = [point.time for point in points]
    first: dict[int, int] = {}  # tick -> its first value's time
    for time, wh in values:
        place = bisect_right(times, time) - 1
        if not 0 <= place < len(points) - 1:
            continue
        before, after = points[place], points[place + 1]
        first.setdefault(before.time, time)
        if not _between(before, wh, after):
            yield Verdict("wrong", meter, time, register, kilo(wh), f"{kilo(before.wh)} to {kilo(after.wh)}")
    for point, _ in pairwise(points):
        came = first.get(point.time)
        if came is None:
            yield Verdict("missing", meter, point.time, register, "", kilo(point.wh))
        elif came - point.time > late:
            yield Verdict("late", meter, came, register, "", kilo(point.wh))


def _between(before: Point, wh: int, after: Point) -> bool:
    low, high = before.wh - before.digit, after.wh + after.digit
    if after.wh < before.wh:  # the dial turned over
        return wh >= low or wh <= high
    return low <= wh <= high
