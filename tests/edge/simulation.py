"""What the tests of the schedule share: zones and instants that matter, and a line in small, of one meter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import strategies as st

from collector.edge.schedule import (
    DAY,
    HOUR,
    MINUTE,
    Memory,
    Outcome,
    Rules,
    Task,
    after,
    begin,
    due,
    next_due,
    next_tick,
)
from collector.localtime import from_millis, to_millis, zone

QUARTER = 15 * MINUTE

# Zones whose clocks change at a usual hour, at midnight, over midnight, by half an hour, by a day, and not at all.
ZONES = (
    "Europe/Moscow", "Europe/Kyiv", "Europe/Berlin", "America/Havana", "Asia/Gaza", "Asia/Beirut", "America/Asuncion",
    "America/Nuuk", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC",
)  # fmt: skip
INTERVALS = (MINUTE, 15 * MINUTE, 20 * MINUTE, 30 * MINUTE, HOUR, 7 * HOUR, 12 * HOUR, DAY)

# Around changes of clocks (Kyiv, Berlin, Havana, Gaza, Nuuk 2026; St. John's 2010, back over midnight; Apia 2011, a day
# that was not), a leap day, a year's end.
INTERESTING = [
    datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 3, 8, tzinfo=UTC),
    datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC),
    datetime(2010, 11, 7, tzinfo=UTC), datetime(2011, 12, 30, tzinfo=UTC), datetime(2028, 2, 29, tzinfo=UTC),
    datetime(2026, 12, 31, tzinfo=UTC), datetime(2026, 4, 5, tzinfo=UTC), datetime(2014, 10, 25, tzinfo=UTC),
]  # fmt: skip

instants = st.builds(
    lambda day, offset: to_millis(day) + offset, st.sampled_from(INTERESTING), st.integers(-2 * DAY, 2 * DAY)
)
zones = st.sampled_from(ZONES)
intervals = st.sampled_from(INTERVALS)
usual = st.sampled_from([interval for interval in INTERVALS if interval >= QUARTER])  # a day's askings are not so many


def at(zone_name: str, *parts: int, fold: int = 0) -> int:
    """The instant of a local wall clock time."""
    return to_millis(datetime(*parts, tzinfo=zone(zone_name), fold=fold))  # type: ignore[arg-type, misc]


def wall(instant: int, zone_name: str) -> str:
    """The local wall clock at an instant."""
    return from_millis(instant).astimezone(zone(zone_name)).strftime("%d %H:%M")


def ticks(start: int, end: int, interval: int, zone_name: str) -> list[int]:
    """All ticks after `start`, up to `end`."""
    found = []
    while (start := next_tick(start, interval, zone_name)) <= end:
        found.append(start)
    return found


# ----------------------------------------------------------------------------- a line in small


@dataclass
class Asked:
    """One asking of a simulation: what, when."""

    task: Task
    now: int


@dataclass
class Simulation:
    """A gateway with one meter: asks what is due the moment it is due. `answers(now, task)` says what comes of it."""

    rules: Rules
    now: int
    answers: Callable[[int, Task], Outcome] = field(default=lambda now, task: ok(now))
    synced: bool = True
    memory: Memory = field(init=False)
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.memory = begin(self.rules, self.now)

    def until(self, end: int, most: int = 5000) -> Simulation:
        for _ in range(most):
            while (task := due(self.rules, self.memory, self.now, synced=self.synced)) is not None:
                self.asked.append(Asked(task, self.now))
                assert len(self.asked) < most, "a storm"
                self.memory = after(self.rules, self.memory, task, self.answers(self.now, task))
                self.now += 100  # an asking takes some time
            upcoming = next_due(self.rules, self.memory, self.now, synced=self.synced)
            assert upcoming > self.now, "nothing is due, and yet there is nothing to wait for"
            if upcoming >= end:
                self.now = end
                return self
            self.now = upcoming
        raise AssertionError("a storm of wakes")

    def of(self, purpose: str) -> list[int]:
        return [asked.now for asked in self.asked if asked.task.purpose == purpose]


def ok(now: int, **more: object) -> Outcome:
    return Outcome(now, answered=True, proven=True, **more)  # type: ignore[arg-type]


def damaged(now: int) -> Outcome:
    return Outcome(now, answered=False)


def silent(now: int) -> Outcome:
    return Outcome(now, answered=False, wait=False)


MOSCOW = Rules("Europe/Moscow", QUARTER)
EDGE = at("Europe/Moscow", 2026, 11, 1)
FREEZES = Rules("Europe/Moscow", QUARTER, frozen=True)
OCTOBER = {"2026-10": {"1.8.0": 20044610}}
