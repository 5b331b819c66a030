"""What is owed when: boundaries, interval readings, serial numbers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.edge.schedule import (
    DAY,
    HOUR,
    MINUTE,
    RETRY_FIRST,
    RETRY_MOST,
    WINDOW,
    Outcome,
    Rules,
    Task,
    after,
    begin,
    due,
    last_midnight,
    missed,
    next_due,
    next_midnight,
)
from tests.edge.simulation import (
    EDGE,
    MOSCOW,
    QUARTER,
    Simulation,
    at,
    damaged,
    instants,
    ok,
    silent,
    usual,
    wall,
    zones,
)

# ----------------------------------------------------------------------------- boundaries


@settings(deadline=None)
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


@settings(deadline=None)
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
