"""Our own clock set back, set right, and swinging; and that the schedule always knows when to look again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.edge.schedule import (
    DAY,
    HOUR,
    MINUTE,
    RETRY_MOST,
    Outcome,
    Rules,
    after,
    begin,
    due,
    growing,
    last_midnight,
    next_due,
    next_midnight,
    next_tick,
    stepped_back,
)
from tests.edge.simulation import (
    EDGE,
    FREEZES,
    MOSCOW,
    OCTOBER,
    QUARTER,
    Simulation,
    at,
    damaged,
    instants,
    intervals,
    ok,
    wall,
    zones,
)


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


@settings(deadline=None)
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


@settings(deadline=None)
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


@settings(deadline=None)
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
