"""A simulated wire in virtual time: a clock that moves only when somebody waits, and a port that waits on it.

Meters, characters and timing are those of the paced wire; only time is not. A day of a building takes seconds, and the
same instants each time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event

from collector.edge.transport import PortError
from drivers.meter_side import Reaction, Wiring
from hil.characters import Setting, received
from hil.station import Answering, Station

PIECE = 0.1  # seconds of characters that arrive at once; the shortest time-out between two is 0.5 s


class VirtualClock:
    """Wall clock and steady time that stand still unless somebody waits."""

    def __init__(self, start: int) -> None:
        self.seconds = 1000.0
        self._begin = start - 1_000_000

    def monotonic(self) -> float:
        return self.seconds

    def millis(self) -> int:
        return self._begin + int(self.seconds * 1000 + 1e-6)

    def wait(self, until: int, wake: Event) -> bool:
        if not wake.is_set():
            self.leap(until)
        return wake.is_set()

    def leap(self, until: int) -> None:
        """Nothing happens until the wall clock shows `until`."""
        self.seconds += max(0, until - self.millis()) / 1000

    @contextmanager
    def busy(self) -> Iterator[None]:
        yield


class UnpacedWire:
    """A wire with its meters, and a client's port on it: a `Transport` of the gateway.

    `baudrate`, `framing`: how meters are set that do not say otherwise. `echo`: what is sent comes back. `cut`: why
    nothing can be opened, while there is a reason.
    """

    can_switch = True
    tcp = False

    def __init__(
        self,
        meters: Sequence[Answering],
        clock: VirtualClock,
        *,
        baudrate: int = 9600,
        framing: str = "8N1",
        turnaround: float = 0.005,
        echo: bool = False,
    ) -> None:
        self.name = "virtual"
        self.baudrate, self.framing = baudrate, framing
        self.echo = echo
        self.cut = ""
        self._clock = clock
        self._turnaround = turnaround
        self._stations = [Station(meter, Wiring(baudrate, framing)) for meter in meters]
        self._due: list[tuple[float, int, bytes, Setting]] = []
        self._count = 0
        self._free = 0.0  # when the wire has carried everything so far

    def open(self, port: str, baudrate: int, framing: str) -> UnpacedWire:
        """The port, as a line of the gateway opens it. Raises PortError while it is cut."""
        if self.cut:
            raise PortError(f"{port}: {self.cut}")
        self.baudrate, self.framing = baudrate, framing
        return self

    def write(self, data: bytes) -> None:
        sent = Setting(self.baudrate, self.framing)
        begun = max(self._free, self._clock.seconds)
        self._free = begun + len(data) * sent.character
        if self.echo:
            self._arrives(data, sent, begun)
        millis = self._clock.millis()
        self._spoken([(it, it.hear(data, sent, begun, self._free, millis)) for it in self._stations], self._free)

    def read(self, timeout: float, most: int) -> bytes:
        until = self._clock.seconds + timeout
        while True:
            self._wake(min(until, self._due[0][0] if self._due else until))
            if not self._due or self._due[0][0] > until:
                self._clock.seconds = max(self._clock.seconds, until)
                return b""
            at, _, data, sent = heapq.heappop(self._due)
            self._clock.seconds = max(self._clock.seconds, at)
            if heard := received(data, sent, Setting(self.baudrate, self.framing)):
                return heard[:most]

    def _wake(self, until: float) -> None:
        """Let those speak who are due to by then though nobody asked them."""
        for station in self._stations:
            while (wakes := station.side.wakes) is not None and wakes <= until:
                at = max(wakes, self._clock.seconds)
                self._spoken([(station, station.react(at, self._clock.millis()))], at)

    def _spoken(self, reactions: Sequence[tuple[Station, Reaction]], start: float) -> None:
        for station, reaction in reactions:
            for say in reaction:
                start += self._turnaround if say.pause is None else say.pause
                start = self._arrives(say.data, Setting(say.baudrate, station.side.framing), start)
        self._free = max(self._free, start)

    def _arrives(self, data: bytes, sent: Setting, start: float) -> float:
        """Characters on the wire from `start` on; returns when the last one has come."""
        piece = max(1, int(PIECE / sent.character))
        for begin in range(0, len(data), piece):
            end = min(begin + piece, len(data))
            self._count += 1
            heapq.heappush(self._due, (start + end * sent.character, self._count, data[begin:end], sent))
        return start + len(data) * sent.character

    def set_line(self, baudrate: int, framing: str) -> None:
        self.baudrate, self.framing = baudrate, framing

    def sent(self) -> None:
        """It has: what is on the wire takes its time there."""

    def discard(self) -> None:
        now = self._clock.seconds
        self._due = [item for item in self._due if item[0] > now]
        heapq.heapify(self._due)

    def close(self) -> None:
        self._due.clear()
