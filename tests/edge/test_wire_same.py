"""Where the right answer may be the request's own bytes: an echo and an answer are told apart."""

from __future__ import annotations

import pytest

from collector.edge.wire import Wire
from drivers import mercury
from drivers.dialogue import Dialogue, NoAnswer, Send, silence
from tests.edge.timed_port import EPSILON, FakeClock, FakePort, ask, frame, rests, typed

TEST = bytes.fromhex("01 00 00 20")  # Incotex, "System of commands" 12.2020, appendix A: channel test of meter 1
LATER = 0.02  # seconds that a meter thinks


def adapter(port: FakePort, *, echoes: bool, answers: bool = True, echo_after: float = 0.0) -> None:
    """An adapter that gives back what it sends, or not, and a meter behind it that answers, or not."""

    def meter(request: bytes) -> list[tuple[float, bytes]]:
        # A request's characters arrive while it is sent: the last one when it has left.
        sent = len(request) * port.character
        echo = typed(request, port.character, echo_after - sent) if echoes else []
        answer = TEST if request == TEST else frame(b"value")
        return echo + (typed(answer, port.character, LATER) if answers else [])

    port.meter = meter


def is_there() -> Dialogue[None]:
    return mercury.channel_test("1", first=0.15)


@pytest.mark.parametrize("echoes", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_a_meter_that_answers_is_there_with_and_without_echo(
    port: FakePort, clock: FakeClock, echoes: bool, known: bool
) -> None:
    adapter(port, echoes=echoes)
    wire = Wire(port, clock)
    if known:
        assert wire.carry(ask()) == b"value"
    wire.carry(is_there())
    wire.carry(is_there())
    assert wire.counts.echoes == (len(port.written) if echoes else 0)


@pytest.mark.parametrize("known", [False, True])
def test_an_echo_alone_is_no_meter(port: FakePort, clock: FakeClock, known: bool) -> None:
    adapter(port, echoes=True)
    wire = Wire(port, clock)
    if known:
        wire.carry(ask())
    adapter(port, echoes=True, answers=False)
    with pytest.raises(NoAnswer, match="our own request came back"):
        wire.carry(is_there())


def test_a_late_echo_alone_is_no_meter_once_the_wire_is_known_to_echo(port: FakePort, clock: FakeClock) -> None:
    adapter(port, echoes=True)
    wire = Wire(port, clock)
    wire.carry(ask())
    adapter(
        port, echoes=True, answers=False, echo_after=0.08
    )  # a network converter packs for some tens of milliseconds
    with pytest.raises(NoAnswer):
        wire.carry(is_there())


def test_once_the_wire_is_known_an_answer_is_taken_at_once(port: FakePort, clock: FakeClock) -> None:
    adapter(port, echoes=False)
    wire = Wire(port, clock)
    wire.carry(ask())
    wire.carry(is_there())
    asked = port.written[-1][0]
    assert clock.time == pytest.approx(asked + 2 * len(TEST) * port.character + LATER, abs=EPSILON)


def test_on_an_unknown_wire_the_line_is_listened_to_for_as_long_as_an_answer_may_take(
    port: FakePort, clock: FakeClock
) -> None:
    adapter(port, echoes=False)
    wire = Wire(port, clock)
    wire.carry(is_there())
    asked = port.written[-1][0]
    assert clock.time >= asked + 2 * len(TEST) * port.character + LATER + 0.15


def test_an_ordinary_answer_shows_anew_what_kind_of_wire_it_is(port: FakePort, clock: FakeClock) -> None:
    """An adapter may be exchanged behind a converter that stays."""
    wire = Wire(port, clock)
    adapter(port, echoes=False)
    wire.carry(ask())
    adapter(port, echoes=True)
    wire.carry(ask())
    adapter(port, echoes=True, answers=False)
    with pytest.raises(NoAnswer):
        wire.carry(is_there())


def test_a_request_waits_for_the_silence_that_its_protocol_asks_for(port: FakePort, clock: FakeClock) -> None:
    port.meter = lambda request: typed(frame(b"value"), port.character, LATER)
    wire = Wire(port, clock)

    def twice() -> Dialogue[None]:
        yield from ask()
        yield Send(TEST, silence=0.0125)
        yield Send(TEST)

    wire.carry(twice())
    gaps = [rest for rest, _ in rests(port)]
    assert gaps[1] == pytest.approx(0.0125, abs=EPSILON)
    assert gaps[2] == pytest.approx(silence(9600), abs=EPSILON)
