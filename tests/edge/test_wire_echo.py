"""The wire's rules, echo: it is taken off once, an answer that looks like one is not, and its time does not count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.edge.wire import Wire
from drivers.dialogue import (
    DamagedFrame,
    NoAnswer,
)
from tests.edge.timed_port import FakeClock, FakePort, ask, frame, typed


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
