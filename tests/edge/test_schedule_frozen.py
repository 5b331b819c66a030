"""Frozen months: asked for until they are there, and twice."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from collector.edge.schedule import DAY, FROZEN_MOST, HOUR, MINUTE, WINDOW, Outcome, Task, after, begin, due
from tests.edge.simulation import EDGE, FREEZES, OCTOBER, Simulation, damaged, ok, silent


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


def test_closings_before_the_last_are_asked_for_once_the_gateway_has_begun_and_after_a_month_that_never_came() -> None:
    simulation = Simulation(FREEZES, EDGE + DAY, months_from(EDGE)).until(EDGE + 3 * DAY)
    assert [asked.task.earlier for asked in simulation.asked if asked.task.frozen] == [True, True]
    assert simulation.memory.frozen is not None
    following = due(FREEZES, simulation.memory, EDGE + 31 * DAY)  # November's end
    assert following is not None
    assert (following.frozen, following.earlier) == (True, False)
    never = Simulation(FREEZES, EDGE + DAY, months_from(EDGE + 99 * DAY)).until(EDGE + 3 * DAY)
    following = due(FREEZES, never.memory, EDGE + 31 * DAY)
    assert following is not None
    assert (following.frozen, following.earlier) == (True, True)
