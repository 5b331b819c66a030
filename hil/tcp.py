"""Simulated meters behind a Modbus TCP gateway: several connections, each served by a thread of its own."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Sequence

from drivers.dialogue import Done, Never
from drivers.table import driver
from hil.line import Answering, Millis


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
        outer = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                buffer = b""
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
        for meter in self.meters:
            outcome = driver(meter.profile.protocol).answer_tcp(meter.profile, meter.address, meter.held(now), buffer)
            if isinstance(outcome, Never):
                return len(buffer), b""
            if isinstance(outcome, Done):
                used = max(used, outcome.used)
                if outcome.frame and meter.address not in self.mute:
                    answer = outcome.frame
        return used, answer

    def __enter__(self) -> TcpMeters:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
