"""The wire's rules, on a port and a clock that take no real time: every byte has the instant it would have."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import pairwise
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.edge import wire as wire_module
from collector.edge.transport import PortError
from collector.edge.wire import Wire
from drivers.dialogue import (
    DamagedFrame,
    Dialogue,
    Done,
    Drain,
    MeterRefused,
    More,
    Never,
    NoAnswer,
    NotInProfile,
    Pause,
    Receive,
    Send,
    SetLine,
    character_seconds,
    exchange,
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


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def port(clock: FakeClock) -> FakePort:
    return FakePort(clock)


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


# ----------------------------------------------------------------------------- answers


@given(st.binary(max_size=60), st.lists(st.integers(1, 59), max_size=8), st.sampled_from([300, 9600, 115200]))
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(payload: bytes, cuts: list[int], baudrate: int) -> None:
    clock = FakeClock()
    port = FakePort(clock, baudrate=baudrate)
    answer = frame(payload)
    edges = [0, *sorted({cut for cut in cuts if cut < len(answer)}), len(answer)]
    pieces = [(0.02 + end * port.character, answer[begin:end]) for begin, end in pairwise(edges)]
    port.meter = lambda request: pieces
    gathered = 60 * port.character  # an adapter may keep a whole piece back until its last byte has come
    assert Wire(port, clock).carry(ask(first=0.5 + gathered, between=0.1 + gathered)) == payload


def test_a_whole_answer_is_handed_over_at_once_and_the_next_request_follows_after_the_silence(
    port: FakePort, clock: FakeClock
) -> None:
    port.meter = lambda request: typed(frame(b"value"), port.character, 0.005)
    wire = Wire(port, clock)

    def twice() -> Dialogue[None]:
        yield from ask()
        yield from ask()

    wire.carry(twice())
    last_byte = port.came[len(frame(b"value")) - 1][0]
    assert port.written[1][0] == pytest.approx(last_byte + silence(9600), abs=EPSILON)


def test_bytes_behind_an_answer_belong_to_the_next_receive(port: FakePort, clock: FakeClock) -> None:
    port.meter = lambda request: [(0.02, frame(b"ident") + frame(b"read")), (0.04, frame(b"out"))]
    wire = Wire(port, clock)

    def pushed() -> Dialogue[list[bytes]]:
        first = yield from ask()
        second = yield Receive(parse, 0.5, 0.1)
        third = yield Receive(parse, 0.5, 0.1)
        return [first, second, third]

    assert wire.carry(pushed()) == [b"ident", b"read", b"out"]
    assert wire.counts.stray == 0


def test_bytes_behind_an_answer_are_stray_when_the_next_request_goes_out(port: FakePort, clock: FakeClock) -> None:
    port.meter = lambda request: [(0.02, frame(b"a") + b"\xff\xff\xff")]
    wire = Wire(port, clock)
    assert wire.carry(ask()) == b"a"
    assert wire.carry(ask()) == b"a"
    assert wire.counts.stray == 3


def test_what_comes_during_a_pause_belongs_to_the_answer(port: FakePort, clock: FakeClock) -> None:
    port.meter = lambda request: [(0.05, frame(b"early")[:3]), (0.3, frame(b"early")[3:])]

    def paused() -> Dialogue[bytes]:
        yield Send(REQUEST)
        yield Pause(0.2)
        return (yield Receive(parse, 0.1, 0.3))

    assert Wire(port, clock).carry(paused()) == b"early"


def test_a_pause_lasts_as_long_as_it_says(port: FakePort, clock: FakeClock) -> None:
    port.meter = lambda request: [(0.05, b"\x7e")]

    def paused() -> Dialogue[float]:
        yield Send(REQUEST)
        begun = clock.time
        yield Pause(0.2)
        return clock.time - begun

    assert Wire(port, clock).carry(paused()) == pytest.approx(0.2, abs=EPSILON)


# ----------------------------------------------------------------------------- time-outs


def test_silence_is_no_answer_after_the_first_time_out_beyond_the_characters(port: FakePort, clock: FakeClock) -> None:
    wire = Wire(port, clock)
    with pytest.raises(NoAnswer, match=r"fake: no answer in 0\.5 s at 9600 8N1; check"):
        wire.carry(ask(first=0.5))
    left = port.written[0][0] + len(REQUEST) * port.character
    assert clock.time == pytest.approx(left + 0.5 + port.character, abs=EPSILON)


@pytest.mark.parametrize("baudrate", [300, 2400, 115200])
def test_the_first_time_out_counts_from_when_the_request_has_left_the_wire(baudrate: int, clock: FakeClock) -> None:
    port = FakePort(clock, baudrate=baudrate)
    port.meter = lambda request: typed(frame(b"late but in time"), port.character, 0.499)
    assert Wire(port, clock).carry(ask(bytes(200), first=0.5)) == b"late but in time"


def test_the_time_between_bytes_is_beyond_their_own_time(clock: FakeClock) -> None:
    port = FakePort(clock, baudrate=300)
    payload = bytes(60)
    port.meter = lambda request: typed(frame(payload), port.character + 0.0099)
    assert Wire(port, clock).carry(ask(between=0.01)) == payload


def test_an_adapter_may_gather_all_that_is_known_to_be_missing(port: FakePort, clock: FakeClock) -> None:
    """The parser knows that 100 bytes are missing; they come in one piece when the last of them has come."""
    answer = frame(bytes(100))
    port.meter = lambda request: [(0.01, answer[:2]), (0.01 + 101 * port.character + 0.015, answer[2:])]
    assert Wire(port, clock).carry(ask(between=0.02)) == bytes(100)


def test_an_answer_that_breaks_off_is_damage_and_never_a_value(port: FakePort, clock: FakeClock) -> None:
    answer = frame(b"value")
    for length in range(1, len(answer)):
        port.meter = lambda request, length=length: [(0.01, answer[:length])]
        with pytest.raises(DamagedFrame) as caught:
            Wire(port, clock).carry(ask())
        assert answer[:length].hex(" ") in str(caught.value)
        assert "broke off" in str(caught.value)


def test_a_busy_machine_is_not_a_silent_meter(port: FakePort, clock: FakeClock) -> None:
    """The process stands still for a minute after the first byte; the rest lies in the port and is looked at."""
    answer = frame(b"value")
    port.meter = lambda request: [(0.01, answer[:1]), (0.012, answer[1:])]
    stalled = []

    def stall(direction: str, data: bytes, at: float) -> None:
        if direction == "<<" and not stalled:
            stalled.append(at)
            clock.time += 60

    assert Wire(port, clock, stall).carry(ask()) == b"value"
    assert stalled


def test_a_port_that_wakes_up_for_nothing_is_not_a_silent_meter(port: FakePort, clock: FakeClock) -> None:
    read, wakes = port.read, iter(range(10))

    def early(timeout: float, most: int) -> bytes:
        return b"" if timeout > 0.01 and next(wakes, None) is not None else read(timeout, most)

    port.meter = lambda request: [(0.3, frame(b"value"))]
    port.read = early  # type: ignore[method-assign]
    assert Wire(port, clock).carry(ask()) == b"value"


def test_the_parser_is_not_asked_again_before_the_bytes_that_it_misses_have_come(
    port: FakePort, clock: FakeClock
) -> None:
    lengths = []

    def counting(buffer: bytes) -> More | Done[bytes] | Never:
        lengths.append(len(buffer))
        return parse(buffer)

    def asking() -> Dialogue[bytes]:
        yield Send(REQUEST)
        return (yield Receive(counting, 0.5, 0.1))

    port.meter = lambda request: typed(frame(bytes(100)), port.character, 0.01)
    assert Wire(port, clock).carry(asking()) == bytes(100)
    assert lengths == [1, 3, 103]


def test_a_frame_longer_than_it_may_be_is_damage_as_soon_as_that_is_known(port: FakePort, clock: FakeClock) -> None:
    port.meter = lambda request: [(0.01, frame(bytes(200))[:10])]
    with pytest.raises(DamagedFrame, match="the longest answer here has 100"):
        Wire(port, clock).carry(ask(most=100))
    assert clock.time < 5000.5


def test_endless_noise_ends_at_the_most_bytes(port: FakePort, clock: FakeClock) -> None:
    port.meter = lambda request: [(n * port.character, b"\x55") for n in range(1, 2000)]
    with pytest.raises(DamagedFrame, match="the longest answer here has 100"):
        Wire(port, clock).carry(ask(most=100))
    assert sum(len(data) for _, data in port.came) <= 100


def test_a_refusal_reaches_the_driver_as_the_parser_gave_it(port: FakePort, clock: FakeClock) -> None:
    port.meter = lambda request: [(0.01, frame(b"no"))]
    with pytest.raises(MeterRefused) as caught:
        Wire(port, clock).carry(ask())
    assert caught.value.code == 2


def test_trouble_is_thrown_into_the_driver_at_its_receive_and_the_driver_may_go_on(
    port: FakePort, clock: FakeClock
) -> None:
    answers = iter([[], [(0.01, b"\x7e\x01a\x00")], [(0.01, frame(b"third"))]])
    port.meter = lambda request: next(answers)
    wire = Wire(port, clock)
    assert wire.carry(exchange(REQUEST, parse, first=0.2, between=0.05)) == b"third"
    assert wire.counts.requests == 3


def test_a_lost_port_ends_the_dialogue(port: FakePort, clock: FakeClock) -> None:
    ended = []

    def watched() -> Dialogue[bytes]:
        try:
            return (yield from ask())
        finally:
            ended.append(True)

    def lose(timeout: float, most: int) -> bytes:
        raise PortError("fake: the device has hung up")

    wire = Wire(port, clock)
    port.read = lose  # type: ignore[method-assign]
    dialogue = watched()
    with pytest.raises(PortError):
        wire.carry(dialogue)
    assert ended == [True]


# ----------------------------------------------------------------------------- silence

SPEEDS = [300, 1200, 9600, 19200, 38400, 115200]
stray_pieces = st.lists(st.tuples(st.floats(-0.01, 1.0), st.binary(min_size=1, max_size=20)), max_size=12)


@given(st.sampled_from(SPEEDS), stray_pieces, st.lists(st.sampled_from(["", "a", "ab"]), min_size=1, max_size=5))
def test_no_request_goes_out_before_its_silence(
    baudrate: int, strays: list[tuple[float, bytes]], answers: list[str]
) -> None:
    clock = FakeClock()
    port = FakePort(clock, baudrate=baudrate)
    wire = Wire(port, clock)
    for after, data in strays:
        port.comes(clock.time + after, data)
    for answer in answers:
        reply = frame(answer.encode())
        port.meter = lambda request, reply=reply: typed(reply, port.character, 0.005)
        with suppress(NoAnswer, DamagedFrame):
            wire.carry(exchange(REQUEST, parse, first=0.05, between=0.02))
    assert len(port.written) >= len(answers)
    for rest, rule in rests(port):
        assert rest >= rule - EPSILON


@pytest.mark.parametrize(
    ("baudrate", "milliseconds"),
    [(300, 128.333), (1200, 32.083), (9600, 4.0104), (19200, 2.0052), (38400, 1.75), (115200, 1.75)],
)
def test_the_silence_is_the_standard_s(baudrate: int, milliseconds: float) -> None:
    """3.5 characters of 11 bits; 1.750 ms above 19200 (Modbus over serial line V1.02, 2.5.1.1), worked out by hand."""
    assert silence(baudrate) * 1000 == pytest.approx(milliseconds, abs=0.001)


@pytest.mark.parametrize(("framing", "bits"), [("8N1", 10), ("8E1", 11), ("8O2", 12), ("8N2", 11), ("7E1", 10)])
def test_a_character_has_a_start_bit_its_data_its_parity_and_its_stop_bits(framing: str, bits: int) -> None:
    assert character_seconds(9600, framing) * 9600 == pytest.approx(bits)


@pytest.mark.parametrize("baudrate", SPEEDS)
def test_the_first_request_waits_for_its_silence_too(baudrate: int, clock: FakeClock) -> None:
    port = FakePort(clock, baudrate=baudrate)
    opened = clock.time
    wire = Wire(port, clock)
    with pytest.raises(NoAnswer):
        wire.carry(ask())
    assert port.written[0][0] == pytest.approx(opened + silence(baudrate), abs=EPSILON)


def test_the_silence_after_an_unanswered_request_counts_from_its_last_character(
    port: FakePort, clock: FakeClock
) -> None:
    wire = Wire(port, clock)

    def twice() -> Dialogue[None]:
        yield Send(bytes(100))
        yield Send(REQUEST)

    wire.carry(twice())
    first, second = (at for at, _ in port.written)
    assert second == pytest.approx(first + 100 * port.character + silence(9600), abs=EPSILON)


def test_a_late_byte_restarts_the_silence_and_is_counted(port: FakePort, clock: FakeClock) -> None:
    wire = Wire(port, clock)
    port.comes(clock.time + 0.003, b"\xaa\xbb")
    port.meter = lambda request: [(0.01, frame(b"v"))]
    wire.carry(ask())
    assert port.written[0][0] == pytest.approx(5000.003 + silence(9600), abs=EPSILON)
    assert wire.counts.stray == 2


def test_after_a_change_to_a_higher_speed_the_silence_is_that_of_the_slower_byte(
    port: FakePort, clock: FakeClock
) -> None:
    port.baudrate = 1200
    wire = Wire(port, clock)
    port.meter = lambda request: [(0.01, frame(b"v"))]
    wire.carry(ask())
    wire.set_line(115200, "8N1")
    wire.carry(ask())
    assert port.written[1][0] - port.came[0][0] == pytest.approx(silence(1200), abs=EPSILON)


def test_a_byte_that_came_at_a_lower_speed_keeps_its_silence_after_the_speed_is_raised(
    port: FakePort, clock: FakeClock
) -> None:
    port.baudrate = 115200
    wire = Wire(port, clock)

    def switching() -> Dialogue[bytes]:
        yield Send(REQUEST)
        yield SetLine(300, "8N1")
        heard: bytes = yield Receive(parse, 0.5, 0.1)
        yield SetLine(115200, "8N1")
        yield Send(REQUEST)
        return heard

    port.meter = lambda request: [(0.1, frame(b"v"))]
    wire.carry(switching())
    assert port.written[1][0] - port.came[0][0] == pytest.approx(silence(300), abs=EPSILON)


def test_a_wire_that_does_not_fall_silent_is_not_talked_over(port: FakePort, clock: FakeClock) -> None:
    wire = Wire(port, clock)
    wire.heard = b"of another asking"
    for n in range(20000):
        port.comes(clock.time + n * 0.001, b"\x55")
    with pytest.raises(DamagedFrame, match=r"not asked, the wire does not fall silent; last came 55"):
        wire.carry(exchange(REQUEST, parse, first=0.05, between=0.02))
    assert port.written == []
    assert wire.heard == b""
    assert clock.time < 5000 + 10


def test_modbus_tcp_knows_no_silence_and_no_characters(clock: FakeClock) -> None:
    port = FakePort(clock, tcp=True)
    wire = Wire(port, clock)
    port.comes(clock.time, b"\x01\x02")
    port.meter = lambda request: [(0.0, frame(b"v"))]
    wire.carry(ask())
    assert port.written[0][0] == 5000.0
    assert wire.counts.stray == 2
    port.meter = lambda request: []
    with pytest.raises(NoAnswer):
        wire.carry(ask(first=0.5))
    assert clock.time == pytest.approx(5000.5, abs=EPSILON)


# ----------------------------------------------------------------------------- late answers and draining


def test_a_drain_throws_away_what_comes_until_silence(port: FakePort, clock: FakeClock) -> None:
    port.meter = lambda request: [(0.1, frame(b"late")), (0.25, b"\x00")]
    wire = Wire(port, clock)

    def drained() -> Dialogue[float]:
        yield Send(REQUEST)
        yield Drain(0.2)
        return clock.time

    assert wire.carry(drained()) == pytest.approx(port.came[-1][0] + 0.2, abs=EPSILON)
    assert wire.counts.stray == len(frame(b"late")) + 1


def test_a_drain_ends_after_ten_times_its_silence(port: FakePort, clock: FakeClock) -> None:
    for n in range(2000):
        port.comes(clock.time + n * 0.01, b"\x55")

    def drained() -> Dialogue[None]:
        yield Drain(0.2)

    Wire(port, clock).carry(drained())
    assert clock.time == pytest.approx(5002.0, abs=0.02)


def test_a_late_answer_is_never_taken_for_the_next_one(port: FakePort, clock: FakeClock) -> None:
    """Meter A answers after its time; then B is asked and must not get A's words."""
    port.meter = lambda request: [(0.5 if request == b"A" else 0.01, frame(b"I am " + request))]
    wire = Wire(port, clock)
    try:
        from_a = wire.carry(exchange(b"A", parse, first=0.3, between=0.05))
    except NoAnswer:
        from_a = None
    assert from_a in (None, b"I am A")
    assert wire.carry(exchange(b"B", parse, first=0.3, between=0.05)) == b"I am B"


# ----------------------------------------------------------------------------- echo


@given(st.binary(min_size=1, max_size=20).filter(lambda data: 0x7E not in data), st.booleans())
def test_an_echo_is_taken_off_once_and_counted(request: bytes, in_pieces: bool) -> None:
    clock = FakeClock()
    port = FakePort(clock)

    def meter(data: bytes) -> list[tuple[float, bytes]]:
        echo = typed(data, port.character, -len(data) * port.character) if in_pieces else [(0.0, data)]
        return echo + typed(frame(data), port.character, 0.02)

    port.meter = meter
    wire = Wire(port, clock)
    assert wire.carry(ask(request)) == request
    assert wire.counts.echoes == 1
    assert wire.heard == frame(request)


def test_an_echo_in_one_piece_with_the_answer_is_taken_off(port: FakePort, clock: FakeClock) -> None:
    port.meter = lambda request: [(0.05, request + frame(b"v"))]
    wire = Wire(port, clock)
    assert wire.carry(ask(frame(b"v"))) == b"v"
    assert wire.counts.echoes == 1


def test_the_first_time_out_counts_from_the_end_of_an_echo(port: FakePort, clock: FakeClock) -> None:
    """A converter far away gives the request back late: only then has it left."""
    port.meter = lambda request: [(0.4, request), (0.8, frame(b"v"))]
    assert Wire(port, clock).carry(ask(first=0.5)) == b"v"


def test_an_echo_alone_is_no_answer_and_the_text_says_where_to_look(port: FakePort, clock: FakeClock) -> None:
    port.meter = lambda request: [(0.0, request)]
    with pytest.raises(NoAnswer, match="echo"):
        Wire(port, clock).carry(ask(frame(b"I could be an answer")))


def test_an_answer_that_begins_like_the_request_is_no_echo(port: FakePort, clock: FakeClock) -> None:
    request = frame(b"abcdef")
    answer = b"\x7e\x06abcdeg" + bytes(((sum(b"abcdeg")) & 0xFF,))
    port.meter = lambda data: typed(answer, port.character, 0.01)
    wire = Wire(port, clock)
    assert wire.carry(ask(request)) == b"abcdeg"
    assert wire.counts.echoes == 0


def test_modbus_tcp_has_no_echo_so_an_answer_may_equal_its_request(clock: FakeClock) -> None:
    port = FakePort(clock, tcp=True)
    port.meter = lambda request: [(0.01, request)]
    assert Wire(port, clock).carry(ask(frame(b"write 1"))) == b"write 1"


def test_a_part_of_an_echo_is_damage(port: FakePort, clock: FakeClock) -> None:
    request = frame(b"a") + frame(b"b")
    port.meter = lambda data: [(0.0, data[: len(frame(b"a"))])]
    with pytest.raises(DamagedFrame, match="broke off"):
        Wire(port, clock).carry(ask(request))


# ----------------------------------------------------------------------------- line settings, trace, counts


def test_the_line_is_set_once_per_change_after_the_last_byte_has_left(port: FakePort, clock: FakeClock) -> None:
    port.baudrate, port.framing = 300, "7E1"
    wire = Wire(port, clock)

    def sign_on() -> Dialogue[None]:
        yield SetLine(300, "7E1")
        yield Send(b"\x06051\r\n")
        yield SetLine(9600, "7E1")
        yield SetLine(9600, "7E1")

    wire.carry(sign_on())
    assert [(baudrate, framing) for _, baudrate, framing in port.switched] == [(9600, "7E1")]
    assert port.switched[0][0] >= port.written[0][0] + 6 * 10 / 300


def test_an_answer_that_begins_before_the_switch_is_waited_out_is_kept(port: FakePort, clock: FakeClock) -> None:
    port.meter = lambda request: [(0.0005, frame(b"quick"))]

    def switching() -> Dialogue[bytes]:
        yield Send(REQUEST)
        yield SetLine(19200, "8N1")
        return (yield Receive(parse, 0.1, 0.1))

    assert Wire(port, clock).carry(switching()) == b"quick"


def test_a_driver_that_wants_another_speed_than_the_port_can_have_is_told_so(port: FakePort, clock: FakeClock) -> None:
    port.can_switch = False

    def dialogue() -> Dialogue[None]:
        yield SetLine(9600, "8N1")
        yield SetLine(300, "8N1")

    with pytest.raises(NotInProfile, match=r"stays at 9600 8N1 and cannot be switched to 300 8N1.*rfc2217"):
        Wire(port, clock).carry(dialogue())
    assert port.switched == []


def test_the_times_follow_a_change_of_speed(port: FakePort, clock: FakeClock) -> None:
    wire = Wire(port, clock)
    wire.set_line(300, "7E1")
    with pytest.raises(NoAnswer):
        wire.carry(ask(first=0.5))
    start = port.written[0][0]
    assert clock.time == pytest.approx(start + (len(REQUEST) + 1) * 10 / 300 + 0.5, abs=EPSILON)


def test_the_trace_has_every_byte_with_direction_and_time(port: FakePort, clock: FakeClock) -> None:
    lines: list[tuple[str, bytes, float]] = []
    wire = Wire(port, clock, lambda *line: lines.append(line))
    port.comes(clock.time + 0.001, b"\xee")
    port.meter = lambda request: typed(frame(b"v"), port.character, 0.01)
    wire.carry(ask())
    assert lines == [("<<", b"\xee", 5000.001), (">>", REQUEST, port.written[0][0])] + [
        ("<<", data, at) for at, data in port.came[1:]
    ]


def test_the_counts_add_up(port: FakePort, clock: FakeClock) -> None:
    wire = Wire(port, clock)
    port.comes(clock.time, b"\xee\xee")
    port.meter = lambda request: [(0.0, request), (0.02, frame(b"v") + b"\xdd")]
    wire.carry(ask())
    wire.carry(ask())
    assert wire.counts == wire_module.Counts(requests=2, sent=14, received=2 + 2 * (7 + 4 + 1), stray=3, echoes=2)


@pytest.mark.parametrize("pieces", [[b"\x01P1\x02(00443322)"], [b"\x01P1\x02(00", b"44", b"\xff3322)"]])
def test_a_password_is_in_no_trace_no_evidence_and_no_error(
    pieces: list[bytes], port: FakePort, clock: FakeClock
) -> None:
    lines: list[tuple[str, bytes]] = []
    wire = Wire(port, clock, lambda direction, data, at: lines.append((direction, data)))
    port.meter = lambda request: [(0.001, data) for data in pieces]

    def dialogue() -> Dialogue[bytes]:
        yield Send(b"\x01P1\x02(00443322)\x03", secret=b"00443322")
        return (yield Receive(parse, 0.5, 0.1))

    with pytest.raises((DamagedFrame, NoAnswer)) as failed:
        wire.carry(dialogue())
    assert lines[0] == (">>", b"\x01P1\x02(********)\x03")
    for shown in (wire.heard, *(data for _, data in lines)):
        assert not set(b"0234") & set(shown)
    assert "30 30" not in str(failed.value)
    assert b"".join(data for _, data in lines[1:]).count(b"*") == 8, "what came is still to be seen, byte by byte"
    port.meter = lambda request: [(0.001, frame(b"0234"))]
    assert wire.carry(ask()) == b"0234"
    assert lines[-1] == ("<<", frame(b"0234")), "the next answer is shown as it is"


def test_what_a_failed_asking_heard_is_kept_as_evidence(port: FakePort, clock: FakeClock) -> None:
    wire = Wire(port, clock)
    port.meter = lambda request: [(0.01, b"\x7e\x05abc")]
    with pytest.raises(DamagedFrame):
        wire.carry(ask())
    assert wire.heard == b"\x7e\x05abc"
    port.meter = lambda request: []
    with pytest.raises(NoAnswer):
        wire.carry(ask())
    assert wire.heard == b""


def test_a_long_pause_keeps_no_more_than_the_longest_readout(port: FakePort, clock: FakeClock) -> None:
    wire = Wire(port, clock)
    for n in range(40):
        port.comes(clock.time + n * 0.01, bytes(4096))

    def paused() -> Dialogue[Any]:
        yield Pause(1.0)
        return (yield Receive(lambda buffer: Done(len(buffer), len(buffer)), 0.1, 0.1, 1 << 20))

    assert wire.carry(paused()) == wire_module.HELD
    assert wire.counts.stray == 40 * 4096 - wire_module.HELD


def test_a_dialogue_that_ends_by_sending_is_over_when_the_last_byte_has_left() -> None:
    clock = FakeClock()
    port = FakePort(clock, baudrate=300)
    wire = Wire(port, clock)

    def farewell() -> Dialogue[None]:
        yield Send(REQUEST)

    wire.carry(farewell())
    begun, _ = port.written[0]
    assert clock.time >= begun + len(REQUEST) * port.character
