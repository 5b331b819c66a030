"""No password is shown by a wire, nor anything from which a short one could be computed: not sent, not echoed."""

from __future__ import annotations

import pytest

from collector.edge.wire import Wire
from drivers import iec62056_21, mercury
from drivers.dialogue import Ask, DamagedFrame, Dialogue, Drain, DriverError, NoAnswer, Receive, Send
from drivers.iec62056_21_characters import on_wire
from drivers.iec62056_21_frames import Command
from drivers.iec_places import IecProfile
from drivers.modbus_frames import sealed
from tests.drivers.mercury_world import ask as mercury_ask
from tests.drivers.mercury_world import loaded
from tests.drivers.test_iec62056_21_programming import NEVA
from tests.edge.timed_port import FakeClock, FakePort, parse, typed

ADDRESS = 31
OPENING = sealed(bytes((ADDRESS, 1, 1, 9, 8, 7, 6, 5, 4)))
P1 = Command("P1", "(20260731)").to_bytes("xor")
OPENED = sealed(bytes((ADDRESS, 0)))

Lines = list[tuple[str, bytes]]


def said(message: bytes, secret: bytes) -> Dialogue[bytes]:
    """Say it, hear something, and wait for what is late."""
    yield Send(message, secret=secret)
    try:
        found: bytes = yield Receive(parse, 0.5, 0.1)
        return found
    finally:
        yield Drain(0.5)


def shown(port: FakePort, clock: FakeClock, message: bytes, secret: bytes, *pieces: bytes) -> tuple[Wire, Lines]:
    """The wire and its trace after a message with a password, behind which these pieces came."""
    lines: Lines = []
    wire = Wire(port, clock, lambda direction, data, at: lines.append((direction, data)))
    port.meter = lambda request: [(0.001 * n, data) for n, data in enumerate(pieces)]
    with pytest.raises((DamagedFrame, NoAnswer)):
        wire.carry(said(message, secret))
    port.meter = lambda request: []
    return wire, lines


@pytest.mark.parametrize("framing", ["8N1", "7E1", "7O1"])
def test_the_check_character_of_an_iec_password_is_masked_with_it(
    framing: str, port: FakePort, clock: FakeClock
) -> None:
    _, lines = shown(port, clock, on_wire(P1, framing), on_wire(b"20260731", framing))
    assert lines == [(">>", on_wire(P1[:5], framing) + b"*" * 8 + on_wire(b")\x03", framing) + b"*")]


def test_the_check_bytes_of_a_mercury_password_are_masked_with_it(port: FakePort, clock: FakeClock) -> None:
    _, lines = shown(port, clock, OPENING, OPENING[3:9])
    assert lines == [(">>", OPENING[:3] + b"*" * 8)]


def test_of_a_message_whose_form_is_not_known_all_behind_the_password_is_masked(
    port: FakePort, clock: FakeClock
) -> None:
    _, lines = shown(port, clock, b"login secret, sum 17", b"secret")
    assert lines == [(">>", b"login " + b"*" * 14)]


@pytest.mark.parametrize(
    ("pieces", "came"),
    [
        ([bytes((byte,)) for byte in OPENING[:-1]], OPENING[:3] + b"*" * 7),  # an echo that breaks off
        ([b"\xff", *(bytes((byte,)) for byte in OPENING), OPENED], b"\xff" + OPENING[:3] + b"*" * 8 + OPENED),
        ([OPENING[:2] + b"\x00" + OPENING[3:]], OPENING[:2] + b"\x00" + b"*" * 8),  # damaged before the password
        ([OPENING[:4], b"\xff", OPENING[4:]], OPENING[:3] + b"*\xff" + b"*" * 7),
    ],
)
def test_an_echo_in_pieces_or_damaged_shows_neither_password_nor_check(
    pieces: list[bytes], came: bytes, port: FakePort, clock: FakeClock
) -> None:
    wire, lines = shown(port, clock, OPENING, OPENING[3:9], *pieces)
    told = b"".join(data for direction, data in lines if direction == "<<")
    assert len(told) == len(came)
    assert not any(OPENING[at : at + 2] in told for at in range(3, 10))
    assert told.startswith(came[: came.index(b"*")])
    assert not any(OPENING[at : at + 2] in wire.heard for at in range(3, 10))
    assert [len(data) for direction, data in lines if direction == "<<"] == [len(data) for _, data in port.came]


def test_an_answer_is_shown_as_it_came_whatever_the_password_is(port: FakePort, clock: FakeClock) -> None:
    """A masked byte of an answer that everybody can compute would tell a digit of the password."""
    ones = sealed(bytes((ADDRESS, 1, 1, 0, 0, 0, 0, 0, ADDRESS)))
    wire, lines = shown(port, clock, ones, ones[3:9], OPENED)
    assert lines[1:] == [("<<", OPENED)]
    assert wire.heard == OPENED


def test_pieces_keep_their_instants_and_the_trace_has_them_when_the_step_is_over(
    port: FakePort, clock: FakeClock
) -> None:
    lines: list[tuple[str, float]] = []
    wire = Wire(port, clock, lambda direction, data, at: lines.append((direction, at)))
    port.meter = lambda request: typed(OPENED, port.character, 0.01)

    def dialogue() -> Dialogue[int]:
        yield Send(OPENING, secret=OPENING[3:9])
        try:
            yield Receive(parse, 0.1, 0.1)
        except DriverError:
            return len(lines)
        raise AssertionError("this was no frame")

    assert wire.carry(dialogue()) == 1 + len(OPENED)
    assert [at for direction, at in lines if direction == "<<"] == [at for at, _ in port.came]


# ----------------------------------------------------------------------------- what drivers say


def mercury_read() -> Dialogue[object]:
    return mercury.read(loaded("230"), mercury_ask("230", password=b"987654"))


def iec_read() -> Dialogue[object]:
    assert isinstance(NEVA, IecProfile)
    return iec62056_21.read(NEVA, Ask("", baudrate=9600, framing="7E1", password=b"20260731"))


def no_bytes_of(secret: bytes, text: str) -> None:
    forms = [secret, on_wire(secret, "7E1"), bytes(byte & 0x0F for byte in secret)]
    for form in forms:
        for at in range(len(form) - 2):
            piece = form[at : at + 3]
            assert piece.hex(" ") not in text.lower()
            assert piece.decode("latin-1") not in text


@pytest.mark.parametrize("damage", range(0, 15))
def test_an_iec_password_that_comes_back_damaged_is_in_no_error(damage: int, port: FakePort, clock: FakeClock) -> None:
    """An adapter that echoes, on a line with noise: what the parser makes of it goes into status, log and centre."""
    identification, seed = b"/TPC5NEVAMT324.2307\r\n", Command("P0", "(00000000)").to_bytes("xor")

    def meter(request: bytes) -> list[tuple[float, bytes]]:
        heard = bytes(byte & 0x7F for byte in request)
        answers = {b"/": on_wire(identification, "7E1"), b"\x06": on_wire(seed, "7E1")}
        if heard.startswith(b"\x01P1"):
            back = bytearray(request)
            back[damage % len(back)] ^= 0x10
            return [(0.001, bytes(back))]
        return [(0.3, answers.get(heard[:1], b""))]

    port.meter = meter
    lines: Lines = []
    wire = Wire(port, clock, lambda direction, data, at: lines.append((direction, data)))
    with pytest.raises(DriverError) as caught:
        wire.carry(iec_read())
    assert any(data.startswith(on_wire(b"\x01P1", "7E1")) for _, data in lines), "the password was said"
    no_bytes_of(b"20260731", str(caught.value))
    no_bytes_of(b"20260731", wire.heard.decode("latin-1"))
    no_bytes_of(b"20260731", " ".join(data.hex(" ") for _, data in lines))


@pytest.mark.parametrize("damage", range(11))
def test_a_mercury_password_that_comes_back_damaged_is_in_no_error(
    damage: int, port: FakePort, clock: FakeClock
) -> None:
    def meter(request: bytes) -> list[tuple[float, bytes]]:
        back = bytearray(request)
        back[damage % len(back)] ^= 0x10
        return [(0.001, bytes(back))]

    port.meter = meter
    lines: Lines = []
    wire = Wire(port, clock, lambda direction, data, at: lines.append((direction, data)))
    with pytest.raises(DriverError) as caught:
        wire.carry(mercury_read())
    no_bytes_of(b"987654", str(caught.value))
    no_bytes_of(b"987654", wire.heard.decode("latin-1"))
    no_bytes_of(b"987654", " ".join(data.hex(" ") for _, data in lines))
