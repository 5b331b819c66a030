"""Ports on real file descriptors: pseudo terminals, sockets, pyserial's RFC 2217 server."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys
import termios
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import serial

from collector.edge import polled_port, serial_port, socket_port, transport
from collector.edge.transport import PortError, PortName, Transport, fault, open_port, parse_port
from collector.exits import UsageFault
from tests.edge.conftest import address_of
from tests.opponents.wires import Converter, Modemless, Pty, Rfc2217Converter

pytestmark = pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning:serial")  # pyserial 3.5's own

ROOT = Path(__file__).resolve().parents[2]
EVERY_BYTE = bytes(range(256)) + b"\r\n\x11\x13\x03\x04\x1a\xff\xff"
LONG = 60.0  # seconds: a time-out that is not meant to end


def gather(port: Transport, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = port.read(LONG, length - len(data))
        assert piece, f"only {len(data)} of {length} bytes came"
        data += piece
    return data


# ----------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/dev/ttyUSB0", PortName("device", path="/dev/ttyUSB0")),
        ("COM3", PortName("device", path="COM3")),
        ("socket://10.0.0.5:4001", PortName("socket", host="10.0.0.5", number=4001)),
        ("rfc2217://moxa.local:950", PortName("rfc2217", host="moxa.local", number=950)),
        ("tcp://meter:1502", PortName("tcp", host="meter", number=1502)),
        ("tcp://meter", PortName("tcp", host="meter", number=502)),
        ("tcp://[fe80::1]:502", PortName("tcp", host="fe80::1", number=502)),
    ],
)
def test_a_port_is_a_device_or_one_of_three_schemes(text: str, name: PortName) -> None:
    assert parse_port(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "udp://a:1", "socket://host", "rfc2217://host", "tcp://", "tcp://:502", "tcp://h:0", "tcp://h:65536",
        "tcp://h:x", "tcp://u:p@h:1", "tcp://h:1/path", "tcp://h:1?a=b", "socket://[::1:4", "tcp://h:1#x", "tcp://@h:1",
    ],
)  # fmt: skip
def test_what_is_no_port_is_a_usage_fault(text: str) -> None:
    with pytest.raises(UsageFault, match="port"):
        open_port(text, 9600, "8N1")


# ----------------------------------------------------------------------------- devices


def test_every_byte_passes_a_device_unchanged_in_both_directions(pty: Pty) -> None:
    with closing(open_port(pty.path, 9600, "8N1")) as port:
        port.write(EVERY_BYTE)
        assert os.read(pty.master, 4096) == EVERY_BYTE
        os.write(pty.master, EVERY_BYTE)
        assert gather(port, len(EVERY_BYTE)) == EVERY_BYTE


def test_a_read_takes_no_more_than_it_is_asked_for(pty: Pty) -> None:
    with closing(open_port(pty.path, 9600, "8N1")) as port:
        os.write(pty.master, b"abcdef")
        assert port.read(LONG, 4) == b"abcd"
        assert port.read(LONG, 4) == b"ef"
        assert port.read(0, 4) == b""


def test_what_is_discarded_is_not_read(pty: Pty) -> None:
    with closing(open_port(pty.path, 9600, "8N1")) as port:
        os.write(pty.master, b"old")
        assert port.read(LONG, 1) == b"o"  # it has arrived
        port.discard()
        assert port.read(0, 100) == b""


@pytest.mark.parametrize("framing", ["8N1", "8E1", "8O1", "8N2", "7E1", "7E2"])
def test_a_terminal_without_framing_is_opened_and_switched_whatever_framing_is_asked(pty: Pty, framing: str) -> None:
    for _ in range(2):  # the second time only what the terminal refuses differs
        with closing(open_port(pty.path, 2400, framing)) as port:
            assert (port.baudrate, port.framing) == (2400, framing)
            for baudrate, other in ((9600, "7E1"), (9600, "8E1"), (300, "7E1"), (19200, "8N1")):
                port.set_line(baudrate, other)
                assert (port.baudrate, port.framing) == (baudrate, other)
            port.write(b"\xc1")
            assert os.read(pty.master, 10) == b"\xc1"


def test_the_speed_is_set_at_the_device(pty: Pty) -> None:
    with closing(open_port(pty.path, 2400, "8N1")) as port:
        assert termios.tcgetattr(pty.master)[4] == termios.B2400
        port.set_line(19200, "8N1")
        port.sent()
        assert termios.tcgetattr(pty.master)[4] == termios.B19200


def test_a_device_that_is_unplugged_is_a_lost_port(pty: Pty) -> None:
    port = open_port(pty.path, 9600, "8N1")
    pty.unplug()
    with pytest.raises(PortError, match=f"{pty.path}.*plugged"):
        port.read(LONG, 100)
    with pytest.raises(PortError, match=pty.path):
        port.write(b"anybody?")
    port.close()
    port.close()


def test_a_device_that_takes_nothing_is_a_lost_port(pty: Pty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_port, "STUCK", 0.1)
    monkeypatch.setattr(serial_port, "character_seconds", lambda baudrate, framing: 0.0)
    with closing(open_port(pty.path, 9600, "8N1")) as port, pytest.raises(PortError, match="cannot be sent"):
        port.write(bytes(1 << 20))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/dev/ttyNONE7", "No such file or directory; no such device: is the adapter plugged in"),
        ("/dev/null", "not a serial port"),
        ("/dev", "Is a directory"),
    ],
)
def test_a_device_that_cannot_be_opened_says_what_to_look_at(path: str, words: str) -> None:
    with pytest.raises(PortError, match=words) as caught:
        open_port(path, 9600, "8N1")
    assert str(caught.value).startswith(f"{path}: opening at 9600 8N1: ")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "x"), "Permission denied; .* group {group},"),
        (OSError(errno.EBUSY, "x"), "in use; another program holds it"),
        (termios.error(errno.EINVAL, "x"), "Invalid argument; the adapter or its driver refuses"),
        (OSError(errno.EIO, "x"), "plugged in"),
        (ValueError("odd"), "odd"),
        (TimeoutError("timed out"), "no answer from that address"),
    ],
)
def test_each_fault_says_what_to_look_at(pty: Pty, error: Exception, words: str) -> None:
    with pytest.raises(PortError, match=words.format(group=Path(pty.path).group())):
        raise fault(pty.path, "opening", error)


# ----------------------------------------------------------------------------- network ports


@pytest.mark.parametrize("scheme", ["socket", "tcp"])
def test_every_byte_passes_a_connection_unchanged_in_both_directions(scheme: str, listener: socket.socket) -> None:
    with closing(open_port(f"{scheme}://{address_of(listener)}", 9600, "8N1")) as port:
        other, _ = listener.accept()
        with other:
            port.write(EVERY_BYTE)
            assert other.recv(4096) == EVERY_BYTE
            other.sendall(EVERY_BYTE)
            assert gather(port, len(EVERY_BYTE)) == EVERY_BYTE
            assert port.read(0, 100) == b""
            port.sent()
        assert not port.can_switch


def test_a_converter_s_bytes_reach_the_device_behind_it(pty: Pty) -> None:
    with (
        Converter(pty.path) as converter,
        closing(open_port(f"socket://127.0.0.1:{converter.port}", 9600, "8N1")) as port,
    ):
        port.write(EVERY_BYTE)
        assert os.read(pty.master, 4096) == EVERY_BYTE
        os.write(pty.master, EVERY_BYTE)
        assert gather(port, len(EVERY_BYTE)) == EVERY_BYTE


def test_a_transparent_converter_cannot_be_switched_and_says_so(listener: socket.socket) -> None:
    with closing(open_port(f"socket://{address_of(listener)}", 9600, "8N1")) as port:
        port.set_line(9600, "8N1")
        with pytest.raises(PortError, match=r"cannot be switched to 300 7E1.*rfc2217"):
            port.set_line(300, "7E1")
        assert (port.baudrate, port.framing) == (9600, "8N1")


def test_speed_means_nothing_to_modbus_tcp(listener: socket.socket) -> None:
    with closing(open_port(f"tcp://{address_of(listener)}", 9600, "8N1")) as port:
        port.set_line(300, "7E1")


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_the_other_end_ends_is_a_lost_port(reset: bool, listener: socket.socket) -> None:
    with closing(open_port(f"tcp://{address_of(listener)}", 9600, "8N1")) as port:
        other, _ = listener.accept()
        if reset:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        other.close()
        with pytest.raises(PortError, match="one client only"):
            port.read(LONG, 100)


def test_a_name_that_nobody_knows_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(PortError, match="tcp://nobody: looking up nobody: Name or service not known"):
        open_port("tcp://nobody", 9600, "8N1")


def test_an_address_that_says_nothing_is_a_time_out(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    monkeypatch.setattr(socket_port, "CONNECT", 0.05)
    listener.listen(0)
    backlog = [socket.socket() for _ in range(3)]
    for extra in backlog:  # a full queue of a listener that accepts nobody drops what comes
        extra.setblocking(False)
        extra.connect_ex(listener.getsockname())
    with pytest.raises(PortError, match="Connection timed out; no answer from that address"):
        open_port(f"tcp://{address_of(listener)}", 9600, "8N1")
    for extra in backlog:
        extra.close()


def test_a_file_number_that_select_cannot_wait_for_is_refused(
    listener: socket.socket, pty: Pty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "FD_SETSIZE", 3)
    for name in (f"tcp://{address_of(listener)}", pty.path):
        with pytest.raises(PortError, match="one process can wait for 3 open files"):
            open_port(name, 9600, "8N1")
    monkeypatch.undo()
    open_port(f"tcp://{address_of(listener)}", 9600, "8N1").close()
    open_port(pty.path, 9600, "8N1").close()


# ----------------------------------------------------------------------------- RFC 2217


def test_every_byte_passes_rfc2217_and_the_speed_is_set_behind_it(pty: Pty) -> None:
    with ExitStack() as stack:
        converter = stack.enter_context(Rfc2217Converter(pty.path))
        with closing(open_port(f"rfc2217://127.0.0.1:{converter.port}", 2400, "8N1")) as port:
            assert port.can_switch
            assert converter.baudrate == 2400
            port.write(EVERY_BYTE)
            assert os.read(pty.master, 4096) == EVERY_BYTE
            os.write(pty.master, EVERY_BYTE)
            assert gather(port, len(EVERY_BYTE)) == EVERY_BYTE
            assert port.read(0, 10) == b""
            assert port.read(0.005, 10) == b""
            assert port.read(0.05, 10) == b""
            port.set_line(19200, "8N1")
            assert converter.baudrate == 19200
            os.write(pty.master, b"old")
            assert port.read(LONG, 1) == b"o"
            port.discard()
            assert port.read(0, 10) == b""


def test_a_converter_that_refuses_a_speed_is_said_and_takes_another(pty: Pty, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = serial.Serial.baudrate

    def refuse(device: serial.Serial, baudrate: int) -> None:
        if baudrate == 19200:
            raise ValueError("not here")
        usual.fset(device, baudrate)

    monkeypatch.setattr(Modemless, "baudrate", property(usual.fget, refuse), raising=False)
    with Rfc2217Converter(pty.path) as converter:
        port = open_port(f"rfc2217://127.0.0.1:{converter.port}", 9600, "8N1")
        with closing(port):
            for _ in range(2):
                with pytest.raises(PortError, match=r"switching to 19200 8N1: .*baudrate"):
                    port.set_line(19200, "8N1")
                assert (port.baudrate, converter.baudrate) == (9600, 9600)
            port.set_line(4800, "8N1")
            assert (port.baudrate, converter.baudrate) == (4800, 4800)


def test_a_plain_port_that_speaks_no_rfc2217_says_so(pty: Pty) -> None:
    with Converter(pty.path) as converter, pytest.raises(PortError, match="does not seem to support RFC2217"):
        open_port(f"rfc2217://127.0.0.1:{converter.port}", 9600, "8N1")


def test_a_lost_rfc2217_converter_is_a_lost_port(pty: Pty) -> None:
    with Rfc2217Converter(pty.path) as converter:
        port = open_port(f"rfc2217://127.0.0.1:{converter.port}", 9600, "8N1")
    with closing(port):
        with pytest.raises(PortError):
            for _ in range(100):
                port.read(0.1, 10)
        with pytest.raises(PortError):
            for _ in range(100):
                port.write(b"x")


def test_a_wait_shorter_than_a_piece_never_sleeps_in_pyserial(monkeypatch: pytest.MonkeyPatch) -> None:
    """There it would sleep for a whole piece, which is five times the silence at 9600 baud."""
    naps: list[float] = []

    class Idle:
        in_waiting = 0

        def read(self, size: int) -> bytes:
            raise AssertionError("slept in pyserial")

    now = [0.0]

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(polled_port.time, "sleep", sleep)
    monkeypatch.setattr(polled_port.time, "monotonic", lambda: now[0])
    port = polled_port.PolledPort("idle", Idle(), None, 9600, "8N1")  # type: ignore[arg-type]
    assert port.read(0.004, 10) == b""
    assert sum(naps) == pytest.approx(0.004)


# ----------------------------------------------------------------------------- portability


def test_the_read_command_its_sockets_and_its_wire_need_no_posix() -> None:
    """A technician's laptop may run Windows: none of these modules is there."""
    code = (
        "import sys\n"
        "for name in ('fcntl', 'termios', 'tty', 'pty', 'grp', 'pwd'): sys.modules[name] = None\n"
        "import collector.edge.transport, collector.edge.socket_port, collector.edge.wire, collector.commands.read\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
