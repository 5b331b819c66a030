"""What is owed when: ticks and midnights of real zones, boundaries, frozen months, serial proofs, clocks that jump."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.edge.schedule import (
    DAY,
    FROZEN_MOST,
    HOUR,
    MINUTE,
    RETRY_FIRST,
    RETRY_MOST,
    WINDOW,
    Memory,
    Outcome,
    Rules,
    Task,
    after,
    begin,
    due,
    growing,
    last_midnight,
    missed,
    next_due,
    next_midnight,
    next_tick,
    stepped_back,
)
from collector.localtime import from_millis, midnight, to_millis, zone

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


# ----------------------------------------------------------------------------- the wall clock


def test_a_quarter_of_an_hour_is_asked_at_the_quarters_of_the_local_hour() -> None:
    start = at("Asia/Kathmandu", 2026, 5, 4, 10, 7, 31)  # UTC+05:45
    assert [wall(t, "Asia/Kathmandu") for t in ticks(start, start + HOUR, QUARTER, "Asia/Kathmandu")] == [
        "04 10:15", "04 10:30", "04 10:45", "04 11:00",
    ]  # fmt: skip


def test_an_instant_on_a_tick_is_followed_by_the_next_one() -> None:
    tick = at("Europe/Moscow", 2026, 5, 4, 10, 15)
    assert next_tick(tick - 1, QUARTER, "Europe/Moscow") == tick
    assert next_tick(tick, QUARTER, "Europe/Moscow") == tick + QUARTER


def test_an_interval_that_does_not_divide_a_day_begins_anew_at_midnight() -> None:
    start = at("Europe/Moscow", 2026, 5, 4)
    assert [wall(t, "Europe/Moscow") for t in ticks(start - 1, start + 30 * HOUR, 7 * HOUR, "Europe/Moscow")] == [
        "04 00:00", "04 07:00", "04 14:00", "04 21:00", "05 00:00",
    ]  # fmt: skip


def test_a_day_of_23_hours_has_no_ticks_in_the_hour_that_is_skipped() -> None:
    start = at("Europe/Kyiv", 2026, 3, 29)
    found = ticks(start - 1, next_midnight(start, "Europe/Kyiv") - 1, QUARTER, "Europe/Kyiv")
    assert len(found) == 23 * 4
    assert {b - a for a, b in pairwise(found)} == {QUARTER}
    assert not [t for t in found if wall(t, "Europe/Kyiv").startswith("29 03")]


def test_a_day_of_25_hours_has_the_ticks_of_the_hour_that_comes_twice_twice() -> None:
    start = at("Europe/Kyiv", 2026, 10, 25)
    found = ticks(start - 1, next_midnight(start, "Europe/Kyiv") - 1, QUARTER, "Europe/Kyiv")
    assert len(found) == 25 * 4
    assert [wall(t, "Europe/Kyiv") for t in found].count("25 03:30") == 2


def test_a_two_hour_interval_stays_on_even_local_hours_over_a_change() -> None:
    start = at("Europe/Berlin", 2026, 3, 29)
    assert [wall(t, "Europe/Berlin") for t in ticks(start - 1, start + 9 * HOUR, 2 * HOUR, "Europe/Berlin")] == [
        "29 00:00", "29 04:00", "29 06:00", "29 08:00", "29 10:00",
    ]  # fmt: skip


def test_a_midnight_that_is_skipped_is_the_instant_of_the_change() -> None:
    change = at("America/Havana", 2026, 3, 8, 1)  # 00:00 does not exist there
    assert last_midnight(change, "America/Havana") == change
    assert last_midnight(change - 1, "America/Havana") == change - DAY
    assert wall(change - 1, "America/Havana") == "07 23:59"


def test_a_midnight_that_comes_twice_is_the_first_of_the_two() -> None:
    first = at("America/Havana", 2026, 11, 1)
    second = at("America/Havana", 2026, 11, 1, fold=1)
    assert second == first + HOUR
    assert last_midnight(first - 1, "America/Havana") < first
    assert last_midnight(second + 5, "America/Havana") == first
    assert next_midnight(first, "America/Havana") == first + 25 * HOUR


def test_a_clock_that_goes_back_over_midnight_does_not_bring_the_boundary_again() -> None:
    first = at("America/St_Johns", 2010, 11, 7)  # a minute later it is 23:01 of the 6th again
    assert wall(first + MINUTE, "America/St_Johns") == "06 23:01"
    assert last_midnight(first + 30 * MINUTE, "America/St_Johns") == first
    assert last_midnight(first + HOUR + MINUTE, "America/St_Johns") == first
    assert next_midnight(first + 30 * MINUTE, "America/St_Johns") == at("America/St_Johns", 2010, 11, 8)


def test_a_day_that_a_zone_skips_has_no_boundary_of_its_own() -> None:
    change = at("Pacific/Apia", 2011, 12, 31)  # the 30th did not take place
    assert last_midnight(change, "Pacific/Apia") == change
    assert next_midnight(change - 1, "Pacific/Apia") == change
    assert last_midnight(change - 1, "Pacific/Apia") == change - DAY


@given(instants, zones, intervals)
def test_a_tick_is_the_first_instant_whose_wall_clock_is_a_multiple_of_the_interval(
    now: int, zone_name: str, interval: int
) -> None:
    def multiple(instant: int) -> bool:
        here = from_millis(instant).astimezone(zone(zone_name))
        since = timedelta(hours=here.hour, minutes=here.minute, seconds=here.second, microseconds=here.microsecond)
        return since % timedelta(milliseconds=interval) == timedelta(0)

    tick = next_tick(now, interval, zone_name)
    assert tick > now
    assert multiple(tick)
    whole_minutes = range(now - now % MINUTE + MINUTE, tick, MINUTE)  # all zones are whole minutes from UTC since 1972
    assert not any(multiple(instant) for instant in whole_minutes)


@given(instants, zones)
def test_midnights_are_those_of_the_calendar_and_enclose_every_instant(now: int, zone_name: str) -> None:
    before, behind = last_midnight(now, zone_name), next_midnight(now, zone_name)
    assert before <= now < behind
    today = from_millis(now).date()
    calendar = [to_millis(midnight(today + timedelta(days=days), zone_name)) for days in range(-4, 5)]
    assert before == max(instant for instant in calendar if instant <= now)
    assert behind == min(instant for instant in calendar if instant > now)


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


# ----------------------------------------------------------------------------- boundaries


@given(instants, zones, usual, st.integers(0, 7))
def test_every_local_midnight_is_asked_exactly_once_and_never_before_its_instant(
    start: int, zone_name: str, interval: int, hours: int
) -> None:
    end = start + 4 * DAY + hours * HOUR
    simulation = Simulation(Rules(zone_name, interval), start).until(end)
    first = last_midnight(start, zone_name)
    midnights = [first] if start < first + WINDOW else []
    while (first := next_midnight(first, zone_name)) < end:
        midnights.append(first)
    boundaries = [asked for asked in simulation.asked if asked.task.purpose == "boundary"]
    assert [asked.task.since for asked in boundaries] == midnights
    for asked in boundaries:
        assert asked.task.since <= asked.now < asked.task.since + WINDOW


@given(instants, zones, st.lists(st.booleans(), min_size=1, max_size=60))
def test_a_boundary_is_asked_until_it_comes_or_six_hours_have_passed(
    start: int, zone_name: str, luck: list[bool]
) -> None:
    tries = iter(luck)
    answers: dict[int, int] = {}

    def answer(now: int, task: Task) -> Outcome:
        if task.purpose == "boundary":
            if not next(tries, True):
                return damaged(now)
            answers[task.since] = answers.get(task.since, 0) + 1
        return ok(now)

    simulation = Simulation(Rules(zone_name, QUARTER), start, answer).until(start + 2 * DAY)
    assert all(count == 1 for count in answers.values())
    for asked in simulation.asked:
        if asked.task.purpose == "boundary":
            assert asked.task.since <= asked.now < asked.task.since + WINDOW


def test_a_boundary_that_never_comes_is_given_up_after_six_hours_with_growing_pauses() -> None:
    start = at("Europe/Moscow", 2026, 11, 1) - MINUTE
    rules = Rules("Europe/Moscow", 12 * HOUR)
    simulation = Simulation(rules, start, lambda now, task: damaged(now)).until(start + 11 * HOUR)
    asked = simulation.of("boundary")
    pauses = [b - a for a, b in pairwise(asked)]
    assert asked[0] == start + MINUTE
    assert pauses == sorted(pauses)
    assert pauses[0] == RETRY_FIRST
    assert pauses[-1] == RETRY_MOST
    assert asked[-1] < start + MINUTE + WINDOW <= asked[-1] + RETRY_MOST


def test_the_boundary_takes_the_place_of_the_interval_reading_of_midnight() -> None:
    edge = at("Europe/Moscow", 2026, 11, 1)
    simulation = Simulation(MOSCOW, edge - 20 * MINUTE).until(edge + 20 * MINUTE)
    assert [(asked.task.purpose, wall(asked.now, "Europe/Moscow")) for asked in simulation.asked] == [
        ("interval", "31 23:45"),
        ("boundary", "01 00:00"),
        ("interval", "01 00:15"),
    ]


def test_an_asking_that_was_put_off_over_midnight_becomes_the_boundary() -> None:
    edge = at("Europe/Moscow", 2026, 11, 1)
    memory = begin(MOSCOW, edge - 20 * MINUTE)
    assert due(MOSCOW, memory, edge - 1) == Task("interval", edge - QUARTER, tick=True, serial=True)
    task = due(MOSCOW, memory, edge)
    assert task is not None
    assert (task.purpose, task.since, task.until, task.tick) == ("boundary", edge, edge + WINDOW, True)


def test_while_a_boundary_is_owed_each_tick_asks_for_it() -> None:
    edge = at("Europe/Moscow", 2026, 11, 1)
    simulation = Simulation(MOSCOW, edge - MINUTE, lambda now, task: damaged(now)).until(edge + WINDOW)
    assert simulation.of("interval") == []
    for tick in range(edge, edge + WINDOW, QUARTER):
        assert any(tick <= now < tick + 1000 for now in simulation.of("boundary"))


def test_interval_readings_go_on_when_the_window_of_a_boundary_has_ended() -> None:
    edge = at("Europe/Moscow", 2026, 11, 1)
    simulation = Simulation(MOSCOW, edge - MINUTE, lambda now, task: damaged(now)).until(edge + WINDOW + HOUR)
    assert simulation.of("interval")[0] == edge + WINDOW


def test_a_gateway_that_starts_late_asks_for_the_boundary_within_six_hours() -> None:
    edge = at("Europe/Moscow", 2026, 11, 1)
    assert Simulation(MOSCOW, edge + WINDOW - 1).until(edge + WINDOW + HOUR).of("boundary") == [edge + WINDOW - 1]
    assert Simulation(MOSCOW, edge + WINDOW).until(edge + WINDOW + HOUR).of("boundary") == []


def test_a_gateway_that_starts_asks_its_first_interval_reading_at_the_next_tick() -> None:
    start = at("Europe/Moscow", 2026, 11, 1, 10, 7)
    assert Simulation(MOSCOW, start).until(start + HOUR).asked[0].now == at("Europe/Moscow", 2026, 11, 1, 10, 15)


def test_silence_is_not_put_off_here_since_the_budget_says_when_to_try_again() -> None:
    edge = at("Europe/Moscow", 2026, 11, 1)
    memory = begin(MOSCOW, edge - MINUTE)
    task = due(MOSCOW, memory, edge)
    assert task is not None
    memory = after(MOSCOW, memory, task, silent(edge))
    assert due(MOSCOW, memory, edge + 1) is not None
    assert next_due(MOSCOW, memory, edge + 1) == edge + 1


def test_what_was_refused_is_asked_again_once_a_day_by_the_first_asking_of_the_boundary() -> None:
    edge = at("Europe/Moscow", 2026, 11, 1)
    simulation = Simulation(MOSCOW, edge - HOUR)
    fails = iter([True, True])
    simulation.answers = lambda now, task: (
        damaged(now) if task.purpose == "boundary" and next(fails, False) else ok(now)
    )
    simulation.until(edge + 2 * DAY)
    boundaries = [asked.task.anew for asked in simulation.asked if asked.task.purpose == "boundary"]
    assert boundaries == [True, False, False, True]
    assert not any(asked.task.anew for asked in simulation.asked if asked.task.purpose != "boundary")


# ----------------------------------------------------------------------------- intervals


def test_interval_readings_that_were_missed_are_not_made_up() -> None:
    start = at("Europe/Moscow", 2026, 11, 1, 10)
    simulation = Simulation(MOSCOW, start).until(start + HOUR)
    before = len(simulation.asked)
    simulation.now += 5 * HOUR + 7 * MINUTE  # the box slept
    simulation.until(simulation.now + 10 * MINUTE)
    assert [wall(asked.now, "Europe/Moscow") for asked in simulation.asked[before:]] == ["01 16:07", "01 16:15"]


def test_a_tick_that_falls_due_while_another_is_asked_is_not_lost() -> None:
    start = at("Europe/Moscow", 2026, 11, 1, 10)
    memory = begin(MOSCOW, start)
    task = due(MOSCOW, memory, start + QUARTER + 14 * MINUTE)  # late, after a long pass
    assert task is not None
    memory = after(MOSCOW, memory, task, ok(start + QUARTER + 14 * MINUTE))
    assert memory.tick == start + 2 * QUARTER


def test_a_tick_that_nobody_asked_for_is_over_when_it_is_told_so() -> None:
    start = at("Europe/Moscow", 2026, 11, 1, 10)
    memory = begin(MOSCOW, start)
    assert missed(MOSCOW, memory, start + QUARTER - 1) == memory
    assert missed(MOSCOW, memory, start + QUARTER).tick == start + 2 * QUARTER


# ----------------------------------------------------------------------------- the serial number


def test_the_serial_number_is_read_with_each_boundary_and_once_a_day_at_least() -> None:
    start = at("Europe/Moscow", 2026, 11, 3, 10)
    simulation = Simulation(MOSCOW, start).until(start + 3 * DAY)
    proofs = [asked for asked in simulation.asked if asked.task.serial]
    assert [asked.task.purpose for asked in proofs] == ["interval", "boundary", "boundary", "boundary"]
    assert proofs[0].now == start + QUARTER


def test_when_the_boundary_did_not_come_the_next_interval_reading_proves_the_meter() -> None:
    edge = at("Europe/Moscow", 2026, 11, 3)

    def answer(now: int, task: Task) -> Outcome:
        return damaged(now) if task.purpose == "boundary" else ok(now)

    simulation = Simulation(MOSCOW, edge - HOUR, answer).until(edge + WINDOW + HOUR)
    late = [asked for asked in simulation.asked if asked.now >= edge + WINDOW]
    assert [asked.task.serial for asked in late] == [True, False, False, False]


def test_a_box_that_slept_over_the_boundary_proves_its_meters_at_the_next_interval_reading() -> None:
    simulation = Simulation(MOSCOW, EDGE - 2 * HOUR).until(EDGE - HOUR)
    simulation.now = EDGE + 8 * HOUR
    simulation.asked.clear()
    simulation.until(EDGE + 9 * HOUR)
    assert [asked.task.serial for asked in simulation.asked[:2]] == [True, False]
    assert simulation.of("boundary") == []


def test_a_meter_that_was_silent_proves_who_it_is_when_it_is_back() -> None:
    start = at("Europe/Moscow", 2026, 11, 3, 10)
    outcomes = iter([ok, ok, silent, ok, ok])
    simulation = Simulation(MOSCOW, start, lambda now, task: next(outcomes)(now)).until(start + 5 * QUARTER + 1000)
    assert [asked.task.serial for asked in simulation.asked] == [True, False, False, True, False]


def test_after_a_stranger_each_interval_reading_asks_for_the_serial_number_until_it_is_right() -> None:
    start = at("Europe/Moscow", 2026, 11, 3, 10)
    strangers = {start + 3 * QUARTER, start + 4 * QUARTER}

    def answer(now: int, task: Task) -> Outcome:
        return Outcome(now, answered=False) if now in strangers else ok(now)

    simulation = Simulation(MOSCOW, start, answer)
    simulation.until(start + 2 * QUARTER + 1000)
    simulation.memory = after(MOSCOW, simulation.memory, simulation.asked[0].task, Outcome(simulation.now, False))
    simulation.until(start + 7 * QUARTER)
    assert [asked.task.serial for asked in simulation.asked] == [True, False, True, True, True, False]


def test_a_meter_without_a_serial_number_is_never_asked_for_one() -> None:
    start = at("Europe/Moscow", 2026, 11, 3, 10)
    simulation = Simulation(Rules("Europe/Moscow", QUARTER, serial=False), start).until(start + 2 * DAY)
    assert not any(asked.task.serial for asked in simulation.asked)


# ----------------------------------------------------------------------------- frozen months

FREEZES = Rules("Europe/Moscow", QUARTER, frozen=True)
EDGE = at("Europe/Moscow", 2026, 11, 1)
OCTOBER = {"2026-10": {"1.8.0": 20044610}}


def months_from(when: int) -> Callable[[int, Task], Outcome]:
    """A meter that has October from `when` on."""
    return lambda now, task: ok(now, frozen=OCTOBER if task.frozen and now >= when else {"2026-09": {"1.8.0": 1}})


def test_frozen_registers_come_with_the_boundary_of_the_first_and_once_more_a_minute_later() -> None:
    before = Simulation(FREEZES, EDGE - 3 * DAY, lambda now, task: ok(now, frozen={"2026-09": {"1.8.0": 1}}))
    before.until(EDGE - 1)  # September is settled
    before.asked.clear()
    before.answers = months_from(EDGE)
    before.until(EDGE + 27 * DAY)
    frozen = [asked for asked in before.asked if asked.task.frozen]
    assert [asked.task.purpose for asked in frozen] == ["boundary", "requested"]
    assert [asked.now - EDGE for asked in frozen] == [0, MINUTE]


def test_frozen_registers_are_asked_again_until_the_month_that_just_ended_is_there() -> None:
    simulation = Simulation(FREEZES, EDGE - MINUTE, months_from(EDGE + 40 * MINUTE))
    simulation.memory = after(FREEZES, simulation.memory, Task("requested", 0, frozen=True), ok(EDGE - 9 * MINUTE))
    simulation.until(EDGE + 3 * HOUR)
    found = [asked.now for asked in simulation.asked if asked.task.frozen and asked.now >= EDGE + 40 * MINUTE]
    assert len(found) == 2
    assert found[0] < EDGE + 64 * MINUTE  # six tries in the first hour
    assert found[1] - found[0] >= MINUTE


def test_a_meter_that_never_has_the_month_is_asked_less_and_less() -> None:
    simulation = Simulation(FREEZES, EDGE, months_from(EDGE + 99 * DAY)).until(EDGE + 29 * DAY)
    asked = [asked.now for asked in simulation.asked if asked.task.frozen]
    assert 29 <= len(asked) <= 45
    alone = simulation.of("requested")
    assert max(b - a for a, b in pairwise(asked)) <= FROZEN_MOST + HOUR
    assert len([now for now in alone if now < EDGE + HOUR]) == 5


def test_two_askings_that_do_not_agree_are_followed_by_another() -> None:
    values = iter([1, 2, 2, 2])
    simulation = Simulation(
        FREEZES, EDGE, lambda now, task: ok(now, frozen={"2026-10": {"1.8.0": next(values)}} if task.frozen else {})
    )
    simulation.until(EDGE + 20 * DAY)
    asked = [asked.now for asked in simulation.asked if asked.task.frozen]
    assert len(asked) == 3
    assert asked[2] - asked[1] >= MINUTE


def test_two_equal_askings_within_a_minute_are_no_witness() -> None:
    memory = begin(FREEZES, EDGE)
    task = Task("requested", EDGE, frozen=True)
    for seconds, done in ((0, False), (59, False), (60, True)):
        memory = after(FREEZES, memory, task, ok(EDGE + 1000 * seconds, frozen=OCTOBER))
        assert memory.frozen is not None
        assert memory.frozen.done is done


def test_a_gateway_that_starts_in_the_month_asks_for_the_frozen_registers_at_once_and_again() -> None:
    start = EDGE + 9 * DAY + 10 * HOUR
    simulation = Simulation(FREEZES, start, months_from(EDGE)).until(start + 2 * DAY)
    assert [asked.now - start for asked in simulation.asked if asked.task.frozen] == [0, MINUTE]
    assert simulation.of("requested") == [start, start + MINUTE]


def test_frozen_registers_are_not_asked_alone_while_the_boundary_is_owed() -> None:
    simulation = Simulation(FREEZES, EDGE, lambda now, task: damaged(now)).until(EDGE + WINDOW)
    assert simulation.of("requested") == []


def test_silence_does_not_put_the_frozen_registers_off() -> None:
    answers = months_from(EDGE)
    simulation = Simulation(FREEZES, EDGE + 8 * HOUR, answers)
    task = due(FREEZES, simulation.memory, simulation.now)
    assert task is not None
    assert task.purpose == "requested"
    assert due(FREEZES, after(FREEZES, simulation.memory, task, silent(simulation.now)), simulation.now + 1) == task


# ----------------------------------------------------------------------------- clocks


def test_a_clock_set_back_by_an_hour_goes_on_at_the_next_tick_of_the_new_time() -> None:
    start = at("Europe/Moscow", 2026, 11, 1, 10)
    simulation = Simulation(MOSCOW, start).until(start + HOUR)
    before = len(simulation.asked)
    simulation.now -= HOUR - MINUTE
    simulation.memory = stepped_back(MOSCOW, simulation.memory, simulation.now)
    simulation.until(simulation.now + 30 * MINUTE)
    assert [wall(asked.now, "Europe/Moscow") for asked in simulation.asked[before:]] == ["01 10:15", "01 10:30"]


def test_a_boundary_that_came_is_not_asked_again_when_the_clock_goes_back_within_its_day() -> None:
    simulation = Simulation(MOSCOW, EDGE - MINUTE).until(EDGE + 3 * HOUR)
    simulation.now -= 2 * HOUR
    simulation.memory = stepped_back(MOSCOW, simulation.memory, simulation.now)
    simulation.until(EDGE + 5 * HOUR)
    assert simulation.of("boundary") == [EDGE]


def test_a_boundary_that_came_before_its_instant_by_the_right_clock_is_asked_again_once() -> None:
    simulation = Simulation(MOSCOW, EDGE - MINUTE).until(EDGE + 10 * MINUTE)
    simulation.now = EDGE - 30 * MINUTE  # the clock had been ahead
    simulation.memory = stepped_back(MOSCOW, simulation.memory, simulation.now)
    simulation.until(EDGE + DAY - MINUTE)
    assert simulation.of("boundary") == [EDGE, EDGE]


@given(st.lists(st.integers(1, 3 * HOUR), min_size=1, max_size=20), zones)
def test_a_clock_that_swings_around_midnight_makes_no_storm(steps: list[int], zone_name: str) -> None:
    edge = last_midnight(EDGE, zone_name)
    simulation = Simulation(Rules(zone_name, QUARTER), edge - HOUR)
    for step in steps:
        simulation.until(simulation.now + HOUR)
        simulation.now -= step
        simulation.memory = stepped_back(simulation.rules, simulation.memory, simulation.now)
    assert len(simulation.of("boundary")) <= len(steps) + 1
    assert len(simulation.of("interval")) <= 5 * len(steps)
    for asked in simulation.asked:
        assert asked.now >= asked.task.since


@given(instants, zones, st.integers(1, 40 * DAY))
def test_whatever_was_put_off_comes_within_its_pause_after_a_clock_went_back(
    now: int, zone_name: str, back: int
) -> None:
    rules = Rules(zone_name, QUARTER, frozen=True)
    simulation = Simulation(rules, now, lambda now, task: damaged(now)).until(now + HOUR)
    simulation.now -= back
    simulation.memory = stepped_back(rules, simulation.memory, simulation.now)
    assert simulation.memory.tick <= next_tick(simulation.now, QUARTER, zone_name)
    assert simulation.memory.retry <= simulation.now + RETRY_MOST


def test_a_boundary_of_an_unsynchronised_clock_is_asked_again_when_the_clock_is_right() -> None:
    simulation = Simulation(MOSCOW, EDGE, lambda now, task: ok(now, synced=simulation.synced), synced=False)
    simulation.until(EDGE + HOUR)
    assert simulation.of("boundary") == [EDGE]
    simulation.synced = True
    simulation.until(EDGE + 5 * HOUR)
    assert simulation.of("boundary") == [EDGE, EDGE + HOUR]


def test_frozen_registers_read_by_an_unsynchronised_clock_are_read_again_when_the_clock_is_right() -> None:
    simulation = Simulation(FREEZES, EDGE + 7 * HOUR, synced=False)
    simulation.answers = lambda now, task: ok(now, frozen=OCTOBER, synced=simulation.synced)
    simulation.until(EDGE + 9 * HOUR)
    assert len(simulation.of("requested")) == 2
    simulation.synced = True
    simulation.until(EDGE + 11 * HOUR)
    assert simulation.of("requested")[2:] == [EDGE + 9 * HOUR, EDGE + 9 * HOUR + MINUTE]


@given(instants, zones, intervals, st.booleans(), st.lists(st.sampled_from([ok, damaged]), max_size=30))
def test_when_nothing_is_due_the_next_instant_is_to_come_and_when_something_is_it_is_now(
    now: int, zone_name: str, interval: int, frozen: bool, outcomes: list[Callable[[int], Outcome]]
) -> None:
    rules = Rules(zone_name, interval, frozen=frozen)
    memory = begin(rules, now)
    for outcome in outcomes:
        task = due(rules, memory, now)
        upcoming = next_due(rules, memory, now)
        assert (upcoming > now) == (task is None)
        assert upcoming <= next_midnight(now, zone_name)
        if task is not None:
            memory = after(rules, memory, task, outcome(now))
        now = upcoming + 1


@pytest.mark.parametrize(("times", "pause"), [(0, 30), (1, 60), (4, 480), (5, 900), (10**6, 900)])
def test_a_pause_doubles_up_to_its_most(times: int, pause: int) -> None:
    assert growing(times, 30, 900) == pause
