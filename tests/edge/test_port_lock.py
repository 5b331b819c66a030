"""A port has one holder: in this process, beside other processes, by whatever name; a killed holder leaves no lock."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from collector.edge import serial_port
from collector.edge.transport import PortError, Transport, open_port
from tests.edge.conftest import address_of
from tests.opponents.wires import Pty, Rfc2217Converter

ROOT = Path(__file__).resolve().parents[2]
TIOCGEXCL = 0x80045440  # Linux' ioctl that tells whether TIOCEXCL is set (asm-generic/ioctls.h)


def opening_elsewhere(port: str, then: str = "") -> subprocess.Popen[str]:
    """Another process that opens the port, says so, and keeps it (or does `then`)."""
    code = f"""
from collector.edge.transport import open_port, PortError
import sys, time
try:
    port = open_port({port!r}, 9600, "8N1")
except PortError as error:
    print("refused", error, flush=True)
    sys.exit()
print("open", flush=True)
{then or "time.sleep(600)"}
"""
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_opener_in_this_process_is_refused_until_the_first_closes(pty: Pty) -> None:
    port = open_port(pty.path, 9600, "8N1")
    with pytest.raises(PortError, match=rf"{pty.path}.*in use; another program holds it: .*\({os.getpid()}\)"):
        open_port(pty.path, 9600, "8N1")
    port.close()
    open_port(pty.path, 9600, "8N1").close()


def test_a_second_opener_in_another_process_is_refused_and_told_who_holds_the_port(pty: Pty) -> None:
    with closing(open_port(pty.path, 9600, "8N1")):
        line = first_line(opening_elsewhere(pty.path))
    assert line.startswith(f"refused {pty.path}")
    assert f"({os.getpid()})" in line


def test_another_name_of_the_same_device_is_the_same_port(pty: Pty, tmp_path: Path) -> None:
    (tmp_path / "by-id").symlink_to(pty.path)
    with closing(open_port(pty.path, 9600, "8N1")), pytest.raises(PortError, match=rf"in use.*\({os.getpid()}\)"):
        open_port(str(tmp_path / "by-id"), 9600, "8N1")


@pytest.mark.parametrize("scheme", ["device", "socket"])
def test_a_killed_holder_leaves_no_lock_behind(scheme: str, pty: Pty, listener: socket.socket) -> None:
    name = pty.path if scheme == "device" else f"socket://{address_of(listener)}"
    holder = opening_elsewhere(name)
    assert first_line(holder) == "open"
    with pytest.raises(PortError, match=rf"in use.*\({holder.pid}\)"):
        open_port(name, 9600, "8N1")
    holder.kill()
    holder.wait()
    open_port(name, 9600, "8N1").close()


def exclusive(path: str, port: Transport) -> bool:
    handle = os.open(path, os.O_RDWR | os.O_NOCTTY)
    with os.fdopen(handle, "rb", buffering=0) as terminal:
        return struct.unpack("i", fcntl.ioctl(terminal, TIOCGEXCL, bytes(4))) == (1,)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look at a terminal that is open exclusively")
def test_a_device_is_closed_to_programs_that_know_no_lock(pty: Pty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial_port, "PTY_MAJORS", range(0))  # taken for real hardware
    port = open_port(pty.path, 9600, "8N1")
    assert exclusive(pty.path, port)
    port.close()
    assert not exclusive(pty.path, port)


def test_a_pseudo_terminal_is_not_closed_to_others_since_it_would_stay_so(pty: Pty) -> None:
    with closing(open_port(pty.path, 9600, "8N1")) as port:
        assert not exclusive(pty.path, port)


def test_a_network_port_has_one_holder_whatever_its_scheme_and_name(listener: socket.socket) -> None:
    number = listener.getsockname()[1]
    with closing(open_port(f"tcp://127.0.0.1:{number}", 9600, "8N1")):
        for name in (f"tcp://127.0.0.1:{number}", f"socket://localhost:{number}", f"rfc2217://127.0.0.1:{number}"):
            with pytest.raises(PortError, match=rf"in use; another program holds it: .*\({os.getpid()}\)"):
                open_port(name, 9600, "8N1")
        assert first_line(opening_elsewhere(f"tcp://127.0.0.1:{number}")).startswith("refused")


def test_a_closed_network_port_is_free_again(listener: socket.socket, pty: Pty) -> None:
    first = open_port(f"socket://{address_of(listener)}", 9600, "8N1")
    first.close()
    open_port(f"tcp://{address_of(listener)}", 9600, "8N1").close()
    with Rfc2217Converter(pty.path) as converter:
        second = open_port(f"rfc2217://127.0.0.1:{converter.port}", 9600, "8N1")
        second.close()
        open_port(f"socket://127.0.0.1:{converter.port}", 9600, "8N1").close()
    assert first is not second  # both still held here: it is closing that frees a port, not forgetting it


def test_a_refused_connection_gives_its_lock_back(listener: socket.socket) -> None:
    number = listener.getsockname()[1]
    listener.close()
    for _ in range(2):
        with pytest.raises(PortError, match="Connection refused; nobody listens there"):
            open_port(f"tcp://127.0.0.1:{number}", 9600, "8N1")
