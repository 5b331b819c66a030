"""How somebody on a wire is found: each protocol's shortest question, and what the answer says of who it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from drivers import iec62056_21_characters as characters
from drivers import iec62056_21_frames as iec
from drivers import mercury_address, mercury_identity
from drivers.dialogue import (
    Dialogue,
    Done,
    DriverError,
    MeterRefused,
    More,
    Never,
    Pause,
    Receive,
    Send,
)
from drivers.iec_places import IecProfile
from drivers.modbus_frames import Question
from drivers.profile import Profile, load_all

# Seconds to the first byte and between two: the longest reaction of IEC 62056-21 is 1.5 s (its 6.3.14 is unread; all
# readers of the field use it), that of the Modbus meters known here 0.5 s.
IEC_WAIT, MODBUS_WAIT = 1.5, 0.5


@dataclass(frozen=True, slots=True)
class Greeted:
    """Somebody answered: what he says of himself, and what is proposed to read him with.

    `profile`: None where the answer does not tell it. `address`: how to ask him from now on. `request`, `answer`: by
    which a session has begun (bytes on the wire); its reading goes on from there.
    """

    says: str
    profile: Profile | None
    address: str
    request: bytes = b""
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Greeting:
    """`title`: the protocol's, for people. `address`: whom to ask when no address is known.

    `dialogue(address, baudrate, framing)` asks once and gives `Greeted`, or raises DriverError.
    """

    title: str
    address: str
    dialogue: Callable[[str, int, str], Dialogue[Greeted]]


# ----------------------------------------------------------------------------- IEC 62056-21


def _sign_on(address: str, _baudrate: int, framing: str) -> Dialogue[Greeted]:
    """Sign-on and identification."""

    def identification(buffer: bytes) -> More | Done[tuple[iec.Identification, bytes]] | Never:
        match iec.parse_identification(characters.off_wire(buffer, framing)):
            case Done(frame, used):
                return Done((frame, buffer[:used]), used)
            case other:
                return other

    request = characters.on_wire(iec.sign_on(address), framing)
    yield Send(request)
    found, came = yield Receive(identification, IEC_WAIT, IEC_WAIT)
    return Greeted(f"identification /{found}", identified(str(found)), address, request=request, answer=came)


def identified(identification: str) -> Profile | None:
    """The shipped profile of an identification (without its slash): the one that names it, else the generic one."""
    generic: Profile | None = None
    for known in load_all().values():
        if not isinstance(known, IecProfile):
            continue
        pattern = known.iec.identification
        if pattern is None:
            generic = known if known.takes_every and known.iec.session == "readout" else generic
        elif re.fullmatch(pattern, identification):
            return known
    return generic


# ----------------------------------------------------------------------------- Mercury

ANYBODY = str(mercury_address.ANYBODY)


def _identity(address: str, baudrate: int, framing: str) -> Dialogue[Greeted]:
    """Serial number and date of make; and where anybody was asked, the address that such a serial number leads to."""
    found = yield from mercury_identity.identify(address, baudrate=baudrate, framing=framing)
    serial, own, is_d = found.serial_number, address, False
    if serial is not None and found.family == "230":
        for d_index in (False, True):
            usual = str(mercury_address.of_serial(serial, d_index=d_index))
            if usual == address or (address == ANYBODY and (yield from _answers(usual, serial, baudrate, framing))):
                own, is_d = usual, d_index
                break
    with_d = [name for name in found.profiles if is_d and name == "mercury-234"]
    known = load_all()
    proposed = next((known[name] for name in (*with_d, *found.profiles) if name in known), None)
    made = f", made {found.made}" if found.made else ""
    return Greeted(f"family {found.family}, serial number {serial}{made}", proposed, own)


def _answers(address: str, serial: str, baudrate: int, framing: str) -> Dialogue[bool]:
    """Whether the same meter answers at an address."""
    try:
        found = yield from mercury_identity.identify(address, baudrate=baudrate, framing=framing)
    except DriverError:
        return False
    return found.serial_number == serial


# ----------------------------------------------------------------------------- Modbus


def _first_register(address: str, _baudrate: int, _framing: str) -> Dialogue[Greeted]:
    """One register: also an exception is an answer. Which meter it is the protocol does not tell."""
    question = Question(int(address), 3, 0, 1)
    yield Send(question.rtu())
    try:
        yield Receive(question.rtu_parser(), MODBUS_WAIT, MODBUS_WAIT)
    except MeterRefused:
        yield Pause(0)
    return Greeted(f"a Modbus device at address {address}", None, address)


GREETINGS: dict[str, Greeting] = {
    "iec62056-21": Greeting("IEC 62056-21", "", _sign_on),
    "mercury": Greeting("Mercury", ANYBODY, _identity),
    "modbus": Greeting("Modbus RTU", "1", _first_register),
}
