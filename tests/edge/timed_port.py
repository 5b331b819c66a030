"""A port and a clock that take no real time: every byte has the instant it would have; and a frame to send there."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from threading import Event

from drivers.dialogue import (
    DamagedFrame,
    Dialogue,
    Done,
    MeterRefused,
    More,
    Never,
    Receive,
    Send,
    character_seconds,
    silence,
)

REQUEST = bytes.fromhex("0103000000020bc4"[:14])  # seven bytes; what they mean is nobody's business here
EPSILON = 1e-9  # seconds; sums of floats


class FakeClock:
    """A clock that stands still unless somebody waits."""

    def __init__(self) -> None:
        self.time = 5000.0

    def monotonic(self) -> float:
        return self.time

    def millis(self) -> int:
        return int(self.time * 1000)

    def wait(self, until: int, wake: Event) -> bool:
        raise AssertionError("the wire waits on its port only")

    def busy(self) -> AbstractContextManager[object]:
        return nullcontext()


class FakePort:
    """A port whose `read` alone lets time pass. `meter(request)` gives (seconds after the request's end, bytes)."""

    name = "fake"

    def __init__(self, clock: FakeClock, *, baudrate: int = 9600, framing: str = "8N1", tcp: bool = False) -> None:
        self.clock = clock
        self.baudrate = baudrate
        self.framing = framing
        self.tcp = tcp
        self.can_switch = True
        self.written: list[tuple[float, bytes]] = []
        self.switched: list[tuple[float, int, str]] = []
        self.came: list[tuple[float, bytes]] = []  # when each piece was read
        self.meter: Callable[[bytes], list[tuple[float, bytes]]] = lambda request: []
        self._due: list[tuple[float, int, bytes]] = []
        self._number = 0

    @property
    def character(self) -> float:
        return 0.0 if self.tcp else character_seconds(self.baudrate, self.framing)

    def comes(self, at: float, data: bytes) -> None:
        """`data` arrives as one piece at an instant of the clock."""
        heapq.heappush(self._due, (at, self._number, data))
        self._number += 1

    def write(self, data: bytes) -> None:
        now = self.clock.time
        self.written.append((now, data))
        for after, answer in self.meter(data):
            self.comes(now + len(data) * self.character + after, answer)

    def read(self, timeout: float, most: int) -> bytes:
        assert timeout >= 0
        if not self._due or self._due[0][0] > self.clock.time + timeout:
            self.clock.time += timeout
            return b""
        at, _, data = heapq.heappop(self._due)
        if data[most:]:
            self.comes(at, data[most:])
        self.clock.time = max(self.clock.time, at)
        self.came.append((self.clock.time, data[:most]))
        return data[:most]

    def set_line(self, baudrate: int, framing: str) -> None:
        self.switched.append((self.clock.time, baudrate, framing))
        self.baudrate, self.framing = baudrate, framing

    def sent(self) -> None:
        """The system believes at once that everything has left, as a pseudo terminal does."""

    def discard(self) -> None:
        self._due.clear()

    def close(self) -> None:
        pass


def frame(payload: bytes) -> bytes:
    """A frame of these tests: 0x7E, length, payload, sum."""
    return bytes((0x7E, len(payload))) + payload + bytes((sum(payload) & 0xFF,))


def parse(buffer: bytes) -> More | Done[bytes] | Never:
    """Its parser: what is before 0x7E is passed over."""
    start = buffer.find(0x7E)
    if start < 0:
        return More(3)
    if len(buffer) < start + 2:
        return More(2)
    end = start + 3 + buffer[start + 1]
    if len(buffer) < end:
        return More(end - len(buffer))
    payload = buffer[start + 2 : end - 1]
    if sum(payload) & 0xFF != buffer[end - 1]:
        return Never(DamagedFrame(f"wrong sum in {buffer[start:end].hex(' ')}"))
    if payload == b"no":
        return Never(MeterRefused("it says no", 2))
    return Done(payload, end)


def ask(request: bytes = REQUEST, *, first: float = 0.5, between: float = 0.1, most: int = 512) -> Dialogue[bytes]:
    """One question, asked once."""
    yield Send(request)
    return (yield Receive(parse, first, between, most))


def typed(data: bytes, character: float, after: float = 0.0) -> list[tuple[float, bytes]]:
    """`data` byte by byte, each when its last bit has come, from `after` on."""
    return [(after + (n + 1) * character, data[n : n + 1]) for n in range(len(data))]


def rests(port: FakePort) -> Iterator[tuple[float, float]]:
    """For each request: how long the wire had been silent before it, and the shortest silence that is allowed."""
    for start, _ in port.written:
        ends = [at for at, _ in port.came if at <= start]
        ends += [at + len(data) * port.character for at, data in port.written if at < start]
        yield start - max(ends, default=-1e9), silence(port.baudrate)
