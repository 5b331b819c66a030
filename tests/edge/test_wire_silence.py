"""The wire's rules, silence: none is cut short, a late answer is never taken for the next, a drain ends."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.edge.wire import Wire
from drivers.dialogue import (
    DamagedFrame,
    Dialogue,
    Drain,
    NoAnswer,
    Receive,
    Send,
    SetLine,
    character_seconds,
    exchange,
    silence,
)
from tests.edge.timed_port import EPSILON, REQUEST, FakeClock, FakePort, ask, frame, parse, rests, typed

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
