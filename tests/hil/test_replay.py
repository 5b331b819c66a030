"""`replay`: a recording as a meter, strict and lenient, at its own pace and at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import ModbusTcpClient

from collector.clock import SystemClock
from collector.edge import wire as edge
from collector.edge.transport import open_port
from collector.exits import CheckFailed
from collector.recording import CAME, SAID, Spoken, load
from drivers import passwords, profile
from drivers.dialogue import Ask
from drivers.iec62056_21_frames import Command
from drivers.modbus_frames import Question, enveloped, registers_pdu, sealed
from drivers.table import driver
from hil.characters import Setting
from hil.ends import KINDS, Kind, client_end
from hil.play import Part, Play, Player, parts

CLOCK = SystemClock()
RECORDINGS = sorted((Path(__file__).resolve().parents[1] / "recordings").glob("*.txt"))

A, B = Part(b"ask a", ((0.0, b"told a"),)), Part(b"ask b", ((0.0, b"told b"),))
LAST = Part(b"ask a", ((0.0, b"told a again"),))


def heard(play: Play, said: bytes) -> bytes:
    """What is told to bytes that come one by one."""
    told, buffer = b"", b""
    for at in range(len(said)):
        buffer += said[at : at + 1]
        if (part := play.hear(buffer)) is not None:
            told, buffer = told + b"".join(data for _, data in part.answer), b""
    return told


def test_a_strict_play_answers_what_was_asked_in_its_order() -> None:
    play = Play((A, B, LAST))
    assert heard(play, b"ask aask bask a") == b"told atold btold a again"
    assert play.over and play.left() == ""


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"ask b", "request 1 of 3 is 61 73 6b 20 61 in the recording; came 61 73 6b 20 62"),
        (b"x", "request 1 of 3 is 61 73 6b 20 61 in the recording; came 78"),
        (b"ask aask bask a!", "all 3 requests were asked, and now comes 21"),
    ],
)
def test_a_strict_play_ends_with_what_was_expected_and_what_came(said: bytes, words: str) -> None:
    with pytest.raises(CheckFailed) as caught:
        heard(Play((A, B, LAST)), said)
    assert str(caught.value) == words


def test_what_was_not_asked_is_named() -> None:
    play = Play((A, B, LAST))
    heard(play, b"ask a")
    assert play.left() == "2 of 3 requests were not asked; next was 61 73 6b 20 62"
    with pytest.raises(CheckFailed, match="request 2 broke off: 61 73 6b 20 62 expected; came 61 73"):
        play.forget(b"as")


def test_a_lenient_play_answers_in_any_order_and_gives_the_last_answer_for_ever() -> None:
    told: list[str] = []
    play = Play((A, B, LAST), strict=False, told=told.append)
    assert heard(play, b"noise" + b"ask b" + b"ask a" * 3) == b"told btold atold a againtold a again"
    assert not play.over
    assert heard(play, b"ask c") == b""
    play.forget(b"ask c")
    assert told == ["not in the recording, not answered: 61 73 6b 20 63"]


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.binary(min_size=1, max_size=9)), min_size=1, max_size=9)
)
def test_each_recording_is_followed_by_its_own_requests(pairs: list[tuple[bytes, bytes]]) -> None:
    recording = [
        spoken
        for number, (said, came) in enumerate(pairs)
        for spoken in (Spoken(1000 * number, SAID, said), Spoken(1000 * number + 30, CAME, came))
    ]
    play = Play(parts(recording))
    assert heard(play, b"".join(said for said, _ in pairs)) == b"".join(came for _, came in pairs)
    assert play.over


def test_a_masked_password_is_fitted_by_the_right_one_in_both_ways() -> None:
    told = Part(passwords.masked(Command("P1", "(20260731)").to_bytes("xor")), ((0.0, b"\x06"),))
    for strict in (True, False):
        assert heard(Play((told,), strict=strict), Command("P1", "(00000000)").to_bytes("xor")) == b"\x06"


# ----------------------------------------------------------------------------- at a port


@contextmanager
def played(play: Play, kind: Kind = "pty", *, at_once: bool = True) -> Iterator[tuple[str, list[CheckFailed]]]:
    player = Player(play, client_end(kind, "127.0.0.1:0", Setting(9600, "8N1")), at_once=at_once)
    failed: list[CheckFailed] = []

    def run() -> None:
        try:
            player.run()
        except CheckFailed as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield player.name, failed
    finally:
        player.stop()
        thread.join()
        player.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_is_played_at_every_kind_of_port(kind: Kind) -> None:
    request = Question(1, 4, 0x0048, 2)
    data = bytes.fromhex("44c70852")
    tcp = kind == "tcp"
    said = request.tcp(7) if tcp else request.rtu()
    answer = enveloped(7, 1, registers_pdu(4, data)) if tcp else sealed(bytes.fromhex("010404") + data)
    with played(Play((Part(said, ((0.0, answer),)),), tcp=tcp), kind) as (path, failed):
        if tcp:
            client = ModbusTcpClient("127.0.0.1", port=int(path.rpartition(":")[2]), timeout=5, retries=0)
            assert client.connect()  # it begins with a transaction of its own
            assert client.read_input_registers(0x0048, count=2, device_id=1).registers == [0x44C7, 0x0852]
            client.close()
        else:
            with serial.serial_for_url(path, baudrate=9600, timeout=5) as port:
                port.write(said)
                assert port.read(len(answer)) == answer
    assert failed == []


PUSHED = parts([Spoken(0, CAME, b"/ABC5\r\n")])


def test_a_meter_that_begins_by_itself_begins_when_a_client_has_come() -> None:
    with played(Play(PUSHED), "socket") as (path, failed), serial.serial_for_url(path, timeout=5) as port:
        assert port.read(7) == b"/ABC5\r\n"
    assert failed == []


def test_a_lenient_play_of_such_a_meter_begins_again_and_again() -> None:
    with played(Play(PUSHED, strict=False)) as (path, _), serial.Serial(path, timeout=10) as port:
        assert port.read(14) == b"/ABC5\r\n" * 2


def test_at_its_own_pace_an_answer_comes_no_sooner_than_it_did() -> None:
    recording = [Spoken(0, SAID, b"ask"), Spoken(200, CAME, b"one"), Spoken(400, CAME, b"two")]
    with played(Play(parts(recording)), at_once=False) as (path, _), serial.Serial(path, timeout=5) as port:
        begun = time.monotonic()
        port.write(b"ask")
        assert port.read(3) == b"one"
        first = time.monotonic() - begun
        assert port.read(3) == b"two"
        assert first >= 0.2
        assert time.monotonic() - begun >= 0.4


def test_a_strict_play_that_is_not_followed_ends_and_one_that_breaks_off_too() -> None:
    with played(Play((A, B))) as (path, failed), serial.Serial(path, timeout=5) as port:
        port.write(b"ask aask c")
        assert port.read(6) == b"told a"
        until = time.monotonic() + 30
        while not failed and time.monotonic() < until:
            time.sleep(0.01)
        assert "came 61 73 6b 20 63" in str(failed[0])
    with played(Play((A, B))) as (path, failed), serial.Serial(path, timeout=5) as port:
        port.write(b"as")
        until = time.monotonic() + 30
        while not failed and time.monotonic() < until:
            time.sleep(0.01)
        assert "broke off" in str(failed[0])


# ----------------------------------------------------------------------------- recordings of the project


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_stored_recording_is_read_again_with_the_profile_it_names(path: Path) -> None:
    """tests/recordings/<profile>[_what].txt; address, speed and framing stand in its first remark."""
    known = profile.load(path.stem.partition("_")[0])
    first = path.read_text().splitlines()[0].split()
    address, baudrate, framing = first[first.index("address") + 1], int(first[-2]), first[-1]
    by = driver(known.protocol)
    ask = Ask(address, codes=("1.8.0",), baudrate=baudrate, framing=framing, turnaround=known.line.turnaround)
    with (
        played(Play(parts(load(path)))) as (port, failed),
        closing(open_port(port, baudrate, by.port_framing(framing))) as transport,
    ):
        readout = edge.Wire(transport, CLOCK).carry(by.read(known, ask))
    assert failed == []
    assert readout.registers["1.8.0"].value == int(first[first.index("1.8.0") + 1])
