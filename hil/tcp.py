"""Simulated meters behind a Modbus TCP gateway: several connections, each served by a thread of its own."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
from collections.abc import Sequence

from drivers.dialogue import Done, Never
from drivers.meter_side import Wiring
from hil.line import Millis
from hil.station import Answering


class TcpMeters:
    """A TCP port that answers for its meters by unit address: a free one of this machine (`port`), or `listen`."""

    def __init__(
        self,
        meters: Sequence[Answering],
        clock: Millis,
        *,
        turnaround: float = 0.005,
        listen: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.meters = list(meters)
        self.mute: set[str] = set()
        self._sides = [(meter, meter.side(Wiring(tcp=True))) for meter in meters]
        outer = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                buffer = b""
                with contextlib.suppress(ConnectionError):  # a client that is killed resets its connection
                    while data := self.request.recv(4096):
                        buffer += data
                        used = 1
                        while buffer and used:
                            used, answer = outer.hear(buffer, clock.millis())
                            buffer = buffer[used:]
                            if answer:
                                time.sleep(turnaround)
                                self.request.sendall(answer)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(listen, Connection)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name=f"tcp {self.port}", daemon=True)

    def hear(self, buffer: bytes, now: int) -> tuple[int, bytes]:
        """How many bytes were a request (or rubbish), 0 while it is not complete, and the answer to it."""
        used, answer = 0, b""
        for meter, side in self._sides:
            outcome = side.hear(meter.held(now), buffer, now / 1000)
            if isinstance(outcome, Never):
                return len(buffer), b""
            if isinstance(outcome, Done):
                used = max(used, outcome.used)
                if outcome.frame and meter.address not in self.mute:
                    answer = b"".join(say.data for say in outcome.frame)
        return used, answer

    def __enter__(self) -> TcpMeters:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
