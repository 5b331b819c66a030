"""A thread that makes its round: when, what it says when one fails, and that whoever ends it need not wait."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from collector.central.rounds import Rounds
from collector.central.store.series import StoreAway
from tests.broker import PATIENCE, eventually
from tests.central.building import SetClock

RETRY = 600_000


class Waits(SetClock):
    """A clock that notes until when it was told to wait, and does not wait so long. `at_work`: rounds under way."""

    def __init__(self) -> None:
        super().__init__(1000)
        self.waits: list[int] = []

    def wait(self, until: int, wake: threading.Event) -> bool:
        self.waits.append(until)
        return wake.wait(0.001)


def rounds(work: Callable[[int, threading.Event], int], clock: Waits | None = None) -> Rounds:
    return Rounds("bakery", work, clock or Waits(), failing="bread could not be baked", retry=RETRY)


def test_a_round_says_when_the_next_one_is_due() -> None:
    clock = Waits()
    with rounds(lambda now, _: now + 42, clock) as bakery:
        eventually(lambda: len(clock.waits) > 2)
        assert bakery.trouble == ""
    assert set(clock.waits) == {1042}


def test_what_fails_is_said_once_tried_again_and_said_to_be_well_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "collector")
    clock, outcomes = Waits(), iter([StoreAway("no flour"), StoreAway("no flour"), ZeroDivisionError("a fault"), None])
    seen: list[str] = []

    def work(now: int, _: threading.Event) -> int:
        seen.append(bakery.trouble)
        if (error := next(outcomes, None)) is not None:
            raise error
        return now

    bakery = rounds(work, clock)
    with bakery:
        eventually(lambda: len(seen) > 4)
    first, second = "bread could not be baked: no flour", "bread could not be baked: a fault"
    assert seen[:5] == ["", first, first, second, ""]
    assert clock.waits[:4] == [1000 + RETRY] * 3 + [1000]
    assert [record.getMessage() for record in caplog.records] == [
        first, "a fault of ours in bakery", second, "bakery: all is well again",
    ]  # fmt: skip
    assert [record.exc_info is not None for record in caplog.records] == [False, True, False, False]


def test_a_round_under_way_hears_that_it_is_to_end_and_no_other_one_begins() -> None:
    made: list[bool] = []
    begun = threading.Event()

    def work(now: int, stop: threading.Event) -> int:
        begun.set()
        made.append(stop.wait(PATIENCE))
        return now

    with rounds(work):
        assert begun.wait(PATIENCE)
    assert made == [True]


def test_a_clock_that_steps_does_not_while_a_round_is_under_way() -> None:
    from hil.clock import SteppingClock

    clock = SteppingClock(1000)
    busy: list[int] = []

    def work(now: int, _: threading.Event) -> int:
        busy.append(clock._busy)
        return now + 10**9

    with Rounds("bakery", work, clock, failing="", retry=RETRY):
        eventually(lambda: busy == [1] and clock._busy == 0)
