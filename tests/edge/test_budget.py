"""The silent meters' budget: a hard share, growing pauses, clocks that jump."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.edge.budget import PAUSE_FIRST, PAUSE_MOST, SAVED, Silence, SilentBudget, fell_silent

START = 1_793_480_400_000


@settings(deadline=None)
@given(
    st.sampled_from([0.001, 0.05, 0.2]),
    st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 5000)), min_size=1, max_size=200),
)
def test_silent_meters_never_have_more_than_their_share(share: float, askings: list[tuple[int, int]]) -> None:
    budget = SilentBudget(share, START)
    now, spent, longest = START, 0, 0
    for pause, cost in askings:
        now += pause
        if budget.allows(now):
            now += cost
            budget.spend(cost / 1000, now)
            spent, longest = spent + cost, max(longest, cost)
        assert spent <= share * (now - START) + longest + 0.001


def test_what_is_saved_up_in_a_long_calm_is_bounded() -> None:
    budget = SilentBudget(0.05, START)
    now, probes = START + 100 * SAVED, 0
    while budget.allows(now):
        budget.spend(1.0, now)
        probes += 1
    assert probes == SAVED * 0.05 / 1000 + 1


@settings(deadline=None)
@given(st.sampled_from([0.001, 0.03, 0.05, 1.0]), st.floats(0.001, 500), st.integers(0, 10**7))
def test_the_budget_is_open_at_the_instant_it_names_and_not_long_before(share: float, cost: float, later: int) -> None:
    budget = SilentBudget(share, START)
    budget.spend(cost, START)
    now = START + later
    opens = budget.opens_at(now)
    assert opens is not None
    assert opens >= now
    if opens > now + 2:
        assert not SilentBudget.allows(budget, opens - 3)
    assert budget.allows(opens)


def test_a_share_of_nothing_never_opens() -> None:
    budget = SilentBudget(0.0, START)
    assert not budget.allows(START + SAVED)
    assert budget.opens_at(START + SAVED) is None


def test_a_clock_that_goes_back_gives_nothing() -> None:
    budget = SilentBudget(0.05, START)
    budget.spend(1.0, START)
    assert not budget.allows(START - SAVED)
    assert not budget.allows(START - SAVED + 19_000)
    assert budget.allows(START - SAVED + 21_000)


def test_the_share_that_was_used_is_that_of_the_last_ten_minutes() -> None:
    budget = SilentBudget(0.05, START)
    assert budget.used(START) == 0
    budget.spend(6.0, START + SAVED)
    assert budget.used(START + SAVED) == pytest.approx(0.01)
    assert budget.used(START + 3 * SAVED) == 0


# ----------------------------------------------------------------------------- pauses


def series(start: int, times: int, until: int | None = None) -> list[Silence]:
    found = [fell_silent(None, start, until)]
    while len(found) < times:
        found.append(fell_silent(found[-1], found[-1].next, until))
    return found


def test_pauses_of_a_silent_meter_double_up_to_ten_minutes() -> None:
    pauses = [silence.next - silence.last for silence in series(START, 12)]
    assert pauses[:4] == [PAUSE_FIRST, 2 * PAUSE_FIRST, 4 * PAUSE_FIRST, 8 * PAUSE_FIRST]
    assert pauses[-1] == PAUSE_MOST
    assert {silence.since for silence in series(START, 12)} == {START}


def test_a_boundary_that_is_owed_is_tried_more_often_the_nearer_its_window_ends() -> None:
    until = START + 3_600_000
    last = [silence.last for silence in series(START, 60, until) if silence.last < until]
    late = [b - a for a, b in pairwise(last)][-8:]
    assert late == sorted(late, reverse=True)
    assert late[-1] == PAUSE_FIRST
    assert until - last[-1] <= PAUSE_FIRST


def test_a_neighbour_that_is_back_ends_the_pause() -> None:
    silence = series(START, 12)[-1]
    assert silence.hastened(silence.last + 5).next == silence.last + 5
    assert silence.hastened(silence.next + 5) == silence


def test_a_clock_that_goes_back_does_not_lengthen_a_pause() -> None:
    silence = series(START, 12)[-1].stepped_back(START)
    assert silence.next <= START + PAUSE_MOST
    assert silence.last <= START
