"""Frames of Mercury meters: known answers flipped, cut, doubled, from elsewhere; statuses; echoes; addresses."""

from __future__ import annotations

from datetime import datetime

import pytest

from drivers import mercury
from drivers.dialogue import DamagedFrame, Done, DriverError, MeterRefused, More, Never, NotInProfile
from drivers.mercury_address import of_serial, on_the_wire
from drivers.mercury_frames import Question
from drivers.mercury_places import MercuryProfile
from drivers.mercury_requests import READABLE, asks, body, is_dated, readable, silence
from drivers.modbus_frames import sealed
from drivers.profile import HexProof
from tests.drivers.mercury_world import PROFILES

PROOFS = [
    pytest.param(item, one, id=f"{item.id}-{number}")
    for item in PROFILES.values()
    for number, one in enumerate(item.proof, 1)
]
every_proof = pytest.mark.parametrize(("profile", "one"), PROOFS)
ENERGY = Question("230", b"\x80", bytes.fromhex("05 00 00"), 16)
ANSWER = sealed(bytes.fromhex("80 30 00 28 C5 FF FF FF FF 04 00 9C 95 FF FF FF FF"))


def question(profile: MercuryProfile, one: HexProof) -> Question:
    """The request of a proof, and as many data bytes as its answer has."""
    width = 1 if profile.mercury.family == "230" else 4
    head = width if width == 1 else 5
    return Question(profile.mercury.family, one.request[:width], one.request[width:-2], len(one.answer) - head - 2)


# ----------------------------------------------------------------------------- damage


@every_proof
def test_the_request_of_a_proof_is_what_we_would_send(profile: MercuryProfile, one: HexProof) -> None:
    assert question(profile, one).frame() == one.request


@every_proof
def test_an_answer_that_comes_byte_by_byte_is_not_done_before_its_last_byte(
    profile: MercuryProfile, one: HexProof
) -> None:
    asked = question(profile, one)
    parse = asked.parser()
    for end in range(len(one.answer)):
        outcome = parse(one.answer[:end])
        assert isinstance(outcome, More), one.answer[:end].hex(" ")
        assert end + outcome.wanted <= len(one.answer)
    data = one.answer[len(asked.head) : -2]
    assert parse(one.answer) == Done(data, len(one.answer))
    assert parse(one.answer + b"\x80\x00") == Done(data, len(one.answer))
    assert parse(2 * one.answer) == Done(data, len(one.answer))


@every_proof
def test_no_flipped_bit_of_an_answer_gives_a_value(profile: MercuryProfile, one: HexProof) -> None:
    for bit in range(8 * len(one.answer)):
        damaged = bytearray(one.answer)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DriverError):
            mercury.understand(profile, one.model_copy(update={"answer": bytes(damaged)}))


@every_proof
def test_no_part_of_an_answer_and_no_answer_of_another_meter_gives_a_value(
    profile: MercuryProfile, one: HexProof
) -> None:
    width = 1 if profile.mercury.family == "230" else 4
    other = sealed(bytes((*one.answer[: width - 1], one.answer[width - 1] ^ 0x01)) + one.answer[width:-2])
    parts = [one.answer[:end] for end in range(len(one.answer))] + [one.answer[at:] for at in range(1, len(one.answer))]
    for damaged in (*parts, other, b"", one.request):
        with pytest.raises(DriverError):
            mercury.understand(profile, one.model_copy(update={"answer": damaged}))


def test_an_answer_of_another_meter_is_named_as_soon_as_it_has_come() -> None:
    outcome = ENERGY.parser()(sealed(b"\x81" + ANSWER[1:-2]))
    assert isinstance(outcome, Never)
    assert isinstance(outcome.error, DamagedFrame)
    assert not outcome.error.whole, "the right one's answer may still be under way"
    assert "another meter answered" in str(outcome.error)


def test_a_wrong_check_means_that_the_answer_has_come_only_where_its_header_says_much() -> None:
    tariffs = Question("200", bytes.fromhex("00 06 47 5E"), b"\x27", 16)
    answer = sealed(bytes.fromhex("00 06 47 5E 27 00 06 21 42 00 02 08 34") + bytes(8))
    for question, sound, whole in ((ENERGY, ANSWER, False), (tariffs, answer, True)):
        damaged = sound[:-1] + bytes((sound[-1] ^ 1,))
        for came, is_whole in ((damaged, whole), (damaged + b"\x80", False), (b"\x01" + damaged, False)):
            outcome = question.parser()(came)
            assert isinstance(outcome, Never)
            assert isinstance(outcome.error, DamagedFrame)
            assert outcome.error.whole is is_whole


def test_noise_or_a_damaged_echo_before_an_answer_is_passed_over() -> None:
    echo = ENERGY.frame()
    for before in (b"\x00", b"\xff\x00\x12", b"\x00" + echo, bytes(range(1, 32))):
        assert ENERGY.parser()(before + ANSWER) == Done(ANSWER[1:-2], len(before + ANSWER)), before.hex()


def test_the_echo_of_a_request_as_long_as_its_answer_is_not_the_answer() -> None:
    """github.com/Brokly/ESPHome-Mercury230 issue 19: 5406.9 Hz were the echo of the request."""
    hertz = Question("230", b"\x80", bytes.fromhex("08 16 40"), 3)
    answer = sealed(bytes.fromhex("80 00 87 13"))
    assert len(hertz.frame()) == len(answer)
    assert isinstance(hertz.parser()(hertz.frame()), More)
    for before in (b"", b"\x00", b"\x80"):
        assert isinstance(hertz.parser()(before + hertz.frame()), More)
        came = before + hertz.frame() + answer
        assert hertz.parser()(came) == Done(answer[1:-2], len(came))


def test_the_answer_to_a_channel_test_is_the_request() -> None:
    test = Question("230", b"\x01", b"\x00", 1)
    assert test.frame() == bytes.fromhex("01 00 00 20")  # INC20 appendix A
    assert test.parser()(test.frame()) == Done(b"\x00", 4)


def test_more_noise_than_an_echo_can_be_is_damage() -> None:
    outcome = ENERGY.parser()(bytes(33))
    assert isinstance(outcome, Never)
    assert isinstance(outcome.error, DamagedFrame)


def test_what_a_check_cannot_show_and_bcd_can_is_damage() -> None:
    profile, one = next(param.values for param in PROOFS if param.id == "mercury-200-1")
    assert isinstance(profile, MercuryProfile)
    assert isinstance(one, HexProof)
    wrong = sealed(one.answer[:5] + b"\x00\x0a" + one.answer[7:-2])
    with pytest.raises(DamagedFrame, match="00 0a 21 42 is not BCD"):
        mercury.understand(profile, one.model_copy(update={"answer": wrong}))


# ----------------------------------------------------------------------------- statuses


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0x01, "does not know this command"),
        (0x32, "internal error"),
        (0x83, "access level is too low"),
        (0x04, "already corrected today"),
        (0x05, "channel is not open"),
        (0x07, "does not define"),
    ],
)
def test_four_bytes_where_more_are_due_say_no_by_their_low_nibble(status: int, text: str) -> None:
    outcome = ENERGY.parser()(sealed(bytes((0x80, status))))
    assert isinstance(outcome, Never)
    assert isinstance(outcome.error, MeterRefused)
    assert outcome.error.code == status & 0x0F
    assert text in str(outcome.error)


def test_all_is_well_where_a_value_is_due_answers_another_question() -> None:
    outcome = ENERGY.parser()(sealed(b"\x80\x00"))
    assert isinstance(outcome, Never)
    assert isinstance(outcome.error, DamagedFrame)
    assert "answers another question" in str(outcome.error)


def test_a_status_is_the_answer_where_one_byte_is_due() -> None:
    opening = Question("230", b"\x80", bytes.fromhex("01 01 31 31 31 31 31 31"), 1)
    assert opening.parser()(sealed(b"\x80\x00")) == Done(b"\x00", 4)
    assert opening.parser()(sealed(b"\x80\x80")) == Done(b"\x80", 4)  # the high nibble says nothing
    outcome = opening.parser()(sealed(b"\x80\x05"))
    assert isinstance(outcome, Never)
    assert isinstance(outcome.error, MeterRefused)


def test_no_error_text_shows_a_password() -> None:
    opening = Question("230", b"\x80", bytes.fromhex("01 01 37 38 39 37 38 39"), 1)
    echo = bytearray(opening.frame())
    echo[-1] ^= 1
    for came in (b"\x81" * 40 + echo, bytes(echo) + sealed(b"\x80\x05"), sealed(b"\x80\x05")):
        outcome = opening.parser()(bytes(came))
        if isinstance(outcome, Never):
            assert "37" not in str(outcome.error).replace("37 bytes", "")
    assert "37 38" not in str(opening)


# ----------------------------------------------------------------------------- requests


def test_nothing_that_may_be_asked_writes() -> None:
    """Codes 01 to 03 and 07 of the 230 family write (INC20 1.5.3), 00 to 14 and 70 to 7A of the 200 one (M206)."""
    for family, allowed in (("230", {0x04, 0x05, 0x08, 0x18}), ("200", {*range(0x20, 0x40), *range(0x60, 0x70), 0x81})):
        kinds = READABLE[family]  # type: ignore[index]
        assert {int(kind.pattern[:2], 16) for kind in kinds} <= allowed
    for request in ("03 0D", "03 08", "07 00", "02", "01 01"):
        assert readable("230", request) is None
    for request in ("02", "0C 04 00", "06 1F", "71 55"):
        assert readable("200", request) is None


def test_a_dated_request_asks_for_the_month_that_began_with_the_closing() -> None:
    october = datetime.fromisoformat("2026-10-01")
    assert body("05 Bm 02", october) == bytes.fromhex("05 BA 02")
    assert body("32 0z", october) == bytes.fromhex("32 09")
    assert body("18 01 01 MM YY 04", october) == bytes.fromhex("18 01 01 10 26 04")
    assert body("05 Bm 00", datetime.fromisoformat("2026-01-01")) == bytes.fromhex("05 B1 00")
    assert is_dated("05 Bm 00")
    assert not is_dated("05 00 00")
    with pytest.raises(ValueError, match="asks for a month"):
        body("32 0z")
    assert asks("05 Bm 02", bytes.fromhex("05 BC 02"))
    assert not asks("05 Bm 02", bytes.fromhex("05 B0 02"))
    assert not asks("32 0z", bytes.fromhex("32 0F"))


def test_frames_are_apart_for_longer_than_a_meter_waits_for_their_end() -> None:
    """INC20 table 1.1, and M206: 5 to 6 characters."""
    table = {300: 160, 1200: 40, 4800: 10, 9600: 5, 19200: 3, 38400: 2, 115200: 2}
    for baudrate, milliseconds in table.items():
        assert milliseconds / 1000 < silence("230", baudrate, "8N1") < 1.2 * milliseconds / 1000
    assert silence("200", 9600, "8N1") > 6 * 10 / 9600


# ----------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("serial", "d_index", "address"),
    [
        ("38395190", False, 190), ("38395790", False, 90), ("38395700", False, 1), ("38395239", False, 239),
        ("38395240", False, 40), ("38395190", True, 90), ("38395790", True, 90), ("38395700", True, 20),
        ("38395507", True, 17), ("38395124", True, 124), ("38395125", True, 25), ("38395017", True, 17),
    ],
)  # fmt: skip
def test_the_address_follows_from_the_serial_number(serial: str, d_index: bool, address: int) -> None:
    """INC20 appendix B, its examples and the ends of its ranges."""
    assert of_serial(serial, d_index=d_index) == address


def test_an_address_has_one_spelling_and_that_of_everybody_is_refused() -> None:
    assert mercury.normal_address("0190", "/dev/ttyUSB0") == "190"
    assert mercury.normal_address("010925856", "socket://h:1") == "10925856"
    for wrong, text in (("0", "all answer at once"), ("BE", "decimal number"), ("4294967296", "decimal number")):
        with pytest.raises(ValueError, match=text):
            mercury.normal_address(wrong, "/dev/ttyUSB0")


def test_an_address_must_be_one_of_the_family() -> None:
    assert on_the_wire("230", "240") == b"\xf0"
    assert on_the_wire("230", "0") == b"\x00"
    assert on_the_wire("200", "411486") == bytes.fromhex("00 06 47 5E")  # MercuryStats
    for family, wrong in (("230", "241"), ("230", "10925856"), ("200", "0"), ("200", "-1")):
        with pytest.raises(NotInProfile):
            on_the_wire(family, wrong)  # type: ignore[arg-type]
