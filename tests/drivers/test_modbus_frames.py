"""Frames: whole, byte by byte, with bytes behind and before, damaged in every bit, and made by somebody else."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse, ReadInputRegistersResponse

from drivers.dialogue import DamagedFrame, Done, MeterRefused, More, Never, NoAnswer, NotInProfile
from drivers.modbus_frames import (
    LONGEST,
    REFUSALS,
    Heard,
    Question,
    enveloped,
    rtu_request,
    sealed,
    tcp_request,
    unit_address,
)

# The example of the Noark Ex9EM register document: ten registers from 0007 on, total and T1 12.34 kWh; CRC as printed.
DOCUMENT = bytes.fromhex("01 03 14 00 00 04 D2 00 00 04 D2" + " 00" * 12 + " 23 D8")
# 40 registers of meter 17 that hold everything which could be taken for a beginning of a frame.
WIDE = Question(17, 4, 0x1000, 40)
DATA = bytes.fromhex("11 04 50 11 84 02 11 04 11 11") * 8
ANSWER = sealed(bytes((17, 4, 80)) + DATA)
REFUSED = sealed(bytes((17, 0x84, 2)))
TCP = enveloped(7, 17, bytes((4, 80)) + DATA)


def crc(data: bytes) -> bytes:
    """The CRC bit by bit, as Modbus over serial line V1.02 draws it in its appendix: not the code under test."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return register.to_bytes(2, "little")


def flips(data: bytes) -> list[bytes]:
    """The data with each of its bits flipped."""
    number = int.from_bytes(data, "big")
    return [(number ^ 1 << bit).to_bytes(len(data), "big") for bit in range(8 * len(data))]


# ----------------------------------------------------------------------------- on a serial line


def test_the_answer_printed_in_a_document_is_understood() -> None:
    question = Question(1, 3, 7, 10)
    assert question.rtu_parser()(DOCUMENT) == Done(DOCUMENT[3:-2], len(DOCUMENT))


@given(st.binary(max_size=300))
def test_our_check_bytes_are_those_of_the_standard(data: bytes) -> None:
    assert sealed(data) == data + crc(data)


@pytest.mark.parametrize(("answer", "question"), [(ANSWER, WIDE), (DOCUMENT, Question(1, 3, 7, 10))])
def test_a_frame_that_comes_byte_by_byte_is_done_with_its_last_byte_and_never_before(
    answer: bytes, question: Question
) -> None:
    parse = question.rtu_parser()
    for size in range(len(answer)):
        outcome = parse(answer[:size])
        assert isinstance(outcome, More)
        assert 0 < outcome.wanted <= len(answer) - size
    assert isinstance(parse(answer), Done)


def test_a_refusal_that_comes_byte_by_byte_is_understood_with_its_last_byte() -> None:
    parse = WIDE.rtu_parser()
    for size in range(len(REFUSED)):
        outcome = parse(REFUSED[:size])
        assert isinstance(outcome, More)
        assert 0 < outcome.wanted <= len(REFUSED) - size
    outcome = parse(REFUSED)
    assert isinstance(outcome, Never)
    assert isinstance(outcome.error, MeterRefused)


@pytest.mark.parametrize("behind", [b"\x00", b"\xff" * 40, ANSWER, REFUSED, ANSWER[:50]])
def test_bytes_behind_a_frame_are_not_used(behind: bytes) -> None:
    assert WIDE.rtu_parser()(ANSWER + behind) == Done(DATA, len(ANSWER))


def test_a_flipped_bit_never_gives_a_value() -> None:
    parse = WIDE.rtu_parser()
    for damaged in flips(ANSWER):
        outcome = parse(damaged)
        assert isinstance(outcome, More) or isinstance(outcome.error, DamagedFrame)  # type: ignore[union-attr]


def test_a_flipped_bit_never_makes_or_alters_a_refusal() -> None:
    parse = WIDE.rtu_parser()
    for damaged in flips(REFUSED):
        outcome = parse(damaged)
        assert isinstance(outcome, More) or isinstance(outcome.error, DamagedFrame)  # type: ignore[union-attr]


def test_a_frame_with_a_wrong_check_says_that_the_answer_has_come() -> None:
    outcome = Question(1, 3, 7, 10).rtu_parser()(DOCUMENT[:-1] + b"\xd9")
    assert isinstance(outcome, Never)
    assert isinstance(outcome.error, DamagedFrame)
    assert outcome.error.whole
    assert "CRC" in str(outcome.error)


def test_a_wrong_check_behind_noise_does_not_say_that_the_answer_has_come() -> None:
    outcome = WIDE.rtu_parser()(b"\x00" + REFUSED[:-1] + b"\x00")
    assert isinstance(outcome, Never)
    assert isinstance(outcome.error, DamagedFrame)
    assert not outcome.error.whole


@pytest.mark.parametrize("size", [1, 3, 8, 17, 100, LONGEST])
def test_noise_before_the_answer_is_passed_over(size: int) -> None:
    noise = bytes(random.Random(size).choice((0, 0xFF, 17, 4)) for _ in range(size))
    parse = WIDE.rtu_parser()
    for end in range(size + len(ANSWER)):
        assert isinstance(parse((noise + ANSWER)[:end]), More)
    assert parse(noise + ANSWER) == Done(DATA, size + len(ANSWER))


def test_more_noise_than_the_longest_frame_is_damage() -> None:
    outcome = WIDE.rtu_parser()(bytes(LONGEST + 1) + ANSWER)
    assert isinstance(outcome, Never)
    assert "without the beginning of an answer" in str(outcome.error)
    assert len(str(outcome.error)) < 500  # a failure's text has at most 1000 characters


@pytest.mark.parametrize(
    "false", [ANSWER[:3], ANSWER[:20], REFUSED[:2], REFUSED[:4], ANSWER[:-1], b"\x11", b"\x11\x04"]
)
def test_a_false_header_does_not_hide_the_sound_frame_behind_it(false: bytes) -> None:
    parse = WIDE.rtu_parser()
    assert parse(false + ANSWER) == Done(DATA, len(false) + len(ANSWER))
    for end in range(len(false) + len(ANSWER)):
        outcome = parse((false + ANSWER)[:end])
        if isinstance(outcome, Never):  # a false refusal of five bytes ends before the true answer begins
            assert isinstance(outcome.error, DamagedFrame)
            assert not outcome.error.whole


@pytest.mark.parametrize("before", [b"", b"\x00"])
def test_a_false_header_never_makes_the_reader_wait_for_more_than_a_refusal(before: bytes) -> None:
    buffer = before + ANSWER[:3] + REFUSED
    for end in range(len(buffer)):
        outcome = WIDE.rtu_parser()(buffer[:end])
        assert isinstance(outcome, More)
        assert outcome.wanted <= 5  # a refusal has five bytes and may begin with the next one
    assert isinstance(WIDE.rtu_parser()(buffer), Never)


def test_an_echo_that_nobody_took_off_is_passed_over_even_if_it_begins_like_an_answer() -> None:
    question = Question(1, 3, 0x0C83, 6)  # its third byte is the answer's byte count
    answer = sealed(bytes((1, 3, 12)) + bytes(range(12)))
    assert question.rtu()[:3] == answer[:3]
    assert question.rtu_parser()(question.rtu() + answer) == Done(bytes(range(12)), 8 + len(answer))


def test_a_sound_answer_of_another_address_is_damage_that_names_it() -> None:
    other = sealed(bytes((18, 4, 80)) + DATA)
    for frame in (other, sealed(bytes((18, 0x84, 2))), b"\x00\xff" + other):
        outcome = WIDE.rtu_parser()(frame)
        assert isinstance(outcome, Never)
        assert isinstance(outcome.error, DamagedFrame)
        assert not outcome.error.whole
        assert "address 18 answered" in str(outcome.error)


def test_an_answer_that_follows_a_strangers_is_taken() -> None:
    other = sealed(bytes((18, 4, 4, 17, 4, 80, 0)))
    assert WIDE.rtu_parser()(other + ANSWER) == Done(DATA, len(other) + len(ANSWER))
    assert isinstance(WIDE.rtu_parser()(other + ANSWER[:10]), More)


@pytest.mark.parametrize("count", [78, 82])
def test_an_answer_to_another_question_is_damage(count: int) -> None:
    outcome = WIDE.rtu_parser()(sealed(bytes((17, 4, count)) + bytes(count)))
    assert isinstance(outcome, Never)
    assert isinstance(outcome.error, DamagedFrame)
    assert f"another question (function 04, {count} bytes" in str(outcome.error)


@pytest.mark.parametrize("code", [*REFUSALS, 9, 0x42])
def test_every_exception_code_has_its_consequence_and_its_words(code: int) -> None:
    outcome = WIDE.rtu_parser()(sealed(bytes((17, 0x84, code))))
    assert isinstance(outcome, Never)
    assert f"exception {code:02X}" in str(outcome.error)
    assert REFUSALS.get(code, "a code that the protocol does not define") in str(outcome.error)
    if code == 11:
        assert isinstance(outcome.error, NoAnswer)
    else:
        assert isinstance(outcome.error, MeterRefused)
        assert outcome.error.code == code


def sealed_within(buffer: bytes, begin: bytes, size: int) -> bool:
    return any(
        buffer[at : at + len(begin)] == begin and crc(buffer[at : at + size - 2]) == buffer[at + size - 2 : at + size]
        for at in range(len(buffer) - size + 1)
    )


@given(st.lists(st.sampled_from([b"\x11", b"\x04", b"\x50", b"\x84", b"\x11\x04\x02", REFUSED, b"\x00", b"\xff"])))
@example([b"\x11\x04\x02", b"\x00\x00\x00\x00"])
@settings(max_examples=400)
def test_any_bytes_give_a_value_only_where_a_sealed_answer_stands(pieces: list[bytes]) -> None:
    buffer = b"".join(pieces)
    question = Question(17, 4, 0, 1)
    outcome = question.rtu_parser()(buffer)
    if isinstance(outcome, Done):
        assert sealed_within(buffer, b"\x11\x04\x02", 7)
    elif isinstance(outcome, Never) and not isinstance(outcome.error, DamagedFrame):
        assert sealed_within(buffer, b"\x11\x84", 5)


@given(st.binary(max_size=600))
def test_random_bytes_never_crash_a_parser(data: bytes) -> None:
    for parse in (WIDE.rtu_parser(), WIDE.tcp_parser(7), rtu_request, tcp_request):
        assert isinstance(parse(data), More | Done | Never)


@given(st.binary(max_size=40), st.data())
def test_a_parser_that_wants_more_is_never_content_with_less(noise: bytes, data: st.DataObject) -> None:
    buffer = noise + data.draw(st.sampled_from([ANSWER, REFUSED]))
    parse = WIDE.rtu_parser()
    end = data.draw(st.integers(0, len(buffer)))
    outcome = parse(buffer[:end])
    if isinstance(outcome, More):
        for less in range(end, min(end + outcome.wanted, len(buffer))):
            assert isinstance(parse(buffer[:less]), More)


# ----------------------------------------------------------------------------- by TCP


def test_a_message_that_comes_byte_by_byte_is_done_with_its_last_byte() -> None:
    parse = WIDE.tcp_parser(7)
    for size in range(len(TCP)):
        outcome = parse(TCP[:size])
        assert isinstance(outcome, More)
        assert 0 < outcome.wanted <= len(TCP) - size
    assert parse(TCP) == Done(DATA, len(TCP))
    assert parse(TCP + TCP) == Done(DATA, len(TCP))


def test_late_answers_to_older_questions_are_passed_over() -> None:
    late = enveloped(6, 17, bytes((4, 80)) + bytes(80)) + enveloped(5, 17, bytes((0x84, 2)))
    assert WIDE.tcp_parser(7)(late + TCP) == Done(DATA, len(late) + len(TCP))
    assert isinstance(WIDE.tcp_parser(7)(late), More)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (enveloped(7, 18, bytes((4, 80)) + DATA), "unit 18 answered"),
        (enveloped(7, 17, bytes((3, 80)) + DATA), "not function 04"),
        (enveloped(7, 17, bytes((4, 78)) + DATA), "not function 04"),
        (enveloped(7, 17, bytes((4, 80)) + DATA[:-2]), "not function 04"),
        (enveloped(7, 17, bytes((4, 80)) + DATA + b"\x00"), "not function 04"),
        (enveloped(7, 17, bytes((0x84, 2, 0))), "not function 04"),
        (b"\x00\x07\x00\x01\x00\x53\x11", "not a Modbus TCP message"),
        (b"\x00\x07\x00\x00\x00\x02\x11\x04", "not a Modbus TCP message"),
        (b"\x00\x07\x00\x00\x00\xff\x11\x04", "not a Modbus TCP message"),
        (b"HTTP/1.1 400 Bad Request", "not a Modbus TCP message"),
    ],
)
def test_a_message_that_is_not_the_answer_is_damage(message: bytes, says: str) -> None:
    outcome = WIDE.tcp_parser(7)(message)
    assert isinstance(outcome, Never)
    assert isinstance(outcome.error, DamagedFrame)
    assert says in str(outcome.error)


def test_a_gateway_that_says_its_meter_is_silent_is_silence() -> None:
    outcome = WIDE.tcp_parser(7)(enveloped(7, 17, bytes((0x84, 11))))
    assert isinstance(outcome, Never)
    assert isinstance(outcome.error, NoAnswer)


def test_a_refusal_by_tcp_is_understood() -> None:
    outcome = WIDE.tcp_parser(7)(enveloped(7, 17, bytes((0x84, 2))))
    assert isinstance(outcome, Never)
    assert isinstance(outcome.error, MeterRefused)
    assert outcome.error.code == 2


# ----------------------------------------------------------------------------- the meter's side


def test_a_meter_finds_the_request_behind_rubbish_and_other_meters_answers() -> None:
    request = WIDE.rtu()
    for before in (b"", b"\x00", b"\xff\x11", ANSWER, request[:5], request[:-1] + b"\x00"):
        assert rtu_request(before + request) == Done(Heard(17, WIDE.pdu()), len(before) + 8)
        assert isinstance(rtu_request(before + request[:-1]), More)


def test_a_meter_does_not_hear_a_damaged_request() -> None:
    for damaged in flips(WIDE.rtu()):
        assert isinstance(rtu_request(damaged), More)


def test_rubbish_without_end_is_thrown_away_but_for_what_may_be_a_beginning() -> None:
    request = WIDE.rtu()
    rubbish = b"\xff" * 600
    outcome = rtu_request(rubbish)
    assert outcome == Done(None, 600 - LONGEST)
    assert rtu_request(rubbish[-LONGEST:] + request) == Done(Heard(17, WIDE.pdu()), LONGEST + 8)


@pytest.mark.parametrize("pdu", ["06 0001 0003", "10 0001 0002 04 00010002", "08 0000 1234", "11", "2B 0E 01 00"])
def test_a_meter_hears_requests_of_other_functions_too(pdu: str) -> None:
    frame = sealed(b"\x11" + bytes.fromhex(pdu))
    for size in range(len(frame)):
        assert isinstance(rtu_request(frame[:size]), More)
    assert rtu_request(frame + b"\x00") == Done(Heard(17, bytes.fromhex(pdu)), len(frame))


# ----------------------------------------------------------------------------- somebody else's code


@given(
    st.integers(1, 247),
    st.sampled_from([(3, ReadHoldingRegistersResponse), (4, ReadInputRegistersResponse)]),
    st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=125),
    st.integers(0, 0xFFFF),
)
def test_answers_made_by_pymodbus_are_understood(unit, kind, registers, transaction) -> None:
    function, response = kind
    question = Question(unit, function, 0, len(registers))
    data = b"".join(register.to_bytes(2, "big") for register in registers)
    pdu = response(registers=registers, dev_id=unit, transaction_id=transaction)
    frame = FramerRTU(DecodePDU(True)).buildFrame(pdu)
    assert question.rtu_parser()(frame) == Done(data, len(frame))
    message = FramerSocket(DecodePDU(True)).buildFrame(pdu)
    assert question.tcp_parser(transaction)(message) == Done(data, len(message))


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6])
def test_refusals_made_by_pymodbus_are_understood(code: int) -> None:
    pdu = ExceptionResponse(4, code, device_id=17, transaction=7)
    for frame, parse in (
        (FramerRTU(DecodePDU(True)).buildFrame(pdu), WIDE.rtu_parser()),
        (FramerSocket(DecodePDU(True)).buildFrame(pdu), WIDE.tcp_parser(7)),
    ):
        outcome = parse(frame)
        assert isinstance(outcome, Never)
        assert isinstance(outcome.error, MeterRefused)
        assert outcome.error.code == code


@given(st.integers(1, 247), st.sampled_from([3, 4]), st.integers(0, 0xFFFF), st.integers(1, 125))
def test_our_requests_are_understood_by_pymodbus(unit: int, function: int, start: int, count: int) -> None:
    question = Question(unit, function, start, count)
    for frame, framer in ((question.rtu(), FramerRTU), (question.tcp(99), FramerSocket)):
        used, pdu = framer(DecodePDU(True)).handleFrame(frame, 0, 0)
        assert used == len(frame)
        assert pdu is not None
        assert (pdu.dev_id, pdu.function_code, pdu.address, pdu.count) == (unit, function, start, count)
    assert rtu_request(question.rtu()) == Done(Heard(unit, question.pdu()), 8)
    assert tcp_request(question.tcp(99)) == Done(Heard(unit, question.pdu(), 99), 12)


# ----------------------------------------------------------------------------- addresses


@pytest.mark.parametrize("text", ["1", "247", "010"])
def test_a_decimal_number_is_an_address(text: str) -> None:
    assert unit_address(text) == int(text)


@pytest.mark.parametrize("text", ["", "0", "248", "-1", "1.0", "0x10", " 1", "٣", "9" * 5000])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(NotInProfile, match="1 to 247"):
        unit_address(text)


def test_by_tcp_a_meter_may_have_an_address_of_its_own() -> None:
    assert (unit_address("0", tcp=True), unit_address("255", tcp=True)) == (0, 255)
    with pytest.raises(NotInProfile, match="0 to 255"):
        unit_address("256", tcp=True)
