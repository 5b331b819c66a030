"""What parity and check character promise together, held against whole answers of meters, and what they cannot see.

A character's parity shows every odd number of wrong bits in it; the check character (XOR, or Energomera's sum) shows
every damage within one character, its own included. So no one, two or three wrong bits give another value: four are
needed, in pairs of two characters. What neither shows is characters lost or doubled that add up to nothing: zeros, in
even numbers (XOR) or by eights (sum). Such a value is another number; only its neighbours in time show it.
"""

from __future__ import annotations

import random
from itertools import combinations

import pytest

from drivers.dialogue import DamagedFrame, Done, Never
from drivers.iec62056_21_characters import off_wire, on_wire
from drivers.iec62056_21_frames import Block, Check, parse_block
from drivers.iec62056_21_values import answered
from drivers.iec_places import IecProfile
from drivers.profile import load_all

Said = tuple[str, ...]  # the texts of an answer's brackets

ANSWERS: list[tuple[str, str, Check, bytes]] = [
    (item.id, exchange.request.partition(b"\x02")[2].partition(b"\x03")[0].decode(), item.iec.check, exchange.answer)
    for item in load_all().values()
    if isinstance(item, IecProfile) and item.iec.session == "programming"
    for one in item.proof
    for exchange in one.exchanges
]
SHORT = [one for one in ANSWERS if len(one[3]) <= 28]


def _each(answers: list[tuple[str, str, Check, bytes]]) -> pytest.MarkDecorator:
    names = [" ".join(one[:2]) for one in answers]
    return pytest.mark.parametrize(("question", "check", "answer"), [one[1:] for one in answers], ids=names)


every_answer, short_answer = _each(ANSWERS), _each(SHORT)


def said(question: str, check: Check, wire: bytes) -> Said | None:
    """What a reader takes the bytes for: the answer to its question, or nothing (damage, or a block of several)."""
    outcome = parse_block(off_wire(wire, "7E1"), check)
    if not isinstance(outcome, Done) or outcome.frame.more:
        return None
    try:
        return answered(question, outcome.frame.body).groups
    except DamagedFrame:
        return None


def flipped(wire: bytes, bits: tuple[int, ...]) -> bytes:
    wrong = bytearray(wire)
    for bit in bits:
        wrong[bit // 8] ^= 1 << bit % 8
    return bytes(wrong)


def test_both_checks_are_held_against_many_answers() -> None:
    assert {check for _, _, check, _ in SHORT} == {"xor", "sum"}
    assert len(ANSWERS) > 20


@short_answer
def test_no_two_wrong_bits_give_another_value(question: str, check: Check, answer: bytes) -> None:
    wire = on_wire(answer, "7E1")
    right = said(question, check, wire)
    assert right is not None
    bits = range(8 * len(wire))
    assert {said(question, check, flipped(wire, (bit,))) for bit in bits} <= {None, right}
    assert {said(question, check, flipped(wire, two)) for two in combinations(bits, 2)} <= {None, right}


@every_answer
def test_no_three_wrong_bits_give_another_value(question: str, check: Check, answer: bytes) -> None:
    wire, rng = on_wire(answer, "7E1"), random.Random(3)
    right = said(question, check, wire)
    for _ in range(3000):
        at = rng.randrange(len(wire))  # near each other, where damage is most alike
        near = [bit for bit in range(8 * at, 8 * (at + 3)) if bit < 8 * len(wire)]
        assert said(question, check, flipped(wire, tuple(rng.sample(near, 3)))) in (None, right)


@every_answer
def test_no_wrong_character_gives_another_value(question: str, check: Check, answer: bytes) -> None:
    wire = on_wire(answer, "7E1")
    right = said(question, check, wire)
    for at in range(len(wire)):
        for other in on_wire(bytes(range(128)), "7E1"):
            assert said(question, check, wire[:at] + bytes((other,)) + wire[at + 1 :]) in (None, right)


def nothing(characters: bytes, check: Check) -> bool:
    """Whether a check character cannot see them, by a reckoning of its own."""
    added = 0
    for character in characters:
        added = added ^ character if check == "xor" else added + character
    return added % 128 == 0


@every_answer
def test_lost_characters_are_seen_but_for_those_that_add_up_to_nothing(
    question: str, check: Check, answer: bytes
) -> None:
    right = said(question, check, on_wire(answer, "7E1"))
    for at in range(len(answer)):
        for end in range(at + 1, min(at + 12, len(answer)) + 1):
            found = said(question, check, on_wire(answer[:at] + answer[end:], "7E1"))
            assert found in (None, right) or nothing(answer[at:end], check), answer[at:end]


@every_answer
def test_doubled_characters_are_seen_but_for_those_that_add_up_to_nothing(
    question: str, check: Check, answer: bytes
) -> None:
    right = said(question, check, on_wire(answer, "7E1"))
    for at in range(len(answer)):
        for end in range(at + 1, min(at + 12, len(answer)) + 1):
            found = said(question, check, on_wire(answer[:end] + answer[at:], "7E1"))
            assert found in (None, right) or nothing(answer[at:end], check), answer[at:end]


def test_a_name_that_lost_its_beginning_to_an_stx_is_damage_though_the_check_fits() -> None:
    whole = Block(b"551.8.0(000123.4*kWh)\r\n!\r\n").to_bytes("xor")
    cut = whole.replace(b"55", b"5\x02", 1)  # a five and a five add up to nothing
    assert isinstance(parse_block(whole, "xor"), Done)
    assert isinstance(parse_block(cut[2:], "xor"), Done), "what is left has the right check"
    found = parse_block(cut, "xor")
    assert isinstance(found, Never)
    assert "in the midst of the block's first name" in str(found.error)
