"""Ports that pyserial alone can wait for: RFC 2217 converters everywhere, serial devices on Windows.

Neither has a file descriptor to wait on. They are opened with one short read timeout that is never changed: setting a
timeout makes pyserial negotiate all line settings again, over the network.
"""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress
from typing import Any

import serial
from serial import rfc2217

from collector.edge.socket_port import notice_loss, reach
from collector.edge.transport import PortError, PortName, Transport, fault, line_settings

PIECE = 0.02  # seconds of one waiting in pyserial: how much later than its time a timeout may be noticed, at most
NAP = 0.001  # seconds between two looks in a wait that is shorter than a piece; no shorter than a USB frame
ANSWER = 3.0  # seconds in which a converter confirms a setting; pyserial's own limit
FAULTS = (OSError, ValueError)  # what pyserial lets through; SerialException is an OSError


def open_device(path: str, baudrate: int, framing: str) -> Transport:
    """A serial device where there is no select for it. Windows opens devices exclusively. Raises PortError."""
    try:
        port = serial.Serial(path, exclusive=True, timeout=PIECE, **line_settings(baudrate, framing))
    except FAULTS as error:
        raise fault(path, f"opening at {baudrate} {framing}", error) from error
    return PolledPort(path, port, None, baudrate, framing)


def open_rfc2217(port: str, name: PortName, baudrate: int, framing: str) -> Transport:
    """A converter that speaks RFC 2217, under our exclusive claim. Raises PortError."""

    def connect(address: str) -> Converter:
        host = f"[{address}]" if ":" in address else address
        converter = Converter(f"rfc2217://{host}:{name.number}", timeout=PIECE, **line_settings(baudrate, framing))
        converter.notice_loss()
        return converter

    try:
        converter, claim = reach(port, name, connect)
    except ValueError as error:  # pyserial's word for a converter that refuses a setting
        raise PortError(f"{port}: the converter refuses {baudrate} {framing}: {error}") from error
    return PolledPort(port, converter, claim, baudrate, framing)


class Converter(rfc2217.Serial):
    """pyserial's client, which switches as fast as the network allows.

    pyserial itself negotiates all settings and flow control at each change and looks for the answers every 50 ms: at
    least 100 ms. An IEC 62056-21 meter speaks at the new speed 200 ms, some 20 ms, after it was told.
    """

    _rfc2217_port_settings: dict[str, Any]  # pyserial's own, without stubs: name -> what was asked, and its state

    _socket: socket.socket

    def notice_loss(self) -> None:
        """pyserial does not: a converter that lost its power would be taken for meters that are silent."""
        notice_loss(self._socket)

    def switch(self, baudrate: int, framing: str) -> None:
        """Ask for what differs, all at once, and wait until it is confirmed. Raises ValueError where it is refused."""
        wanted = {
            "baudrate": baudrate.to_bytes(4, "big"),
            "datasize": bytes((int(framing[0]),)),
            "parity": bytes((rfc2217.RFC2217_PARITY_MAP[framing[1]],)),
            "stopsize": bytes((rfc2217.RFC2217_STOPBIT_MAP[int(framing[2])],)),
        }
        items = self._rfc2217_port_settings.values()
        asked = [item for item in items if (item.value, item.state) != (wanted[item.name], rfc2217.ACTIVE)]
        for item in asked:
            item.set(wanted[item.name])
        deadline = time.monotonic() + ANSWER
        while not all(item.is_ready() for item in asked):
            if time.monotonic() > deadline:
                raise ValueError(f"it does not confirm {', '.join(item.name for item in asked)}")
            time.sleep(NAP)


class PolledPort:
    """A port of pyserial's without a file descriptor."""

    can_switch = True
    tcp = False

    def __init__(
        self, name: str, port: serial.Serial | Converter, claim: ExitStack | None, baudrate: int, framing: str
    ) -> None:
        self.name = name
        self.baudrate = baudrate
        self.framing = framing
        self._port = port
        self._claim = claim

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
        except FAULTS as error:
            raise fault(self.name, "writing", error) from error

    def read(self, timeout: float, most: int) -> bytes:
        deadline = time.monotonic() + timeout
        try:
            while True:
                if waiting := self._port.in_waiting:
                    return bytes(self._port.read(min(waiting, most)))
                left = deadline - time.monotonic()
                if left <= 0:
                    return b""
                if left < PIECE:
                    time.sleep(min(left, NAP))
                elif first := self._port.read(1):
                    return bytes(first + self._port.read(min(self._port.in_waiting, most - 1)))
        except FAULTS as error:
            raise fault(self.name, "reading", error) from error

    def set_line(self, baudrate: int, framing: str) -> None:
        try:
            if isinstance(self._port, Converter):
                self._port.switch(baudrate, framing)
            else:
                self._port.apply_settings(line_settings(baudrate, framing))
        except FAULTS as error:
            raise fault(self.name, f"switching to {baudrate} {framing}", error) from error
        self.baudrate, self.framing = baudrate, framing

    def sent(self) -> None:
        """A converter does not tell; a device on Windows does."""
        if self._claim is None:
            try:
                self._port.flush()
            except FAULTS as error:
                raise fault(self.name, "waiting until all is sent", error) from error

    def discard(self) -> None:
        while self.read(0, 4096):
            pass

    def close(self) -> None:
        with suppress(*FAULTS):
            self._port.close()
        if self._claim is not None:
            self._claim.close()
