"""The side of an IEC 62056-21 meter: sign-on, speed change, readout, programming mode, and what ends a session.

Rule 1. It hears everything on its wire and answers only to its own address; whoever is not meant stays silent until the
        next sign-on that means him.
Rule 2. A session has a speed of its own. It ends by a break, by time, and by another sign-on; then the meter waits with
        the speed it hangs on the wire with.
Rule 3. What is sent is from `Held` by the profile, or (`Habits.telegram`, `.answers`) byte for byte as given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal

from drivers.dialogue import Done, More, Never, character_seconds
from drivers.iec62056_21_characters import PORT, off_wire, on_wire
from drivers.iec62056_21_datasets import DataSet, to_body
from drivers.iec62056_21_frames import (
    ACK,
    BREAK,
    MODE_C,
    NAK,
    Block,
    Command,
    Identification,
    parse_command,
    parse_identification,
)
from drivers.iec62056_21_held import Key, data_sets
from drivers.iec_places import IecProfile
from drivers.meter_side import Held, Reaction, Say, Wiring

REACTION = 0.2  # seconds; 20 ms where the third letter is lower case (`Identification.reaction`)


@dataclass(frozen=True, slots=True)
class Habits:
    """What meters of one kind do and their profile does not say. Times are seconds.

    `identification`: behind the slash. `telegram`: a whole readout, identification line and all, sent byte for byte
    (seven-bit characters). `answers`: data set asked for -> whole answer, the same way. `seed`: operand of P0.
    """

    identification: str
    telegram: bytes | None = None
    answers: Mapping[str, bytes] = field(default_factory=dict)
    seed: str = ""
    wrong_password: Literal["break", "nak", "error"] = "break"
    error: str = "ER01"
    """Text in brackets for what it does not know: by the standard, errors are the makers' own texts."""
    fallback: float | None = 1.5
    """Without an option select it reads out at the first speed by then (AS1440: 1.5 s, wiki.volkszaehler.org); None:
    it goes back to sleep."""
    idle: float = 60.0
    """A session that nobody uses ends by then (62056-21, unread: 60 to 120 s; Energomera 1.5 to 3 s)."""
    linger: float = 1.5
    """How long after a readout it hears a NAK, at the session's speed (62056-21 reaction time: at most 1500 ms)."""
    period: float = 2.0
    """A meter that pushes: from the end of a telegram to the next; chosen."""
    reaction: float | None = None
    """Before each answer; the identification's own, if None."""


# What real meters call themselves: github.com/wirenboard/wb-mqtt-serial (test/neva_test.cpp, energomera_iec templates),
# latonita/esphome-energomera-iec README, wiki.volkszaehler.org (MT174). The MT 124's is made after its sister's.
IDENTIFICATIONS = ("TPC5NEVAMT324.2307", "TPC5NEVAMT124.2307", "EKT5CE102Mv01", "EKT5CE301v11.8s4", "ISk5MT174-0001")


def habits_of(profile: IecProfile) -> Habits:
    """A meter of the profile's kind: it calls itself as in a proof, else as a meter known to do.

    Raises ValueError for a profile whose meters' identifications nobody here has seen.
    """
    for proof in profile.proof:
        found = parse_identification(proof.answer)
        if isinstance(found, Done):
            return Habits(str(found.frame), error=_error(profile))
    pattern = profile.iec.identification or ".*"
    plain = (pattern,) if re.fullmatch(r"[\w -]+", pattern) else ()
    text = next((known for known in (*plain, *IDENTIFICATIONS) if re.fullmatch(pattern, known)), None)
    if text is None:
        raise ValueError(f"no identification that is known fits {pattern!r}; give this simulated meter its Habits")
    return Habits(text, error=_error(profile))


def _identification(text: str) -> Identification:
    match parse_identification(f"/{text}\r\n".encode("ascii")):
        case Done(frame=found):
            return found
        case _:
            raise ValueError(f"{text!r} is no identification, such as LGZ4ZMF100AC.M23")


def _error(profile: IecProfile) -> str:
    """Energomera says ERR12 for an unknown parameter (CE208/CE308 protocol), Neva 01 (wb-mqtt-serial's vectors)."""
    return "ERR12" if profile.iec.check == "sum" else "01"


class State(Enum):
    WAITING = auto()
    IDENTIFIED = auto()  # waits for an option select
    READ = auto()  # has read out, may be asked to repeat
    LOCKED = auto()  # programming mode, before the password
    OPEN = auto()


_SIGN_ON = re.compile(rb"/\?([^!/\r\n]{0,64})!\r\n")
_SELECT = re.compile(rb"\x06([0-9])([0-9])([0-9])\r\n")
_KEPT = 128  # bytes that may still become a sign-on


class IecMeter:
    """A meter on a wire. Its characters have the parity of `wiring.framing` in bit 7, so its port is open for 8N1."""

    framing = PORT
    gap = 1.5
    """Seconds between two characters of a message (62056-21, unread)."""

    def __init__(self, profile: IecProfile, address: str, wiring: Wiring, habits: Habits | None = None) -> None:
        self._profile, self._wiring = profile, wiring
        self._address = address
        self._habits = habits or habits_of(profile)
        self._me = _identification(self._habits.identification)
        factory = (profile.iec.password or "").encode("ascii")
        self._password = factory if wiring.password is None else wiring.password
        self._state = State.WAITING
        self._rate = wiring.baudrate
        self._until: float | None = None  # when the session ends by itself
        self._last = b""  # what it said last, for a NAK
        self._pushes = profile.iec.session == "push"

    # ------------------------------------------------------------------------- the wire's view

    @property
    def wakes(self) -> float | None:
        if self._pushes:
            return self._until or 0.0
        goes_on = self._habits.fallback is not None or self._me.mode != "C"
        return self._until if self._state is State.IDENTIFIED and goes_on else None

    def baudrate(self, now: float) -> int:
        self._expire(now)
        return self._rate

    def hear(self, held: Held, buffer: bytes, now: float) -> More | Done[Reaction] | Never:
        """As `MeterSide`. It is deaf while it pushes, as meters without a receiver are."""
        if self.wakes is not None and now >= self.wakes:
            return Done(self._unasked(held, now), len(buffer))
        self._expire(now)
        characters = off_wire(buffer, self._wiring.framing)
        if self._pushes:
            return Done((), len(buffer)) if buffer else More()
        if sign_on := _SIGN_ON.search(characters):
            return Done(self._signed_on(sign_on[1], now), sign_on.end())
        match self._state:
            case State.IDENTIFIED if select := _SELECT.search(characters):
                return Done(self._selected(select, held, now), select.end())
            case State.READ | State.LOCKED | State.OPEN if characters.startswith(NAK):
                return Done(self._says(self._last, now, self._habits.idle), 1)
            case State.LOCKED | State.OPEN:
                return self._commanded(characters, held, now)
        return Done((), len(buffer) - _KEPT) if len(buffer) > 2 * _KEPT else More()

    # ------------------------------------------------------------------------- the session

    def _expire(self, now: float) -> None:
        if self._until is not None and now >= self._until and self.wakes is None:
            self._sleep()

    def _sleep(self) -> None:
        self._state, self._rate, self._until = State.WAITING, self._wiring.baudrate, None

    def _unasked(self, held: Held, now: float) -> Reaction:
        """The readout at the first speed when nobody selected an option; or a push."""
        if self._pushes:
            data = on_wire(self._me.to_bytes() + b"\r\n" + self._body(held), self._wiring.framing)
            if self._habits.telegram is not None:
                data = on_wire(self._habits.telegram, self._wiring.framing)
            self._until = now + len(data) * character_seconds(self._rate, PORT) + self._habits.period
            return (Say(data, self._rate, 0.0),)
        return self._read_out(held, now)

    def _signed_on(self, asked: bytes, now: float) -> Reaction:
        self._sleep()
        address = asked.decode("ascii", "replace")
        if address.lstrip("0") != self._address.lstrip("0") and address:
            return ()
        self._state = State.IDENTIFIED
        if self._me.mode == "C":
            return self._says(self._me.to_bytes(), now, self._habits.fallback or self._habits.linger)
        # Mode A goes on by itself, and mode B at its other speed.
        greeting = self._says(self._me.to_bytes(), now, 0.0)
        self._rate = self._me.baudrate or self._rate
        return greeting

    def _selected(self, select: re.Match[bytes], held: Held, now: float) -> Reaction:
        protocol, code, option = (part.decode("ascii") for part in select.groups())
        offered = MODE_C.get(self._me.speed, 0)
        rate = MODE_C.get(code)
        if protocol != "0" or rate is None or rate > offered or option not in "01":
            self._sleep()  # HDLC, makers' own modes, speeds it did not offer
            return ()
        self._rate = rate
        if option == "0":
            return self._read_out(held, now)
        self._state = State.LOCKED
        check = self._profile.iec.check
        return self._says(Command("P0", f"({self._habits.seed})").to_bytes(check), now, self._habits.idle)

    def _read_out(self, held: Held, now: float) -> Reaction:
        self._state = State.READ
        if self._habits.telegram is not None:
            block = self._habits.telegram.split(b"\n", 1)[1]
        else:
            block = Block(self._body(held)).to_bytes(self._profile.iec.check)
        return self._says(block, now, self._habits.linger)

    def _body(self, held: Held) -> bytes:
        return to_body(tuple(data_sets(self._profile, held).values())) + b"!\r\n"

    def _commanded(self, characters: bytes, held: Held, now: float) -> More | Done[Reaction]:
        match parse_command(characters, self._profile.iec.check):
            case More() as more:
                return more
            case Never():
                return Done(self._says(NAK, now, self._habits.idle, remember=False), len(characters))
            case Done(frame=command, used=used):
                return Done(self._obeyed(command, held, now), used)

    def _obeyed(self, command: Command, held: Held, now: float) -> Reaction:
        if command == BREAK:
            self._sleep()
            return ()
        if command.name in ("P1", "P2"):
            return self._asked_in((command.data or "").encode("ascii"), now)
        if self._state is State.LOCKED and self._profile.iec.access != "none":
            return self._refuses(now)
        asked = re.fullmatch(r"([^()]+)\(([^()]*)\)", command.data or "")
        if command.name[0] != "R" or asked is None:
            return self._refuses(now)
        if (given := self._habits.answers.get(command.data or "")) is not None:
            return self._says(given, now, self._habits.idle)
        key: Key = asked[1], asked[2]
        found = data_sets(self._profile, held).get(key)
        if found is None:
            return self._refuses(now)
        return self._says(self._answer(found), now, self._habits.idle)

    def _answer(self, found: DataSet) -> bytes:
        # Energomera puts each bracket on a line of its own, the first one behind the name (latonita's captures).
        lined = self._profile.iec.check == "sum"
        text = found.ident + ("\r\n" if lined else "").join(f"({group})" for group in found.groups)
        return Block((text + ("\r\n" if lined else "")).encode("ascii")).to_bytes(self._profile.iec.check)

    def _asked_in(self, operand: bytes, now: float) -> Reaction:
        if operand == b"(" + self._password + b")":
            self._state = State.OPEN
            return self._says(ACK, now, self._habits.idle)
        if self._habits.wrong_password == "break":
            said = self._says(BREAK.to_bytes(self._profile.iec.check), now, self._habits.idle)
            self._sleep()
            return said
        if self._habits.wrong_password == "nak":
            return self._says(NAK, now, self._habits.idle)
        return self._refuses(now)

    def _refuses(self, now: float) -> Reaction:
        block = Block(f"({self._habits.error})".encode("ascii"))
        return self._says(block.to_bytes(self._profile.iec.check), now, self._habits.idle)

    @property
    def _pause(self) -> float:
        return self._me.reaction if self._habits.reaction is None else self._habits.reaction

    def _says(self, characters: bytes, now: float, patience: float, *, remember: bool = True) -> Reaction:
        """Characters after the reaction time; the session ends `patience` seconds behind them."""
        if remember:
            self._last = characters
        length = len(characters) * character_seconds(self._rate, PORT)
        self._until = now + self._pause + length + patience
        return (Say(on_wire(characters, self._wiring.framing), self._rate, self._pause),)
