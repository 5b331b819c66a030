"""The wire's rules, answers and time-outs: what comes in any pieces is the same, and what does not come is said."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.edge.transport import PortError
from collector.edge.wire import Wire
from drivers.dialogue import (
    DamagedFrame,
    Dialogue,
    Done,
    MeterRefused,
    More,
    Never,
    NoAnswer,
    Pause,
    Receive,
    Send,
    exchange,
    silence,
)
from tests.edge.timed_port import EPSILON, REQUEST, FakeClock, FakePort, ask, frame, parse, typed

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
