"""How long a meter takes to begin its answer, as heard on the wire."""

from __future__ import annotations

import pytest

from collector.edge.reaction import STEP, Reaction, believed, planned
from drivers.dialogue import character_seconds
from tests.edge.virtual import Bus, VirtualClock

CHARACTER = character_seconds(9600, "8N1")


@pytest.fixture
def reaction() -> Reaction:
    listening = Reaction(None)
    listening.begin(Bus(VirtualClock(0), []))
    return listening


def test_the_time_counts_from_the_last_character_of_the_request_to_the_first_of_the_answer(reaction: Reaction) -> None:
    reaction(">>", bytes(8), 10.0)
    reaction("<<", bytes(5), 10.0 + 13 * CHARACTER + 0.007)
    assert reaction.fastest == pytest.approx(0.007)


def test_the_fastest_of_several_answers_counts(reaction: Reaction) -> None:
    for at, seconds in ((10.0, 0.02), (20.0, 0.006), (30.0, 0.5)):
        reaction(">>", bytes(8), at)
        reaction("<<", bytes(5), at + 13 * CHARACTER + seconds)
        reaction("<<", bytes(5), at + 14 * CHARACTER + seconds)
    assert reaction.fastest == pytest.approx(0.006)


def test_an_echo_of_the_request_is_no_answer(reaction: Reaction) -> None:
    reaction(">>", bytes(8), 10.0)
    reaction("<<", bytes(8), 10.0 + 9 * CHARACTER)
    assert reaction.fastest is None


def test_another_meter_begins_anew(reaction: Reaction) -> None:
    reaction(">>", bytes(8), 10.0)
    reaction("<<", bytes(5), 10.02)
    reaction.begin(Bus(VirtualClock(0), []))
    assert reaction.fastest is None


def test_who_else_listens_hears_everything() -> None:
    heard: list[tuple[str, bytes, float]] = []
    reaction = Reaction(lambda *piece: heard.append(piece))
    reaction(">>", b"a", 1.0)
    reaction("<<", b"b", 2.0)
    assert heard == [(">>", b"a", 1.0), ("<<", b"b", 2.0)]


def test_one_odd_measurement_does_not_change_the_plan() -> None:
    assert planned(believed(0.005, 0.012)) == planned(0.005) == STEP
    assert planned(0.0) == STEP
    assert believed(None, 0.03) == 0.03
