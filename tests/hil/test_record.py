"""`record` between a reader and simulated meters: all bytes go through at the client's speed, and stand in the file."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import serial

from collector.clock import SystemClock
from collector.edge import wire as edge
from collector.edge.transport import open_port
from collector.recording import CAME, SAID, Spoken, parse, turns
from drivers.dialogue import Ask, Readout
from drivers.meter_side import Wiring
from drivers.modbus_frames import Question, sealed
from drivers.profile import Profile, load
from drivers.table import driver
from hil.characters import Setting
from hil.ends import Kind, client_end
from hil.household import Household
from hil.line import Wire
from hil.meter import VirtualMeter
from hil.tap import Recorder, Tap

ROOT = Path(__file__).resolve().parents[2]
CLOCK = SystemClock()
SESSION = str(ROOT / "tests" / "data" / "meters" / "test-iec-session.yaml")
STILL = Household(day_wh=0, start=(20_044_630, 0, 0, 0))


def meter(name: str, address: str, wiring: Wiring) -> VirtualMeter:
    return VirtualMeter(load(name), address, STILL, "00000201", wiring=wiring)


# A meter of each protocol, as it hangs on a wire: the optical one begins at 300 baud and switches to 9600.
METERS = {
    "modbus": meter("abb-b23", "5", Wiring(19200, "8E1")),
    "optical": meter("iskra-mt174", "", Wiring(300, "7E1")),
    "password": meter(SESSION, "201", Wiring(9600, "7E1", password=b"20260731")),
    "mercury": meter("mercury-230", "31", Wiring(9600, "8N1", password=b"123456")),
}


def asked(path: str, of: VirtualMeter) -> Readout:
    """What our own reader makes of the meter at a port."""
    profile: Profile = of.profile
    assert of.wiring is not None
    rate, framing = of.wiring.baudrate, of.wiring.framing
    by = driver(profile.protocol)
    ask = Ask(of.address, codes=("1.8.0",), password=of.wiring.password, baudrate=rate, framing=framing)
    with closing(open_port(path, rate, by.port_framing(framing))) as transport:
        return edge.Wire(transport, CLOCK).carry(by.read(profile, ask))


@contextmanager
def taped(path: str, kind: Kind, lines: list[str], setting: Setting = Setting(9600, "8N1")) -> Iterator[str]:  # noqa: B008
    """The port of a tap in front of a line."""
    line = open_port(path, setting.baudrate, setting.framing or "8N1")
    end = client_end(kind, "127.0.0.1:0", setting)
    with Tap(end, line, Recorder(lines.append, CLOCK)) as tap:
        yield end.name
    assert tap.failed is None


def recorded(lines: list[str]) -> tuple[Spoken, ...]:
    return parse("\n".join(lines), "recorded")


@pytest.mark.parametrize("name", METERS)
@pytest.mark.parametrize("kind", ["pty", pytest.param("rfc2217", marks=pytest.mark.long)])
def test_a_reader_gets_the_same_through_a_tap_and_all_of_it_is_written(kind: Kind, name: str) -> None:
    of = METERS[name]
    assert of.wiring is not None
    lines: list[str] = []
    # The tap's own line is rfc2217 too, so that framing and speed are really set on it.
    with Wire([of], CLOCK, kind="rfc2217", framing="8N1") as wire:
        usual = Setting(of.wiring.baudrate, driver(of.profile.protocol).port_framing(of.wiring.framing))
        direct = asked(wire.path, of)
        with taped(wire.path, kind, lines, usual) as path:
            found = asked(path, of)
    assert found.serial_number == direct.serial_number
    assert found.registers.keys() == direct.registers.keys()
    assert found.registers["1.8.0"] == direct.registers["1.8.0"]
    told = list(turns(recorded(lines)))
    assert told[0].said, "nothing came before we said something"
    assert sum(1 for turn in told if turn.answer) >= 2
    if name == "optical":
        assert "# 9600 8N1 from here on" in lines


@pytest.mark.parametrize("name", ["password", "mercury"])
def test_no_password_is_in_a_recording(name: str) -> None:
    of = METERS[name]
    assert of.wiring is not None and of.wiring.password is not None
    lines: list[str] = []
    with Wire([of], CLOCK) as wire, taped(wire.path, "pty", lines) as path:
        asked(path, of)
    text = "".join(lines)
    secret = of.wiring.password
    forms = [secret, bytes(byte - 0x30 for byte in secret)]
    forms += [bytes(byte | (0x80 if byte.bit_count() % 2 else 0) for byte in secret)]
    assert "2a 2a 2a 2a 2a 2a" in text or "2a2a" in text.replace(" ", "")
    for form in forms:
        assert form.hex(" ") not in text
    if name == "mercury":
        opening = sealed(bytes((31, 1, 1, *(byte - 0x30 for byte in secret))))
        assert opening[-2:].hex(" ") not in text, "the check bytes leave some fifteen passwords of a million"


@pytest.mark.parametrize("kind", ["socket", "rfc2217"])
def test_a_client_may_come_and_go(kind: Kind) -> None:
    lines: list[str] = []
    of = METERS["modbus"]
    with Wire([of], CLOCK, kind="rfc2217") as wire, taped(wire.path, kind, lines, Setting(19200, "8E1")) as path:
        assert asked(path, of) == asked(path, of)
    assert len(list(turns(recorded(lines)))) >= 4


def test_a_line_that_is_lost_is_told() -> None:
    with Wire([], CLOCK, kind="socket") as wire:
        line = open_port(wire.path, 9600, "8N1")
        tap = Tap(client_end("pty", "", Setting(9600)), line, Recorder(lambda _: None, CLOCK))
    with tap:
        assert tap.ended.wait(10)
    assert tap.failed is not None
    assert "the other end ended the connection" in str(tap.failed)


class Stopped:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0

    def millis(self) -> int:
        return 1_793_480_462_000 + self.now

    def monotonic(self) -> float:
        return self.now / 1000


def test_a_turn_is_written_when_it_is_over_and_an_echo_that_comes_late_shows_no_password() -> None:
    clock, lines = Stopped(), list[str]()
    recorder = Recorder(lines.append, clock)  # type: ignore[arg-type]  # of a clock it needs these two
    opening = sealed(bytes.fromhex("80 01 01 01 02 03 04 05 06"))
    for byte in opening:  # one by one, and slower than any client would
        recorder.said(bytes((byte,)))
        clock.now += 120
    recorder.look()
    assert lines == []
    clock.now += 1500
    recorder.look()
    assert [it.data for it in recorded(lines)] == [b"\x80", b"\x01", b"\x01", *8 * [b"*"]]
    recorder.came(opening + sealed(b"\x80\x00"))
    recorder.close()
    assert recorded(lines)[-1].data == b"\x80\x01\x01" + 8 * b"*" + sealed(b"\x80\x00")
    assert [it.direction for it in recorded(lines)] == 11 * [SAID] + [CAME]


# ----------------------------------------------------------------------------- the command


def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "collector", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120, **more)


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A command that prints the name of its port, and that name."""
    command = [sys.executable, "-m", "collector", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            path = process.stdout.readline().strip()
            assert path, process.stderr.read()
            yield process, path
        finally:
            if process.poll() is None:
                process.kill()


def test_record_and_replay_as_commands_give_the_reader_the_same_values(tmp_path: Path) -> None:
    of = meter(SESSION, "201", Wiring(9600, "7E1", password=b"20260731"))
    capture, secret = tmp_path / "capture.txt", tmp_path / "password"
    secret.write_text("20260731\n")
    secret.chmod(0o600)
    reading = (
        "read",
        "--profile",
        SESSION,
        "--address",
        "201",
        "--password-file",
        str(secret),
        "--format",
        "json",
    )
    with Wire([of], CLOCK) as wire, started("record", str(capture), "--port", wire.path) as (process, path):
        first = run(*reading, "--port", path)
        assert first.returncode == 0, first.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert oct(capture.stat().st_mode & 0o777) == oct(0o666 & ~_umask())
    with started("replay", str(capture)) as (process, path):
        second = run(*reading, "--port", path)
        assert second.returncode == 0, second.stderr
        assert process.wait(30) == 0
    held, replayed = json.loads(first.stdout), json.loads(second.stdout)
    assert replayed["registers"] == held["registers"]
    assert replayed["serial_number"] == held["serial_number"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_recording_is_never_written_over_and_a_port_that_is_not_there_leaves_no_file(tmp_path: Path) -> None:
    there = tmp_path / "there.txt"
    there.write_text("# mine\n")
    refused = run("record", str(there), "--port", "/dev/null-no")
    assert refused.returncode == 2
    assert "cannot be made: File exists" in refused.stderr
    assert there.read_text() == "# mine\n"
    absent = run("record", str(tmp_path / "new.txt"), "--port", str(tmp_path / "no-device"))
    assert absent.returncode == 6
    assert not (tmp_path / "new.txt").exists()


def test_listening_only_writes_what_another_master_and_its_meters_say(tmp_path: Path) -> None:
    """On a second converter at the same wire nobody is a client; here a pseudo terminal talks by itself."""
    capture = tmp_path / "heard.txt"
    master, slave = os.openpty()
    try:
        with started("record", str(capture), "--port", os.ttyname(slave), "--client", "none", "--for", "1s") as (
            process,
            path,
        ):
            assert path == "nobody"
            os.write(master, b"/LGZ5\r\n")
            assert process.wait(30) == 0
    finally:
        os.close(master)
        os.close(slave)
    assert [(it.direction, it.data) for it in parse(capture.read_text(), "")] == [(CAME, b"/LGZ5\r\n")]


def test_a_recording_for_which_there_is_no_room_ends_with_a_word_and_not_as_if_it_were_whole(tmp_path: Path) -> None:
    capture = tmp_path / "heard.txt"
    master, slave = os.openpty()
    try:
        with started("record", str(capture), "--port", os.ttyname(slave), "--client", "none") as (process, _):
            room = capture.stat().st_size + 10
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, room))
            os.write(master, b"/LGZ5\r\n")
            assert process.wait(30) == 6
            assert process.stderr is not None
            assert "the recording ends in its last whole line" in process.stderr.read()
    finally:
        os.close(master)
        os.close(slave)


def test_a_modbus_client_not_written_here_works_through_a_tap() -> None:
    lines: list[str] = []
    request = Question(5, 3, 0x5000, 4).rtu()
    abb = meter("abb-b23", "5", Wiring(9600, "8N1"))
    with Wire([abb], CLOCK) as wire, taped(wire.path, "pty", lines) as path, serial.Serial(path, timeout=5) as client:
        client.write(request)
        answer = client.read(13)
    assert answer[:3] == b"\x05\x03\x08"
    (turn,) = turns(recorded(lines))
    assert (turn.request, turn.answer) == (request, answer)
