"""The wire's rules, what it sets and tells: speed and framing, the trace, counts, and what a failed asking heard."""

from __future__ import annotations

from typing import Any

import pytest

from collector.edge import wire as wire_module
from collector.edge.wire import Wire
from drivers.dialogue import (
    DamagedFrame,
    Dialogue,
    Done,
    NoAnswer,
    NotInProfile,
    Pause,
    Receive,
    Send,
    SetLine,
)
from tests.edge.timed_port import EPSILON, REQUEST, FakeClock, FakePort, ask, frame, parse, typed


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
    told = [data for direction, data in lines if direction == "<<"]
    assert [len(data) for data in told] == [len(data) for _, data in port.came], "what came is still told, byte by byte"
    assert b"".join(told).replace(b"*", b"") in (b"\x01P1\x02()", b"\x01P1\x02(\xff)"), "and shown but for the password"
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
