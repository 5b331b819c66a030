"""What a CRC-16 promises, held against whole answers: no damage of these kinds ever gives a value or a refusal.

Of (x + 1)(x^15 + x + 1), its polynomial: every one and every two wrong bits, every odd number of them, and everything
wrong within 16 bits in a row (serial line V1.02, 2.5.1.2; frames are shorter than 32,767 bits). A byte that changed
places with another is such an error too, and length, address and function are looked at beside the check.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations

import pytest

from drivers.dialogue import Done, MeterRefused, More, Never
from drivers.modbus_frames import Question, refusal_pdu, registers_pdu, sealed

SHORT, LONG = 2, 7  # registers of an answer: a float, and a block of three with a hole
DATA = bytes((37 * at + 11) % 256 for at in range(2 * LONG))


def question(count: int) -> Question:
    return Question(unit=1, function=4, start=0x48, count=count)


def answer(count: int) -> bytes:
    return sealed(b"\x01" + registers_pdu(4, DATA[: 2 * count]))


def taken(count: int, came: bytes) -> str | None:
    """What the reader would take it for, however the bytes end: a value, a refusal; None: damage, or not whole."""
    match question(count).rtu_parser()(came):
        case Done(frame=data):
            return data.hex()
        case Never(error=MeterRefused()):
            return "refused"
        case Never() | More():
            return None


def flipped(frame: bytes, bits: tuple[int, ...]) -> bytes:
    wrong = bytearray(frame)
    for bit in bits:
        wrong[bit // 8] ^= 1 << bit % 8
    return bytes(wrong)


@pytest.mark.parametrize("count", [SHORT, LONG])
def test_no_two_wrong_bits_of_an_answer_give_a_value(count: int) -> None:
    frame = answer(count)
    assert taken(count, frame) == DATA[: 2 * count].hex()
    bits = range(8 * len(frame))
    assert {taken(count, flipped(frame, (bit,))) for bit in bits} == {None}
    assert {taken(count, flipped(frame, two)) for two in combinations(bits, 2)} == {None}


def test_no_two_wrong_bits_make_or_alter_a_refusal() -> None:
    frame = sealed(b"\x01" + refusal_pdu(4, 2))
    assert taken(SHORT, frame) == "refused"
    bits = range(8 * len(frame))
    assert {taken(SHORT, flipped(frame, two)) for two in combinations(bits, 2)} == {None}
    assert {taken(SHORT, flipped(frame, three)) for three in combinations(bits, 3)} == {None}


@pytest.mark.parametrize("count", [SHORT, LONG])
def test_nothing_wrong_within_sixteen_bits_in_a_row_gives_a_value(count: int) -> None:
    frame, rng = answer(count), random.Random(16)
    whole = int.from_bytes(frame, "little")  # least significant bit first, as on the wire
    for first in range(8 * len(frame) - 16):
        for _ in range(16):
            wrong = whole ^ (rng.randrange(1, 1 << 16) << first)
            assert taken(count, wrong.to_bytes(len(frame), "little")) is None, first


@pytest.mark.parametrize("count", [SHORT, LONG])
def test_no_two_bytes_of_an_answer_change_places_unseen(count: int) -> None:
    frame = answer(count)
    for one, other in combinations(range(len(frame)), 2):
        swapped = bytearray(frame)
        swapped[one], swapped[other] = swapped[other], swapped[one]
        if bytes(swapped) != frame:
            assert taken(count, bytes(swapped)) is None, (one, other)


def _shortened(frame: bytes) -> Iterator[bytes]:
    yield from (frame[:end] for end in range(len(frame)))
    for at in range(len(frame)):
        yield from (frame[:at] + frame[end:] for end in range(at + 1, len(frame) + 1))


@pytest.mark.parametrize("count", [SHORT, LONG])
def test_an_answer_that_lost_bytes_anywhere_gives_no_value(count: int) -> None:
    assert {taken(count, came) for came in _shortened(answer(count))} == {None}


@pytest.mark.parametrize("count", [SHORT, LONG])
def test_an_answer_with_bytes_twice_gives_the_right_value_or_none(count: int) -> None:
    frame = answer(count)
    for at in range(len(frame)):
        for end in range(at + 1, len(frame) + 1):
            came = frame[:end] + frame[at:]
            assert taken(count, came) in (None, DATA[: 2 * count].hex()), (at, end)


@pytest.mark.parametrize("unit", [0, 2, 17, 129, 247])
@pytest.mark.parametrize("function", [1, 2, 3, 4, 5, 6, 16, 0x84])
@pytest.mark.parametrize("count", [1, SHORT, LONG])
def test_sound_answers_of_others_and_to_others_questions_give_no_value(unit: int, function: int, count: int) -> None:
    """Alone, and before or behind a damaged answer of the meter that was asked."""
    stranger = sealed(bytes((unit,)) + registers_pdu(function, DATA[: 2 * count]))
    damaged = flipped(answer(SHORT), (40,))
    for came in (stranger, stranger + damaged, damaged + stranger, stranger + stranger):
        assert taken(SHORT, came) is None, came.hex(" ")
    own = sealed(bytes((1,)) + registers_pdu(function, DATA[: 2 * count]))
    if (function, count) != (4, SHORT):
        for came in (own, own + damaged, damaged + own):
            assert taken(SHORT, came) is None, came.hex(" ")


def test_the_right_answer_is_found_between_strangers() -> None:
    stranger = sealed(b"\x02" + registers_pdu(4, bytes(4)))
    for came in (stranger + answer(SHORT), answer(SHORT) + stranger, stranger + answer(SHORT) + stranger):
        assert taken(SHORT, came) == DATA[: 2 * SHORT].hex()
