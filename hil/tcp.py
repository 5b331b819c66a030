"""Simulated meters behind a Modbus TCP gateway: several connections, each served by a thread of its own."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
from collections.abc import Sequence

from drivers.dialogue import Done, Never
from drivers.meter_side import MeterSide, Reaction, Wiring
from drivers.modbus_frames import tcp_request, unit_address
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
        self.answers = 0
        self._sides: dict[int, list[tuple[Answering, MeterSide]]] = {}
        for meter in meters:
            unit = unit_address(meter.address, tcp=True)
            self._sides.setdefault(unit, []).append((meter, meter.side(Wiring(tcp=True))))
        outer = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                buffer = b""
                with contextlib.suppress(ConnectionError):  # a client that is killed resets its connection
                    while data := self.request.recv(4096):
                        buffer += data
                        used = 1
                        while buffer and used:
                            used, reaction = outer.hear(buffer, clock.millis())
                            buffer = buffer[used:]
                            outer.answers += bool(reaction)
                            for say in reaction:
                                time.sleep(turnaround if say.pause is None else say.pause)
                                self.request.sendall(say.data)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(listen, Connection)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name=f"tcp {self.port}", daemon=True
        )

    def hear(self, buffer: bytes, now: int) -> tuple[int, Reaction]:
        """How many bytes were a request (or rubbish), 0 while it is not complete, and what the meter asked says."""
        heard = tcp_request(buffer)
        if not isinstance(heard, Done):
            return (len(buffer) if isinstance(heard, Never) else 0), ()
        said: Reaction = ()
        for meter, side in self._sides.get(heard.frame.unit, ()):
            outcome = side.hear(meter.held(now), buffer[: heard.used], now / 1000)
            if isinstance(outcome, Done) and meter.address not in self.mute:
                said += outcome.frame
        return heard.used, said

    def __enter__(self) -> TcpMeters:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
