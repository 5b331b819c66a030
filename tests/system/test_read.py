"""`meterline read` as a process of its own, against Modbus servers not written here, on every kind of port."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from collector.edge.transport import open_port
from drivers import profile
from tests.opponents import servers
from tests.opponents.servers import Meter, words
from tests.opponents.wires import Converter, NullModem, Pty, Rfc2217Converter

ROOT = Path(__file__).resolve().parents[2]
OPPONENT = ROOT / "tests" / "opponents" / "opponent.yaml"

# What the opponents hold, put together without our encoders.
METER = Meter(
    unit=1,
    input={**words(0x0048, struct.pack(">f", 1592.26)), **words(0x0000, struct.pack(">f", 230.1))},
    holding={
        **words(0xA002, struct.pack(">I", 123456)),
        **words(0xA004, struct.pack(">I", 0)),
        **words(0xA006, b"\xff\xff\xff\xff"),
        **words(0x5004, struct.pack(">Q", 9_876_543_210)),
        **words(0x0140, struct.pack(">i", -1234)),
        **words(0xFC00, struct.pack(">I", 12345678)),
        **words(0x8120, bytes((26, 11, 5, 12, 30, 59))),
        **words(0x9000, bytes((24, 11, 1, 0, 0, 0))),
        **words(0x9004, struct.pack(">I", 1500000)),
    },
)
REGISTERS = {
    "1.8.0": {"value": "1592.260", "unit": "kWh", "raw": "44c70852"},
    "1.8.1": {"value": "1234.560", "unit": "kWh", "raw": "0001e240"},
    "1.8.2": {"value": "0.000", "unit": "kWh", "raw": "00000000"},
    "2.8.0": {"value": "98765432.100", "unit": "kWh", "raw": "000000024cb016ea"},
    "16.7.0": {"value": "-1234", "unit": "W", "raw": "fffffb2e"},
    "32.7.0": {"value": "230.1", "unit": "V", "raw": "4366199a"},
}
SILENT = "no answer in 0.5 s at 9600 8N1; check the meter's address, speed and framing, and its two wires"


def read(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command; a failed one must have said nothing on stdout."""
    command = [sys.executable, "-m", "collector", "read", "--profile", str(OPPONENT), *arguments]
    ended = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=200, env={"TZ": "Europe/Moscow"}
    )
    if ended.returncode:
        assert ended.stdout == ""
        assert ended.stderr.startswith(("meterline: ", "Usage: "))
        assert "Traceback" not in ended.stderr
    return ended


def values(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.fixture(scope="module")
def libmodbus_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return servers.compiled(tmp_path_factory.mktemp("libmodbus"))


@pytest.fixture(params=["pymodbus", "libmodbus"])
def opponent(request: pytest.FixtureRequest) -> Callable[[Meter, str | None], AbstractContextManager[int]]:
    if request.param == "pymodbus":
        return servers.pymodbus
    program = request.getfixturevalue("libmodbus_program")
    return lambda meter, device=None: servers.libmodbus(program, meter, device)


@pytest.fixture
def line() -> Iterator[str]:
    """A device behind which pymodbus answers."""
    with NullModem() as modem, servers.pymodbus(METER, modem.far):
        yield modem.near


# ----------------------------------------------------------------------------- every kind of port


@pytest.mark.parametrize("port", ["device", "tcp", "socket", "rfc2217"])
def test_a_meter_is_read_on_every_kind_of_port(
    port: str, opponent: Callable[[Meter, str | None], AbstractContextManager[int]]
) -> None:
    with ExitStack() as stack:
        if port == "tcp":
            name = f"tcp://127.0.0.1:{stack.enter_context(opponent(METER, None))}"
        else:
            modem = stack.enter_context(NullModem())
            name = modem.near
            stack.enter_context(opponent(METER, modem.far))
            if port != "device":
                converter = stack.enter_context((Converter if port == "socket" else Rfc2217Converter)(modem.near))
                name = f"{port}://127.0.0.1:{converter.port}"
        ended = read("--port", name, "--address", "01", "--serial-number", "012345678", "--frozen", "--format", "json")
    found = values(ended)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["asked_at"])
    assert found["asked_at"] <= found.pop("answered_at")
    assert ended.stderr == "meterline: not available now, says the meter: 1.8.3\n"
    assert found == {
        "schema": 1,
        "profile": "opponent",
        "digest": profile.load(str(OPPONENT)).digest,
        "port": name,
        "address": "1",
        "serial_number": "12345678",
        "asked_at": found["asked_at"],
        "meter_clock": "2026-11-05T12:30:59",
        "registers": REGISTERS,
        "frozen": {"2024-10": {"1.8.0": {"value": "1500.000", "unit": "kWh", "raw": "0016e360"}}},
    }


def test_a_table_says_in_words_what_each_register_is(line: str) -> None:
    ended = read("--port", line)
    assert ended.returncode == 0, ended.stderr
    assert "Opponent of the tests" in ended.stdout
    assert "serial number 12345678, address 1" in ended.stdout
    rows = [row.strip().split(maxsplit=3) for row in ended.stdout.splitlines() if re.match(r"\s*\d+\.\d", row)]
    assert rows == [
        ["1.8.0", "1592.260", "kWh", "import, total"],
        ["1.8.1", "1234.560", "kWh", "import, T1"],
        ["1.8.2", "0.000", "kWh", "import, T2"],
        ["2.8.0", "98765432.100", "kWh", "export, total"],
        ["16.7.0", "-1234", "W", "power (minus: exported)"],
        ["32.7.0", "230.1", "V", "voltage, phase 1"],
    ]


def test_the_trace_has_every_byte_with_its_direction_and_time(line: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace.txt"
    values(read("--port", line, "--format", "json", "--trace", str(trace)))
    lines = trace.read_text().splitlines()
    pattern = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (>>|<<) ((?:[0-9a-f]{2} ?)+)")
    matches = [pattern.fullmatch(text) for text in lines]
    assert all(matches), lines
    assert [text[:24] for text in lines] == sorted(text[:24] for text in lines)
    heard = {">>": b"", "<<": b""}
    for match in matches:
        assert match is not None
        heard[match[1]] += bytes.fromhex(match[2])
    assert bytes.fromhex("01 04 00 48 00 02 f1 dd") in heard[">>"]
    assert bytes.fromhex("01 04 04 44 c7 08 52 d8 b4") in heard["<<"]


def test_a_trace_to_a_dash_goes_to_stderr(line: str) -> None:
    ended = read("--port", line, "--format", "json", "--trace", "-")
    assert values(ended)["registers"] == REGISTERS
    assert " >> 01 04 00 48 00 02 f1 dd\n" in ended.stderr


# ----------------------------------------------------------------------------- a hostile line


class Spoiled:
    """What a wire does to the bytes that pass it; `name` of the method is the trouble."""

    def __init__(self) -> None:
        self.answers = 0

    def echo(self, modem: NullModem, direction: str, data: bytes) -> bytes:
        if direction == "to far":
            modem.give_to_near(data)
        return data

    def noise_before_answers(self, modem: NullModem, direction: str, data: bytes) -> bytes:
        return b"\x00\xff\x55\x01" + data if direction == "to near" else data

    def noise_behind_answers(self, modem: NullModem, direction: str, data: bytes) -> bytes:
        return data + b"\x00\x01\x04" if direction == "to near" else data

    def dribble(self, modem: NullModem, direction: str, data: bytes) -> bytes:
        if direction == "to near":
            for n in range(len(data) - 1):
                modem.give_to_near(data[n : n + 1])
                time.sleep(0.001)
            return data[-1:]
        return data

    def first_answer_late(self, modem: NullModem, direction: str, data: bytes) -> bytes:
        if direction == "to near":
            self.answers += 1
            if self.answers == 1:
                time.sleep(0.7)  # the profile's meter has 0.5 s
        return data

    def a_bit_flipped_in_every_third_answer(self, modem: NullModem, direction: str, data: bytes) -> bytes:
        if direction == "to near":
            self.answers += 1
            if self.answers % 3 == 1:
                return data[:3] + bytes((data[3] ^ 0x10,)) + data[4:]
        return data

    def first_answer_cut(self, modem: NullModem, direction: str, data: bytes) -> bytes:
        if direction == "to near":
            self.answers += 1
            if self.answers == 1:
                return data[:-1]
        return data

    def first_answer_from_a_stranger(self, modem: NullModem, direction: str, data: bytes) -> bytes:
        if direction == "to near":
            self.answers += 1
            if self.answers == 1:
                return bytes.fromhex("07 04 04 44 c7 08 52 50 b7")
        return data


@pytest.mark.parametrize("trouble", [name for name in vars(Spoiled) if not name.startswith("_")])
def test_the_values_are_right_or_absent_on_a_line_with(trouble: str) -> None:
    with NullModem(getattr(Spoiled(), trouble)) as modem, servers.pymodbus(METER, modem.far):
        found = values(read("--port", modem.near, "--format", "json"))
    assert found["registers"] == REGISTERS
    assert found["serial_number"] == "12345678"


# ----------------------------------------------------------------------------- failures, by their exit status


def test_nobody_there_is_no_answer(tmp_path: Path) -> None:
    with Pty() as pty:
        ended = read("--port", pty.path, "--trace", str(tmp_path / "trace"))
    assert (ended.returncode, ended.stderr) == (3, f"meterline: {pty.path}: {SILENT}\n")
    assert " >> 01 0" in (tmp_path / "trace").read_text()


def test_an_adapter_that_hears_itself_alone_is_no_answer_and_said() -> None:
    with NullModem(Spoiled().echo) as modem:
        ended = read("--port", modem.near)
    assert ended.returncode == 3
    assert "echo" in ended.stderr


def test_answers_that_stay_damaged_are_damage() -> None:
    def flipped(modem: NullModem, direction: str, data: bytes) -> bytes:
        return data[:-1] + bytes((data[-1] ^ 1,)) if direction == "to near" else data

    with NullModem(flipped) as modem, servers.pymodbus(METER, modem.far):
        ended = read("--port", modem.near)
    assert ended.returncode == 4
    assert re.search(r"came 01 0[34] ", ended.stderr)


def test_a_meter_that_refuses_everything_is_refused() -> None:
    with servers.pymodbus(Meter(1, {0x7777: 1}, {0x7777: 1})) as port:
        ended = read("--port", f"tcp://127.0.0.1:{port}")
    assert ended.returncode == 4
    assert "refuses" in ended.stderr


def test_registers_that_are_refused_are_named_and_the_others_shown() -> None:
    held = {at: word for at, word in METER.holding.items() if at not in (0xA004, 0xA005, 0xFC00, 0xFC01)}
    with servers.pymodbus(Meter(1, held, METER.input)) as port:
        ended = read("--port", f"tcp://127.0.0.1:{port}", "--format", "json")
    found = values(ended)
    assert found["registers"] == {code: it for code, it in REGISTERS.items() if code != "1.8.2"}
    assert found["serial_number"] is None
    assert "refused by the meter, though its profile has them: 1.8.2\n" in ended.stderr
    assert "gives no serial number" in ended.stderr


def test_another_serial_number_is_a_failed_check_with_both_named(line: str) -> None:
    ended = read("--port", line, "--serial-number", "12345679", "--format", "json")
    assert ended.returncode == 5
    assert "12345679 was expected" in ended.stderr
    assert "says 12345678" in ended.stderr


def test_a_serial_number_with_blanks_and_leading_zeros_is_the_same(line: str) -> None:
    assert read("--port", line, "--serial-number", "0012 345 678").returncode == 0


def test_a_meter_that_gives_no_serial_number_cannot_be_the_one_that_was_meant() -> None:
    held = {at: word for at, word in METER.holding.items() if at not in (0xFC00, 0xFC01)}
    with servers.pymodbus(Meter(1, held, METER.input)) as port:
        ended = read("--port", f"tcp://127.0.0.1:{port}", "--serial-number", "12345678")
    assert ended.returncode == 5
    assert "gives none" in ended.stderr


def test_a_port_that_another_program_holds_is_unreachable_and_the_holder_named(line: str) -> None:
    with closing(open_port(line, 9600, "8N1")):
        ended = read("--port", line)
    assert ended.returncode == 6
    assert re.search(r"in use; another program holds it: .*\(\d+\)", ended.stderr)


def test_a_meter_that_is_unplugged_in_the_middle_is_unreachable(tmp_path: Path) -> None:
    def unplugging(modem: NullModem, direction: str, data: bytes) -> bytes:
        if direction == "to near":
            modem.unplug_near()
        return data

    with NullModem(unplugging) as modem, servers.pymodbus(METER, modem.far):
        ended = read("--port", modem.near)
    assert ended.returncode == 6
    assert "plugged in" in ended.stderr


@pytest.mark.parametrize(
    ("scheme", "said"), [("socket", "cannot be switched"), ("tcp", "has no speed"), ("device", None)]
)
def test_a_speed_that_cannot_be_set_is_said(scheme: str, said: str | None) -> None:
    with ExitStack() as stack:
        if scheme == "tcp":
            name = f"tcp://127.0.0.1:{stack.enter_context(servers.pymodbus(METER))}"
        else:
            modem = stack.enter_context(NullModem())
            name = modem.near
            stack.enter_context(servers.pymodbus(METER, modem.far))
            if scheme == "socket":
                name = f"socket://127.0.0.1:{stack.enter_context(Converter(modem.near)).port}"
        ended = read("--port", name, "--baudrate", "19200", "--framing", "8E1", "--format", "json")
    assert values(ended)["registers"] == REGISTERS
    assert (said or "speed") in ended.stderr or said is None
    assert ("--baudrate" in ended.stderr) == (said is not None)
