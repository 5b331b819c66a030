"""Profiles that no meter has, what their meters hold, and an in-memory line in simulated time, sound or hostile."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from drivers import modbus, profile
from drivers.dialogue import (
    Ask,
    DamagedFrame,
    Dialogue,
    Done,
    Drain,
    DriverError,
    More,
    Never,
    NoAnswer,
    Pause,
    Readout,
    Receive,
    Send,
    character_seconds,
    silence,
)
from drivers.meter_side import Held, HeldFrozen, Wiring
from drivers.modbus_frames import sealed
from drivers.profile import Profile

HEAD = """
schema: 1
title: a meter for tests
protocol: modbus
source: invented
phases: 1
max_current: 60
line: {baudrate: 9600, framing: 8N1, turnaround: 20ms, timeout: 500ms, source: invented}
proof:
- {kind: computed, source: invented, request: "00", answer: "00", gives: {BILLED: "0.000"}}
"""


def make(text: str, name: str = "test-meter") -> Profile:
    """A profile from the part of it that matters to a test."""
    head = HEAD.replace("BILLED", "1.8.0" if "1.8.0:" in text else "1.8.1")
    return profile.parse(f"{head}\nid: {name}\n{text}".encode(), f"{name}.yaml")


TARIFFS = make(
    """
modbus: {function: "03", word_order: big, most_registers: 60}
serial: {address: "0000", type: u32}
clock: {address: "8120", type: ymdhms-bytes}
registers:
  1.8.0: {address: "0108", type: u32, unit: kWh, scale: 0.01}
  1.8.1: {address: "0132", type: u32, unit: kWh, scale: 0.01}
  1.8.2: {address: "013E", type: u32, unit: kWh, scale: 0.01}
  1.8.3: {address: "014A", type: u32, unit: kWh, scale: 0.01}
  1.8.4: {address: "0156", type: u32, unit: kWh, scale: 0.01}
  16.7.0: {address: "0140", type: s32, unit: W}
  32.7.0: {address: "4000", type: u16, unit: V, scale: 0.1}
""",
    "tariffs",
)

FLOATS = make(
    """
modbus: {function: "04", word_order: big, most_registers: 80, even: true}
serial: {address: FC00, type: u32, function: "03"}
registers:
  32.7.0: {address: "0000", type: f32, unit: V}
  13.7.0: {address: "001E", type: f32}
  1.8.0: {address: "0048", type: f32, unit: kWh}
  2.8.0: {address: "004A", type: f32, unit: kWh}
  1.8.1: {address: "1314", type: f64, unit: MWh}
""",
    "floats",
)

SWAPPED = make(
    """
modbus: {function: "03", word_order: little, most_registers: 20, alone: ["000B"], not_available: [max]}
serial: {address: "5000", type: ascii, words: 7}
registers:
  32.7.0: {address: "0000", type: s32, unit: V, scale: 0.1}
  31.7.0: {address: "000C", type: s32, unit: A, scale: 0.001}
  14.7.0: {address: "000B", type: u16, unit: Hz, scale: 0.1}
  1.8.0: {address: "0034", type: s32, unit: kWh, scale: 0.1}
  1.8.1: {address: "0046", type: s64, unit: kWh, scale: 0.1}
""",
    "swapped",
)

MONTHS = make(
    """
modbus: {function: "03", word_order: big, most_registers: 30, not_available: [ones]}
total: sum
serial: {address: "0001", type: hex, words: 3}
clock: {address: "0010", type: iec870-words}
registers:
  1.8.1: {address: "0100", type: u32, unit: Wh}
  1.8.2: {address: "0102", type: u32, unit: Wh}
frozen:
- stamp: {address: "0200", type: ymdhms-bytes}
  registers: {1.8.1: {address: "0204", type: u32, unit: Wh}, 1.8.2: {address: "0206", type: u32, unit: Wh}}
- back: 2
  registers: {1.8.1: {address: "0300", type: u64, unit: Wh}}
""",
    "months",
)

HELD = {
    "tariffs": Held(
        {"1.8.0": 15_922_600, "1.8.1": 10_000_010, "1.8.2": 5_922_590, "1.8.3": 0, "1.8.4": 0}
        | {"16.7.0": Decimal(-172), "32.7.0": Decimal("230.1")},
        serial_number="12345678",
        clock=datetime.fromisoformat("2026-11-01T00:00:59"),
    ),
    "floats": Held(
        {"1.8.0": 1_234_567, "2.8.0": 0, "1.8.1": 987_654_321, "32.7.0": Decimal("230.1"), "13.7.0": Decimal("-0.95")},
        serial_number="20044630",
    ),
    "swapped": Held(
        {"1.8.0": 20_044_600, "1.8.1": 123_456_700, "32.7.0": Decimal("229.9"), "31.7.0": Decimal("-1.234")}
        | {"14.7.0": Decimal("50.0")},
        serial_number="BK0420017003H",
    ),
    "months": Held(
        {"1.8.1": 700_001, "1.8.2": 300_002},
        serial_number="0123456789ab",
        clock=datetime.fromisoformat("2026-11-03T14:15:16"),
        frozen=(
            HeldFrozen(datetime.fromisoformat("2026-11-01"), 1, {"1.8.1": 690_000, "1.8.2": 299_000}),
            HeldFrozen(datetime.fromisoformat("2026-10-01"), 2, {"1.8.1": 600_000, "1.8.2": 280_000}),
        ),
    ),
}
PROFILES = [TARIFFS, FLOATS, SWAPPED, MONTHS]

Meter = Callable[[bytes], bytes]  # a request's bytes -> the answer's (nothing: silence)


def meter(of: Profile, held: Held | None = None, address: str = "1", tcp: bool = False) -> Meter:
    """The meter's side as the driver has it, for whole requests."""

    def reply(request: bytes) -> bytes:
        outcome = heard(of, request, held, address, tcp=tcp)
        return outcome.frame if isinstance(outcome, Done) else b""

    return reply


def heard(
    of: Profile, buffer: bytes, held: Held | None = None, address: str = "1", *, tcp: bool = False
) -> More | Done[bytes] | Never:
    """What the meter's side makes of a buffer, its answer as bytes (nothing: silence)."""
    outcome = modbus.meter(of, address, Wiring(tcp=tcp)).hear(held or HELD[of.id], buffer, 0.0)
    if not isinstance(outcome, Done):
        return outcome
    assert all((say.baudrate, say.pause) == (9600, None) for say in outcome.frame)
    return Done(b"".join(say.data for say in outcome.frame), outcome.used)


@dataclass
class Line:
    """One wire in simulated time, with the semantics that `Receive`, `Drain` and `Send` promise a driver.

    `reply(request, now)` gives pieces of what comes back: (seconds after the request, bytes). `asked`: the requests.
    """

    reply: Callable[[bytes, float], list[tuple[float, bytes]]]
    baudrate: int = 9600
    now: float = 0.0
    asked: list[bytes] = field(default_factory=list)
    coming: list[tuple[float, int, int]] = field(default_factory=list)

    def carry(self, dialogue: Dialogue[Any]) -> Any:
        """Carry out a dialogue to its end; its value, or the error that it raises."""
        back: Any = None
        trouble: DriverError | None = None
        while True:
            try:
                step = dialogue.throw(trouble) if trouble else dialogue.send(back)
            except StopIteration as end:
                return end.value
            back = trouble = None
            match step:
                case Send(data):
                    self._send(data)
                case Receive():
                    try:
                        back = self._receive(step)
                    except DriverError as error:
                        trouble = error
                case Drain(seconds):
                    self._drain(seconds)
                case Pause(seconds):
                    self.now += seconds
                case _:
                    raise AssertionError(step)

    def _send(self, data: bytes) -> None:
        self.now += silence(self.baudrate)
        while self.coming and self.coming[0][0] <= self.now:
            heapq.heappop(self.coming)  # late bytes are drained before a request
        self.asked.append(data)
        self.now += len(data) * self._character
        for delay, piece in self.reply(data, self.now):
            for number, byte in enumerate(piece):
                at = self.now + delay + (number + 1) * self._character
                heapq.heappush(self.coming, (at, len(self.coming), byte))

    @property
    def _character(self) -> float:
        return character_seconds(self.baudrate, "8N1")

    def _byte(self, until: float) -> int | None:
        if not self.coming or self.coming[0][0] > until:
            self.now = until
            return None
        at, _, byte = heapq.heappop(self.coming)
        self.now = max(self.now, at)
        return byte

    def _receive(self, step: Receive) -> Any:
        buffer = b""
        while True:
            outcome = step.parse(buffer)
            if isinstance(outcome, Done):
                return outcome.frame
            if isinstance(outcome, Never):
                raise outcome.error
            assert outcome.wanted > 0
            byte = self._byte(self.now + (step.between if buffer else step.first) + self._character)
            if byte is None:
                raise DamagedFrame(f"came {buffer.hex()}") if buffer else NoAnswer("nothing came")
            buffer += bytes((byte,))
            if len(buffer) > step.most:
                raise DamagedFrame("too much")

    def _drain(self, seconds: float) -> None:
        limit = self.now + 10 * seconds
        while self._byte(min(self.now + seconds, limit)) is not None:
            pass


def sound(reply: Meter) -> Line:
    """A line on which everything arrives 20 ms after it was asked for."""
    return Line(lambda request, now: [(0.02, reply(request))])


ASK = Ask("1", frozen=True)


def read(profile: Profile, reply: Meter | None = None, ask: Ask = ASK) -> Readout:
    return sound(reply or meter(profile)).carry(modbus.read(profile, ask))


def refusing(reply: Meter, refuses: Callable[[int, int, int], int]) -> Meter:
    """A meter that answers with the exception that `refuses(function, start, end)` says, unless that is 0."""

    def answer(request: bytes) -> bytes:
        function, start, count = request[1], int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        code = refuses(function, start, start + count)
        return sealed(bytes((request[0], function | 0x80, code))) if code else reply(request)

    return answer


def without(*addresses: int) -> Callable[[int, int, int], int]:
    """What a meter says that does not have these registers."""
    return lambda _, start, end: 2 if any(start <= address < end for address in addresses) else 0


class Hostile:
    """What a bad line makes of answers, from a seed: lost, flipped, cut, doubled, late, behind noise or an echo.

    What it does not do: say a sound answer again some time after it was received. No meter speaks unasked (Modbus over
    serial line V1.02, 2.1), and an answer says nothing of its question: no reader could tell.
    """

    def __init__(self, reply: Meter, seed: int, *, trouble: float, latest: float) -> None:
        self.reply, self.random = reply, random.Random(seed)
        self.trouble, self.latest = trouble, latest

    def __call__(self, request: bytes, now: float) -> list[tuple[float, bytes]]:
        chance = self.random
        if chance.random() > self.trouble:
            return [(0.02, self.reply(request))]
        faults = {
            "request lost": lambda: [],
            "request flipped": lambda: [(0.02, self.reply(self._flip(request)))],
            "answer flipped": lambda: [(0.02, self._flip(self.reply(request)))],
            "answer cut": lambda: [(0.02, self.reply(request)[: chance.randrange(1, 6)])],
            "answer doubled": lambda: [(0.02, 2 * self.reply(request))],
            "late": lambda: [(chance.uniform(0.4, self.latest), self.reply(request))],
            "noise before": lambda: [(0.0, self._noise(40)), (0.02 + chance.random() / 5, self.reply(request))],
            "noise close before": lambda: [(0.02, self._noise(40) + self.reply(request))],
            "noise behind": lambda: [(0.02, self.reply(request) + self._noise(20))],
            "noise alone": lambda: [(0.02, self._noise(400))],
            "echo": lambda: [(0.0, request), (0.03, self.reply(request))],
        }
        return faults[chance.choice(sorted(faults))]()

    def _flip(self, data: bytes) -> bytes:
        """One to three bits: any such damage of a frame shows in its CRC."""
        number = int.from_bytes(data, "big")
        for bit in self.random.sample(range(8 * len(data)), min(self.random.randint(1, 3), 8 * len(data))):
            number ^= 1 << bit
        return number.to_bytes(len(data), "big")

    def _noise(self, most: int) -> bytes:
        """Random bytes, among them many that begin like an answer of meter 1."""
        alphabet = [1, 3, 4, 0x83, 0x84, *range(256)]
        return bytes(self.random.choice(alphabet) for _ in range(self.random.randint(1, most)))
