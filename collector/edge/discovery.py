"""Finds out who answers at a port: each protocol's shortest question, at the usual speeds and framings, one by one.

Rule 1. Only what a question of its protocol brings back, whole and sound, is somebody. What is damaged is told, and
        the search goes on: at another speed it may be a meter.
Rule 2. A meter that has begun a session by its answer is not left in it: the reading goes on from there (`resumed`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from collector.edge.greetings import GREETINGS, Greeted, Greeting
from collector.edge.transport import Scheme
from collector.edge.wire import Wire
from drivers.dialogue import DamagedFrame, Dialogue, Done, Drain, DriverError, NoAnswer, Receive, Send, T
from drivers.table import driver

# Speeds and framings as meters leave the factory, the likeliest first: optical heads begin at 300 7E1 (IEC 62056-21);
# RS-485 of Neva, Energomera, Mercury and most Modbus meters is set to 9600 (their profiles name the manuals). The rest
# are what utilities set on long lines, and Eastron's factory setting (SDM120 manual).
USUAL: tuple[tuple[str, int, str], ...] = (
    ("iec62056-21", 300, "7E1"),
    ("iec62056-21", 9600, "7E1"),
    ("iec62056-21", 9600, "8N1"),
    ("mercury", 9600, "8N1"),
    ("modbus", 9600, "8N1"),
    ("modbus", 9600, "8E1"),
    ("modbus", 19200, "8E1"),
    ("modbus", 2400, "8N1"),
    ("iec62056-21", 4800, "7E1"),
    ("iec62056-21", 2400, "7E1"),
)
SET_TO = 9600  # what a transparent converter is taken to be set to, unless told: as most RS-485 meters are
QUIET = 2.0  # seconds; a meter that was greeted and not asked further falls silent after 1.5 s (IEC 62056-21)
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Try:
    """One way to ask: address (empty, or Mercury's 0: whoever hears it), speed and framing of the characters."""

    protocol: str
    address: str
    baudrate: int
    framing: str

    @property
    def greeting(self) -> Greeting:
        """How it is done."""
        return GREETINGS[self.protocol]

    @property
    def line_settings(self) -> tuple[int, str]:
        """How the port is set for it."""
        return self.baudrate, driver(self.protocol).port_framing(self.framing)

    def __str__(self) -> str:
        whom = f", address {self.address}" if self.address else ""
        return f"{self.greeting.title} at {self.baudrate} {self.framing}{whom}"


@dataclass(frozen=True, slots=True)
class Found:
    """Who answered, to which try."""

    attempt: Try
    greeted: Greeted


def tries(port: str, scheme: Scheme, address: str | None, baudrate: int | None, framing: str | None) -> list[Try]:
    """What is worth trying at a port, in order; each of address, speed and framing may be given, else the usual ones.

    Through a transparent converter nothing is switched: only what fits one setting of its line is tried.
    """
    found: dict[Try, None] = {}
    for protocol, usual_rate, usual_framing in USUAL:
        rate = baudrate or (SET_TO if scheme == "socket" else usual_rate)
        characters = framing or usual_framing
        try:
            driver(protocol).port_framing(characters)
            # Whom one asks without an address is no address of a meter: it does not have to pass for one.
            whom = GREETINGS[protocol].address if address is None else driver(protocol).normal_address(address, port)
        except ValueError:
            continue  # no address or no framing of this protocol
        found[Try(protocol, whom, rate, characters)] = None
    attempts = list(found)
    if scheme == "socket":
        return [attempt for attempt in attempts if attempt.line_settings == attempts[0].line_settings]
    return attempts


def search(wire: Wire, attempts: list[Try], told: Told) -> Found:
    """The first that answers. `told` hears what came of each try that was in vain.

    Raises NoAnswer, or DamagedFrame where something came that nobody could understand, with all that was tried;
    PortError.
    """
    vain: list[str] = []
    kind: type[NoAnswer | DamagedFrame] = NoAnswer
    for attempt in attempts:
        try:
            wire.set_line(*attempt.line_settings)
            return Found(
                attempt, wire.carry(attempt.greeting.dialogue(attempt.address, attempt.baudrate, attempt.framing))
            )
        except NoAnswer:
            vain.append(f"{attempt}: no answer")
        except DriverError as error:
            kind = DamagedFrame
            vain.append(f"{attempt}: {error}")
        told(vain[-1])
    look = (
        "check the port, the meter's power, the head's seat or the two wires; RS-485 meters may need --address"
        if kind is NoAnswer
        else "something answers, but not in these protocols and speeds: try another --baudrate; give --address if "
        "several meters hang on the wire; keep light away from the optical head"
    )
    raise kind(f"{wire.transport.name}: nobody gave a sound answer to any of {len(attempts)} questions; {look}")


def resumed(dialogue: Dialogue[T], greeted: Greeted) -> Dialogue[T]:
    """A reading whose first question was asked already: the answer is given to it, the wire is not troubled again.

    A reading that begins with another question is carried out as it is, when the meter has become silent.
    """
    if not greeted.request:
        return (yield from dialogue)
    try:
        step = next(dialogue)
        while not isinstance(step, Send):
            step = dialogue.send((yield step))
        if step.data != greeted.request:
            yield Drain(QUIET)
            found: object = yield step
            step = dialogue.send(found)
        else:
            step = dialogue.send(None)
            while not isinstance(step, Receive):
                step = dialogue.send((yield step))
            match step.parse(greeted.answer):
                case Done(frame=frame):
                    step = dialogue.send(frame)
                case other:
                    raise AssertionError(f"the driver does not understand what its greeting did: {other}")
        while True:
            try:
                found = yield step
            except DriverError as error:
                step = dialogue.throw(error)
            else:
                step = dialogue.send(found)
    except StopIteration as end:
        result: T = end.value
        return result
