"""Serial devices on POSIX: opened and set by pyserial, read by select on the file descriptor.

pyserial sets its read timeout by reconfiguring the whole port, which on a pseudo terminal raises EINVAL as soon as the
terminal has refused a parity or seven data bits. So nothing of pyserial is used between `open` and `close` but
`apply_settings`, and a pseudo terminal, which carries whole bytes and knows no framing, is never asked for any.
"""

from __future__ import annotations

import fcntl
import os
import select
import termios
import time
from contextlib import suppress
from pathlib import Path

import serial

from collector.edge.transport import PortError, Transport, fault, line_settings, selectable
from drivers.dialogue import character_seconds

# Device majors of Linux' pseudo terminals (Documentation/admin-guide/devices.txt: Unix98 PTY slaves).
PTY_MAJORS = range(136, 144)
STUCK = 2.0  # seconds beyond the characters' time after which a write that does not get away is a lost port; ours
FAULTS = (OSError, termios.error, ValueError)  # what pyserial lets through


def open_device(path: str, baudrate: int, framing: str) -> Transport:
    """Open under an exclusive lock: flock for programs of ours, TIOCEXCL for all others. Raises PortError."""
    try:
        whole_bytes = os.major(Path(path).stat().st_rdev) in PTY_MAJORS
        port = serial.Serial(path, exclusive=True, **line_settings(baudrate, "8N1" if whole_bytes else framing))
    except FAULTS as error:
        raise fault(path, f"opening at {baudrate} {framing}", error) from error
    opened = SerialPort(path, port, whole_bytes, baudrate, framing)
    try:
        selectable(path, port.fileno())
        if not whole_bytes:
            # A pseudo terminal would keep this flag when its opener is killed, for as long as its other end lives.
            fcntl.ioctl(port.fileno(), termios.TIOCEXCL)
    except PortError:
        opened.close()
        raise
    except OSError as error:
        opened.close()
        raise fault(path, "locking", error) from error
    with suppress(AttributeError, *FAULTS):
        # FTDI and others gather answers for 16 ms unless asked not to; whoever cannot be asked does not gather.
        port.set_low_latency_mode(True)
    return opened


class SerialPort:
    """A serial device. `whole_bytes`: it has no framing to be set (a pseudo terminal)."""

    can_switch = True
    tcp = False

    def __init__(self, name: str, port: serial.Serial, whole_bytes: bool, baudrate: int, framing: str) -> None:
        self.name = name
        self.baudrate = baudrate
        self.framing = framing
        self._port = port
        self._handle = port.fileno()
        self._whole_bytes = whole_bytes

    def write(self, data: bytes) -> None:
        deadline = time.monotonic() + len(data) * character_seconds(self.baudrate, self.framing) + STUCK
        try:
            while True:
                with suppress(BlockingIOError):
                    data = data[os.write(self._handle, data) :]
                if not data:
                    return
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([], [self._handle], [], left)[1]:
                    raise PortError(f"{self.name}: {len(data)} bytes cannot be sent; does the adapter hang?")
        except OSError as error:
            raise fault(self.name, "writing", error) from error

    def read(self, timeout: float, most: int) -> bytes:
        try:
            if not select.select([self._handle], [], [], max(timeout, 0))[0]:
                return b""
            data = os.read(self._handle, most)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise fault(self.name, "reading", error) from error
        if not data:
            raise PortError(f"{self.name}: the device has hung up; is the adapter plugged in?")
        return data

    def set_line(self, baudrate: int, framing: str) -> None:
        try:
            self._port.apply_settings(line_settings(baudrate, "8N1" if self._whole_bytes else framing))
        except FAULTS as error:
            raise fault(self.name, f"switching to {baudrate} {framing}", error) from error
        self.baudrate, self.framing = baudrate, framing

    def sent(self) -> None:
        try:
            termios.tcdrain(self._handle)
        except FAULTS as error:
            raise fault(self.name, "waiting until all is sent", error) from error

    def discard(self) -> None:
        try:
            termios.tcflush(self._handle, termios.TCIFLUSH)
        except FAULTS as error:
            raise fault(self.name, "discarding what has come", error) from error

    def close(self) -> None:
        with suppress(*FAULTS):
            fcntl.ioctl(self._handle, termios.TIOCNXCL)
        with suppress(*FAULTS):
            self._port.close()
