"""Ports by name: what a `Transport` is, which one a name opens, and what to look at when a port cannot be had.

A port is held by one process at a time: devices by flock (and TIOCEXCL), network ports by a name that the kernel gives
to one process only. Reopening a lost port is the line's work.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from collector.exits import Unreachable, UsageFault

Scheme = Literal["device", "socket", "rfc2217", "tcp"]
_NETWORK: dict[str, Scheme] = {"socket": "socket", "rfc2217": "rfc2217", "tcp": "tcp"}
MODBUS_TCP = 502  # IANA: mbap 502/tcp
FD_SETSIZE = 1024  # how many files select() can wait for (glibc); its time-outs are exact, those of poll() whole ms


class PortError(Unreachable):
    """A port cannot be opened, or is lost. The text names the port, what was tried, and what to look at."""


class Transport(Protocol):
    """Bytes to and from one wire. Every method raises PortError when the port is lost.

    `name`: the port as the operator wrote it. `baudrate`, `framing`: how the line is set now (what it is taken to be,
    where it cannot be set). `can_switch`: whether `set_line` can do anything. `tcp`: the port frames messages itself
    (Modbus TCP), characters and silences mean nothing on it.
    """

    name: str
    baudrate: int
    framing: str
    can_switch: bool
    tcp: bool

    def write(self, data: bytes) -> None:
        """Hand all of `data` over for sending; does not wait until it has left."""

    def read(self, timeout: float, most: int) -> bytes:
        """What has come, at most `most` bytes, as soon as something has; b"" after `timeout` seconds (0: at once)."""

    def set_line(self, baudrate: int, framing: str) -> None:
        """Switch speed and framing, once; nothing is sent or awaited here (`sent` first)."""

    def sent(self) -> None:
        """Return when the system says that the last byte written has left. Adapters may still hold some."""

    def discard(self) -> None:
        """Throw away what has come and was not read."""

    def close(self) -> None:
        """Give the port and its lock back. Never raises."""


@dataclass(frozen=True, slots=True)
class PortName:
    """A port's name in its parts: `host` and `number` of a network port, `path` of a device."""

    scheme: Scheme
    path: str = ""
    host: str = ""
    number: int = 0


def parse_port(text: str) -> PortName:
    """`/dev/ttyUSB0`, `socket://host:port`, `rfc2217://host:port`, `tcp://host[:502]`. Raises UsageFault."""
    if "://" not in text:
        if not text.strip():
            raise UsageFault("port: a name is needed, e.g. /dev/ttyUSB0 or tcp://10.0.0.5:502")
        return PortName("device", path=text)
    word = text.partition("://")[0]
    scheme = _NETWORK.get(word)
    if scheme is None:
        raise UsageFault(f"port {text!r}: {word}:// is not known; known are socket://, rfc2217://, tcp:// and devices")
    try:
        parts = urlsplit(text)
        host, number = parts.hostname, parts.port
    except ValueError as error:
        raise UsageFault(f"port {text!r}: {error}; expected {scheme}://host:port") from None
    if number is None and scheme == "tcp":
        number = MODBUS_TCP
    if not host or not number or "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment:
        raise UsageFault(f"port {text!r}: expected {scheme}://host:port and nothing more")
    return PortName(scheme, host=host, number=number)


def open_port(port: str, baudrate: int, framing: str) -> Transport:
    """Open a port under an exclusive lock, set to `baudrate` and `framing` where they can be set.

    Raises UsageFault for a name that is none, PortError when the port cannot be opened.
    """
    name = parse_port(port)
    # Imported here: a gateway on Modbus TCP needs no serial port library, and Windows has no termios.
    if name.scheme == "rfc2217":
        from collector.edge.polled_port import open_rfc2217

        return open_rfc2217(port, name, baudrate, framing)
    if name.scheme != "device":
        from collector.edge.socket_port import open_socket

        return open_socket(port, name, baudrate, framing)
    if os.name == "posix":
        from collector.edge.serial_port import open_device
    else:
        from collector.edge.polled_port import open_device
    return open_device(name.path, baudrate, framing)


def line_settings(baudrate: int, framing: str) -> dict[str, Any]:
    """Keyword arguments of pyserial's ports, and of `apply_settings`, which sets only what differs."""
    return {"baudrate": baudrate, "bytesize": int(framing[0]), "parity": framing[1], "stopbits": int(framing[2])}


def selectable(port: str, handle: int) -> None:
    """Raise PortError where select() cannot wait for this file number (POSIX counts them, Windows does not)."""
    if os.name == "posix" and handle >= FD_SETSIZE:
        raise PortError(
            f"{port}: file number {handle}: one process can wait for {FD_SETSIZE} open files; start another"
        )


# ----------------------------------------------------------------------------- what to look at

_LOOK_AT = {
    errno.ENOENT: "no such device: is the adapter plugged in? `ls -l /dev/serial/by-id` shows those that are",
    errno.ENODEV: "the driver has no hardware behind this name: another device name?",
    errno.ENXIO: "the driver has no hardware behind this name: another device name?",
    errno.EIO: "the device is gone or does not react: is the adapter plugged in?",
    errno.ENOTTY: "this is not a serial port",
    errno.EINVAL: "the adapter or its driver refuses these line settings",
    errno.ECONNREFUSED: "nobody listens there: the port number, and whether the converter works as a TCP server",
    errno.ECONNRESET: "the other end ended the connection: does it serve one client only, and has it another?",
    errno.EPIPE: "the other end ended the connection: does it serve one client only, and has it another?",
    errno.ETIMEDOUT: "no answer from that address: power, cable, address, firewall",
    errno.EHOSTUNREACH: "no way to that address: power, cable, address, netmask",
    errno.ENETUNREACH: "no way to that network: is the gateway's own network up?",
    errno.EMFILE: "this process has too many files open: raise its limit (LimitNOFILE, ulimit -n)",
}


def fault(port: str, tried: str, error: BaseException) -> PortError:
    """The PortError for a failed system call: port, what was tried, the system's words, what to look at."""
    number = error_number(error)
    if number is None:
        return PortError(f"{port}: {tried}: {error}")
    words = os.strerror(number)
    if number in (errno.EACCES, errno.EPERM):
        look = f"this user may not use it: add the user to the group {_group(port)}, then log in again"
        if "://" in port:
            look = "a firewall on this machine forbids it"
    elif number in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK):
        words = "in use"
        look = f"another program holds it: {holders(os.path.realpath(port)) or 'which one, only root can see'}"
    else:
        look = _LOOK_AT.get(number, "")
    return PortError(f"{port}: {tried}: {words}" + (f"; {look}" if look else ""))


def error_number(error: BaseException) -> int | None:
    """The errno of an error, also of termios' own class and of what a library wrapped in its own words."""
    if isinstance(error, TimeoutError):
        return errno.ETIMEDOUT
    for cause in (error, error.__context__):
        number = getattr(cause, "errno", None)
        if number is None and cause is not None and len(cause.args) == 2:
            number = cause.args[0]
        if isinstance(number, int) and number > 0:
            return number
    return None


def _group(path: str) -> str:
    """The group of a device: dialout on Debian, uucp on Arch."""
    try:
        return Path(path).group()
    except (OSError, KeyError, NotImplementedError):
        return "dialout"


def holders(link: str) -> str:
    """The programs that have `link` (a path, or `socket:[inode]`) open, as `name (pid)`; "" where none can be seen."""
    found = {}
    for handle in Path("/proc").glob("[1-9]*/fd/*"):
        try:
            if str(handle.readlink()) == link:
                process = handle.parent.parent
                found[process.name] = (process / "comm").read_text().strip()
        except OSError:  # the process has ended, or is not ours to look into
            continue
    return ", ".join(f"{name} ({pid})" for pid, name in found.items())
