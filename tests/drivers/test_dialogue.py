"""One question and its answer: what is asked again, how often, and when the line is given silence."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.dialogue import (
    LATE,
    SETTLE,
    DamagedFrame,
    Done,
    Drain,
    DriverError,
    MeterRefused,
    NoAnswer,
    NotInProfile,
    Receive,
    Send,
    Step,
    Stranger,
    character_seconds,
    exchange,
    line_bits,
    silence,
)

ASK = Send(b"?")
FIRST, BETWEEN = 0.5, 0.25
BEFORE_THE_SAME, BEFORE_ANOTHER, SHORT = Drain(FIRST), Drain(LATE * FIRST), Drain(SETTLE)


def play(*answers: bytes | DriverError, late: float | None = None) -> tuple[list[Step], Any]:
    """The steps of an exchange that is given these answers, without its Receives, and its value or error."""
    dialogue = exchange(b"?", lambda data: Done(data, len(data)), first=FIRST, between=BETWEEN, most=99, late=late)
    left, steps = list(answers), []
    step = next(dialogue)
    try:
        while True:
            if isinstance(step, Receive):
                assert (step.first, step.between, step.most) == (FIRST, BETWEEN, 99)
                answer = left.pop(0)
                step = dialogue.throw(answer) if isinstance(answer, DriverError) else dialogue.send(answer)
            else:
                steps.append(step)
                step = next(dialogue)
    except StopIteration as end:
        assert not left
        return steps, end.value
    except DriverError as error:
        assert not left
        return steps, error


def test_an_answer_in_time_costs_one_request_and_no_silence() -> None:
    assert play(b"yes") == ([ASK], b"yes")


def test_silence_is_asked_once_more() -> None:
    assert play(NoAnswer(), b"yes") == ([ASK, BEFORE_THE_SAME, ASK, BEFORE_ANOTHER], b"yes")


def test_silence_twice_is_silence() -> None:
    last = NoAnswer("second")
    assert play(NoAnswer("first"), last) == ([ASK, BEFORE_THE_SAME, ASK, BEFORE_ANOTHER], last)


def test_damage_is_asked_twice_more() -> None:
    damage = DamagedFrame("x", whole=True)
    assert play(damage, damage, b"yes") == ([ASK, SHORT, ASK, SHORT, ASK], b"yes")
    last = DamagedFrame("last", whole=True)
    assert play(damage, damage, last) == ([ASK, SHORT, ASK, SHORT, ASK], last)


def test_after_damage_that_may_not_be_the_answer_the_line_is_given_its_time() -> None:
    assert play(DamagedFrame("noise"), b"yes") == ([ASK, BEFORE_THE_SAME, ASK, BEFORE_ANOTHER], b"yes")


def test_silence_and_damage_are_counted_apart() -> None:
    damage = DamagedFrame("x", whole=True)
    steps, value = play(damage, NoAnswer(), damage, b"yes")
    assert value == b"yes"
    assert steps == [ASK, SHORT, ASK, BEFORE_THE_SAME, ASK, SHORT, ASK, BEFORE_ANOTHER]


@pytest.mark.parametrize("error", [MeterRefused("no", 2), Stranger("who"), NotInProfile("what")])
def test_a_sound_no_is_never_asked_again(error: DriverError) -> None:
    assert play(error) == ([ASK], error)
    assert play(NoAnswer(), error) == ([ASK, BEFORE_THE_SAME, ASK, BEFORE_ANOTHER], error)


def test_where_an_answer_names_its_question_late_ones_are_not_waited_for() -> None:
    assert play(NoAnswer(), b"yes", late=0) == ([ASK, SHORT, ASK], b"yes")
    assert play(DamagedFrame("noise"), b"yes", late=0) == ([ASK, SHORT, ASK], b"yes")
    last = NoAnswer()
    assert play(NoAnswer(), last, late=0) == ([ASK, SHORT, ASK], last)


def test_an_exchange_may_be_given_up_at_any_step() -> None:
    dialogue = exchange(b"?", lambda data: Done(data, 1), first=1, between=1)
    next(dialogue)
    next(dialogue)
    dialogue.throw(NoAnswer())
    dialogue.close()


def test_every_error_names_its_kind_of_failure() -> None:
    kinds = [error.kind for error in (DamagedFrame, NoAnswer, MeterRefused, Stranger, NotInProfile)]
    assert kinds == ["damaged", "no-answer", "refused", "stranger", "profile"]
    assert MeterRefused("no", 6).code == 6


@pytest.mark.parametrize(("framing", "bits"), [("8N1", 10), ("7E1", 10), ("8E1", 11), ("8N2", 11), ("8O2", 12)])
def test_a_character_has_start_data_parity_and_stop_bits(framing: str, bits: int) -> None:
    assert line_bits(framing) == bits
    assert character_seconds(9600, framing) == bits / 9600


@pytest.mark.parametrize(
    ("baudrate", "milliseconds"),
    [(300, 128.33), (1200, 32.083), (9600, 4.0104), (19200, 2.0052), (38400, 1.75), (115200, 1.75)],
)
def test_silence_is_three_and_a_half_characters_of_eleven_bits_fixed_above_19200(baudrate, milliseconds) -> None:
    assert silence(baudrate) * 1000 == pytest.approx(milliseconds, abs=0.005)
