"""The text form of a recording: what is written is read back, what is refused is named, no password is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.recording import CAME, PAUSE, SAID, Spoken, Turn, load, parse, turns, written
from drivers import passwords
from drivers.iec62056_21_characters import on_wire
from drivers.iec62056_21_frames import Command
from drivers.modbus_frames import sealed
from drivers.strict_yaml import ConfigError

INSTANTS = st.integers(min_value=0, max_value=253_402_300_799_999)  # 1970 to the end of 9999
SPOKEN = st.builds(Spoken, INSTANTS, st.sampled_from([SAID, CAME]), st.binary(min_size=1, max_size=40))
MESSAGES = st.lists(SPOKEN, max_size=20).map(tuple)


@given(MESSAGES)
def test_what_is_written_is_read_back(recording: tuple[Spoken, ...]) -> None:
    text = "".join(f"# a remark >> 01\n\n{written(spoken)}\n" for spoken in recording)
    assert parse(text, "x") == recording
    assert parse(text.replace("\n", "\r\n"), "x") == recording


@given(MESSAGES)
def test_turns_hold_every_byte_once_and_in_order(recording: tuple[Spoken, ...]) -> None:
    told = list(turns(recording))
    assert tuple(piece for turn in told for piece in (*turn.said, *turn.came)) == recording
    assert all(turn.said or turn.came for turn in told)


def test_what_is_said_again_after_silence_is_a_turn_of_its_own() -> None:
    first, again, came = Spoken(0, SAID, b"a"), Spoken(PAUSE, SAID, b"a"), Spoken(PAUSE + 1, CAME, b"b")
    assert list(turns([first, again, came])) == [Turn((first,), ()), Turn((again,), (came,))]
    soon = again._replace(at=PAUSE - 1)
    assert list(turns([first, soon, came])) == [Turn((first, soon), (came,))]


def test_every_line_that_is_refused_is_named_at_once() -> None:
    text = "2026-10-31T21:01:02.120Z >> 01\nhello\n2026-13-31T21:01:02.120Z << 01\n2026-10-31T21:01:02.120Z << 1\n"
    with pytest.raises(ConfigError) as caught:
        parse(text, "capture.txt")
    assert [fault.split(": ")[0] for fault in caught.value.faults] == [
        "capture.txt:2",
        "capture.txt:3",
        "capture.txt:4",
    ]
    assert "expected `2026-10-31T21:01:02.120Z >> 01 04`, here 'hello'" in caught.value.faults[0]


def test_an_empty_recording_a_missing_one_and_other_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nothing\n")
    (tmp_path / "other").write_bytes(b"\xff\xfe")
    for name, words in (("empty", "nobody says anything"), ("other", "byte 0"), ("none", "cannot be read")):
        with pytest.raises(ConfigError, match=words):
            load(tmp_path / name)


# ----------------------------------------------------------------------------- passwords

OPENING = sealed(bytes.fromhex("80 01 01 01 02 03 04 05 06"))
P1 = Command("P1", "(20260731)").to_bytes("xor")


@pytest.mark.parametrize("framing", ["8N1", "7E1", "7O1"])
def test_an_iec_password_and_its_check_character_are_masked_with_any_parity(framing: str) -> None:
    shown = passwords.masked(on_wire(P1, framing))
    assert shown == on_wire(P1[:5], framing) + b"*" * 8 + on_wire(b")\x03", framing) + b"*"


def test_a_mercury_password_and_its_check_bytes_are_masked() -> None:
    assert passwords.masked(OPENING) == bytes.fromhex("80 01 01") + b"*" * 8
    assert passwords.masked(b"\xff" + OPENING + OPENING) == b"\xff" + 2 * (bytes.fromhex("80 01 01") + b"*" * 8)
    assert passwords.masked(OPENING[:-1] + b"\x00") == bytes.fromhex("80 01 01") + b"*" * 8  # damaged on the way


@given(st.binary(max_size=30))
def test_what_opens_nothing_is_not_masked(data: bytes) -> None:
    if not passwords.spans(data):
        assert passwords.masked(data) == data
    question = sealed(bytes.fromhex("01 04 00 48 00 02"))
    assert passwords.masked(question) == question
    assert passwords.masked_echo(data, question) == data


@given(st.integers(0, 10), st.integers(0, 255), st.integers(0, 11))
def test_no_part_of_a_password_is_left_in_its_echo(at: int, wrong: int, noise: int) -> None:
    """Whole, damaged in a byte, behind noise, and with the answer after it."""
    damaged = bytearray(OPENING)
    damaged[at] = wrong
    answer = sealed(b"\x80\x00")
    shown = passwords.masked_echo(b"\xff" * noise + bytes(damaged) + answer, OPENING)
    assert not re.search(rb"\x01\x02\x03|\x02\x03\x04|\x03\x04\x05|\x04\x05\x06", shown)
    assert shown.endswith(answer)


def test_an_echo_of_which_no_three_characters_in_a_row_are_left_is_masked_where_the_password_stood() -> None:
    damaged = bytearray(OPENING)
    for at in (5, 8):
        damaged[at] ^= 0x40
    assert passwords.masked_echo(bytes(damaged), OPENING) == OPENING[:3] + 8 * b"*"


def test_an_answer_that_is_no_echo_is_left_as_it_came() -> None:
    for answer in (sealed(b"\x01\x00"), sealed(b"\x01\x05"), b"\x06"):
        assert passwords.masked_echo(answer, sealed(bytes.fromhex("01 01 01 01 01 01 01 01 01"))) == answer


def test_a_masked_request_is_fitted_by_any_password_and_by_nothing_else() -> None:
    recorded = passwords.masked(P1)
    assert passwords.fits(P1, recorded)
    assert passwords.fits(Command("P1", "(00000000)").to_bytes("xor"), recorded)
    assert not passwords.fits(Command("P2", "(20260731)").to_bytes("xor"), recorded)
    assert not passwords.fits(P1[:-1], recorded)
    assert passwords.fits(sealed(bytes.fromhex("80 01 01 09 09 09 09 09 09")), passwords.masked(OPENING))
    starred = sealed(bytes.fromhex("2a 04 00 48 00 02"))
    assert not passwords.fits(sealed(bytes.fromhex("2b 04 00 48 00 02")), starred)
