"""Network ports: transparent converters (`socket://`) and Modbus TCP (`tcp://`), and the claim that makes them ours."""

from __future__ import annotations

import errno
import select
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

from collector.edge.transport import PortError, PortName, Transport, fault, holders, selectable

CONNECT = 5.0  # seconds; a SYN is repeated after 1 s and 3 s (RFC 6298), what is silent then is taken for absent
STUCK = 5.0  # seconds after which a request that the other end does not take is a lost port; ours
# A converter that lost its power says nothing. Idle connections are probed, and unacknowledged bytes waited for, so
# that within about a minute the port is known to be lost and the line opens it again; all four figures are ours.
IDLE, PROBE, PROBES, UNACKNOWLEDGED = 30, 10, 3, 20

T = TypeVar("T")


def claim(port: str, address: str, number: int) -> ExitStack:
    """Hold address and port number against other processes of ours on this machine, until the result is closed.

    A name in Linux' abstract socket space: only one process can have it, it ends with the process, it needs no folder
    and no rights, and it reaches exactly as far as the network (namespace) in which the address means something.
    Elsewhere (a technician's laptop) there is none, and the converter's own limit of clients counts.
    Raises PortError when another process has it.
    """
    held = ExitStack()
    if sys.platform == "linux":
        name = f"meterline/port/{address}:{number}"
        holder = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        try:
            holder.bind(f"\0{name}")
        except OSError as error:
            held.close()
            if error.errno != errno.EADDRINUSE:
                raise fault(port, "claiming", error) from error
            raise PortError(f"{port}: in use; another program holds it: {_holders_of(name)}") from None
    return held


def _holders_of(name: str) -> str:
    for line in Path("/proc/net/unix").read_text().splitlines():
        if line.endswith(f"@{name}"):
            return holders(f"socket:[{line.split()[6]}]") or "which one, only root can see"
    return "it has just ended; try again"


def reach(port: str, name: PortName, connect: Callable[[str], T]) -> tuple[T, ExitStack]:
    """Claim and connect to the first address of the host that answers. `connect` takes an address and raises OSError.

    Raises PortError.
    """
    try:
        found = socket.getaddrinfo(name.host, name.number, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        words = error.strerror if isinstance(error, socket.gaierror) else str(error)
        raise PortError(
            f"{port}: looking up {name.host}: {words}; is the name right, and the name server up?"
        ) from error
    refused: OSError | None = None
    for address in dict.fromkeys(str(entry[4][0]) for entry in found):
        held = claim(port, address, name.number)
        try:
            return connect(address), held
        except OSError as error:
            held.close()
            refused = error
        except BaseException:
            held.close()
            raise
    if refused is None:
        raise PortError(f"{port}: {name.host} has no address")
    raise fault(port, "connecting", refused) from refused


def open_socket(port: str, name: PortName, baudrate: int, framing: str) -> Transport:
    """Connect to a transparent converter or a Modbus TCP server under our exclusive claim. Raises PortError.

    `baudrate` and `framing` are what a converter is taken to be set to; its timing is computed from them.
    """

    def connect(address: str) -> socket.socket:
        connection = socket.create_connection((address, name.number), timeout=CONNECT)
        try:
            selectable(port, connection.fileno())
        except PortError:
            connection.close()
            raise
        return connection

    connection, held = reach(port, name, connect)
    connection.settimeout(STUCK)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a request is whole; waiting for more is waste
    notice_loss(connection)
    return SocketPort(port, connection, held, tcp=name.scheme == "tcp", baudrate=baudrate, framing=framing)


def notice_loss(connection: socket.socket) -> None:
    """Have the system find out that the other end is gone, also while nothing is said."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED * 1000)


class SocketPort:
    """A TCP connection that carries a wire's bytes, or Modbus TCP messages."""

    can_switch = False

    def __init__(
        self, name: str, connection: socket.socket, held: ExitStack, *, tcp: bool, baudrate: int, framing: str
    ) -> None:
        self.name = name
        self.tcp = tcp
        self.baudrate = baudrate
        self.framing = framing
        self._connection = connection
        self._claim = held

    def write(self, data: bytes) -> None:
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise fault(self.name, "writing", error) from error

    def read(self, timeout: float, most: int) -> bytes:
        try:
            if not select.select([self._connection], [], [], max(timeout, 0))[0]:
                return b""
            data = self._connection.recv(most)
        except (OSError, ValueError) as error:
            raise fault(self.name, "reading", error) from error
        if not data:
            raise PortError(f"{self.name}: the other end ended the connection; does it serve one client only?")
        return data

    def set_line(self, baudrate: int, framing: str) -> None:
        """Means nothing to Modbus TCP; a transparent converter cannot be switched: PortError."""
        if not self.tcp and (baudrate, framing) != (self.baudrate, self.framing):
            raise PortError(
                f"{self.name}: cannot be switched to {baudrate} {framing}; a socket:// converter stays at what it was "
                f"set to ({self.baudrate} {self.framing}). Set the converter, or use its rfc2217:// service"
            )
        self.baudrate, self.framing = baudrate, framing

    def sent(self) -> None:
        """The network does not tell when the converter's last byte has left."""

    def discard(self) -> None:
        while self.read(0, 4096):
            pass

    def close(self) -> None:
        with suppress(OSError):
            self._connection.close()
        self._claim.close()
