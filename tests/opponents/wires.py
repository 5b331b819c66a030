"""Wires for tests: a pseudo terminal whose other end the test holds, two of them joined, and converters in front."""

from __future__ import annotations

import os
import select
import socket
import threading
import tty
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType

import serial
from serial import rfc2217


class Pty:
    """A pseudo terminal. `path` is the device; what is written to it comes out of `master`, and the other way round."""

    def __init__(self) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)

    def unplug(self) -> None:
        """The adapter is pulled out: whoever has the device open is hung up on."""
        for end in (self._slave, self.master):
            with suppress(OSError):
                os.close(end)
        self.master = self._slave = -1

    def __enter__(self) -> Pty:
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()


class Running:
    """A thread that runs while the context is open and ends when `self.stop` becomes readable."""

    def __init__(self) -> None:
        self.stop, self._stopper = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._stopper, b"x")
        self._thread.join()
        os.close(self.stop)
        os.close(self._stopper)


class NullModem(Running):
    """Two pseudo terminals, joined. `near` and `far` are the devices.

    `way(modem, direction, data)` may change what passes ("to far", "to near"), or give something to the near end by
    `modem.give_to_near`: noise, echo, loss.
    """

    def __init__(self, way: Callable[[NullModem, str, bytes], bytes] | None = None) -> None:
        super().__init__()
        self._ends = ExitStack()
        self._near, self._far = self._ends.enter_context(Pty()), self._ends.enter_context(Pty())
        self.near, self.far = self._near.path, self._far.path
        self._way = way

    def give_to_near(self, data: bytes) -> None:
        os.write(self._near.master, data)

    def unplug_near(self) -> None:
        """The near device is gone; what its bytes went to is nobody's business any more."""
        self._near.unplug()

    def _run(self) -> None:
        near, far = self._near.master, self._far.master
        while True:
            ready, _, _ = select.select([near, far, self.stop], [], [])
            if self.stop in ready:
                return
            for source, target, direction in ((near, far, "to far"), (far, near, "to near")):
                if source in ready:
                    data = os.read(source, 4096)
                    data = self._way(self, direction, data) if self._way else data
                    if self._near.master < 0:
                        return
                    os.write(target, data)

    def __exit__(self, *error: object) -> None:
        super().__exit__(None, None, None)
        self._ends.close()


class Modemless(serial.Serial):
    """A pseudo terminal has no modem lines; asked for them it says ENOTTY, which pyserial's server does not expect."""

    cts = dsr = ri = cd = False

    def _update_rts_state(self) -> None: ...

    def _update_dtr_state(self) -> None: ...


class Converter(Running):
    """A transparent converter: a TCP port on this machine in front of a device. One client at a time, as most do."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._device = Modemless(path, 9600, timeout=0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._listener, self.stop], [], [])
            if self.stop in ready:
                return
            client, _ = self._listener.accept()
            with client, suppress(ConnectionError):  # a client that went away without a word
                self.serve(client)

    def serve(self, client: socket.socket) -> None:
        while True:
            ready, _, _ = select.select([client, self._device, self.stop], [], [])
            if self.stop in ready:
                os.write(self._stopper, b"x")  # for `_run` to see too
                return
            if client in ready:
                data = client.recv(4096)
                if not data:
                    return
                self.from_client(data)
            if self._device in ready:
                client.sendall(self.to_client(self._device.read(4096)))

    def from_client(self, data: bytes) -> None:
        self._device.write(data)

    def to_client(self, data: bytes) -> bytes:
        return data

    def __exit__(self, *error: object) -> None:
        super().__exit__(None, None, None)
        self._listener.close()
        self._device.close()


class Rfc2217Converter(Converter):
    """The same, speaking RFC 2217 by pyserial's own server side, so that the client may set the line."""

    @property
    def baudrate(self) -> int:
        """What the client has set."""
        return int(self._device.baudrate)

    def serve(self, client: socket.socket) -> None:
        class Out:
            write = staticmethod(client.sendall)

        self._manager = rfc2217.PortManager(self._device, Out())
        super().serve(client)

    def from_client(self, data: bytes) -> None:
        self._device.write(b"".join(self._manager.filter(data)))

    def to_client(self, data: bytes) -> bytes:
        return b"".join(self._manager.escape(data))
