"""The ends of a simulated wire that a client opens: a pseudo terminal, a transparent converter, an RFC 2217 server."""

from __future__ import annotations

import os
import pty
import select
import socket
import termios
import tty
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Protocol

from serial.rfc2217 import PortManager

from hil.characters import Setting

SPEEDS = {getattr(termios, name): int(name[1:]) for name in dir(termios) if name[:1] == "B" and name[1:].isdigit()}
UNKNOWN = 1  # baud: nobody hears a speed that has no name
MOST = 4096


class Port(Protocol):
    """A client's end. `name` is what it opens."""

    name: str

    @property
    def taken(self) -> bool:
        """Whether somebody may hear what is given; a pseudo terminal keeps it for who comes."""
        ...

    def setting(self) -> Setting:
        """How the client has set it."""
        ...

    def wait(self, seconds: float | None, stop: int) -> tuple[bytes, Setting]:
        """What the client sent, and with which setting, as soon as something came.

        Nothing after `seconds`, when `stop` can be read, and when clients come and go.
        """
        ...

    def give(self, data: bytes) -> None:
        """Hand characters to the client, where there is one."""
        ...

    def close(self) -> None: ...


class Pty:
    """A pseudo terminal. A client's framing is not known: Linux keeps eight bits and no parity on it, whatever is set.

    (`pty_set_termios` in drivers/tty/pty.c clears CSIZE and PARENB.)
    """

    taken = True

    def __init__(self, _: Setting) -> None:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.name = os.ttyname(self._slave)

    def setting(self) -> Setting:
        return Setting(SPEEDS.get(termios.tcgetattr(self._slave)[4], UNKNOWN))

    def wait(self, seconds: float | None, stop: int) -> tuple[bytes, Setting]:
        ready, _, _ = select.select([self._master, stop], [], [], seconds)
        data = os.read(self._master, MOST) if self._master in ready else b""
        return data, self.setting()

    def give(self, data: bytes) -> None:
        os.write(self._master, data)

    def close(self) -> None:
        os.close(self._master)
        os.close(self._slave)


class Converter:
    """A transparent network converter: a TCP port whose serial side is set once for all. One client at a time."""

    scheme = "socket"

    def __init__(self, setting: Setting, listen: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self._setting = setting
        self._listener = socket.create_server(listen)
        self._client: socket.socket | None = None
        self.name = f"{self.scheme}://{listen[0]}:{self._listener.getsockname()[1]}"

    @property
    def taken(self) -> bool:
        return self._client is not None

    def setting(self) -> Setting:
        return self._setting

    def wait(self, seconds: float | None, stop: int) -> tuple[bytes, Setting]:
        source = (self._client or self._listener).fileno()
        ready, _, _ = select.select([source, stop], [], [], seconds)
        data = b""
        if source in ready and self._client is None:
            self._accepted(self._listener.accept()[0])
        elif source in ready:
            data = self._received()
        return self._characters(data)

    def give(self, data: bytes) -> None:
        self._put(data)

    def _accepted(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = client

    def _received(self) -> bytes:
        assert self._client is not None
        try:
            data = self._client.recv(MOST)
        except ConnectionError:
            data = b""
        if not data:
            self._lost()
        return data

    def _characters(self, data: bytes) -> tuple[bytes, Setting]:
        """The wire's characters in what the network brought, and the setting they were sent with."""
        return data, self.setting()

    def _put(self, data: bytes) -> None:
        try:
            if self._client is not None:
                self._client.sendall(data)
        except ConnectionError:
            self._lost()

    def _lost(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def close(self) -> None:
        self._lost()
        self._listener.close()


class Rfc2217(Converter):
    """A converter whose serial side the client sets (RFC 2217): pyserial's own server end, over a port of numbers."""

    scheme = "rfc2217"

    def _accepted(self, client: socket.socket) -> None:
        super()._accepted(client)
        self._serial = _numbers(self._setting)
        self._manager = PortManager(self._serial, _writer(self._put))

    def setting(self) -> Setting:
        if self._client is None:
            return self._setting
        serial = self._serial
        return Setting(serial.baudrate, f"{serial.bytesize}{serial.parity}{serial.stopbits}")

    def _characters(self, data: bytes) -> tuple[bytes, Setting]:
        # Settings stand between the characters: those of the last character count, not those behind it.
        sent, characters = self.setting(), []
        for character in self._manager.filter(data) if data else ():
            characters.append(character)
            sent = self.setting()
        return b"".join(characters), sent

    def give(self, data: bytes) -> None:
        if self._client is not None:
            self._put(b"".join(self._manager.escape(data)))


class ModbusTcp(Converter):
    """A TCP port whose client frames its messages itself: only the name tells it from a converter."""

    scheme = "tcp"


def _numbers(setting: Setting) -> Any:
    """What `PortManager` sets and asks of a serial port, without one."""
    size, parity, stop = tuple(setting.framing or "8N1")
    return SimpleNamespace(
        baudrate=setting.baudrate, bytesize=int(size), parity=parity, stopbits=int(stop),
        xonxoff=False, rtscts=False, dtr=True, rts=True, break_condition=False,
        cts=True, dsr=True, ri=False, cd=True,
        reset_input_buffer=lambda: None, reset_output_buffer=lambda: None,
    )  # fmt: skip


def _writer(write: Callable[[bytes], None]) -> Any:
    """What it answers to."""
    return SimpleNamespace(write=write)
