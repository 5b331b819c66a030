"""Who is there: the serial number of a Mercury meter of either family, asked without knowing which it is."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.dialogue import Dialogue, NoAnswer, NotInProfile, exchange
from drivers.mercury_address import ANYBODY, SINGLE, on_the_wire
from drivers.mercury_bytes import decode_serial
from drivers.mercury_frames import Question
from drivers.mercury_requests import Family, silence

FIRST = 0.3  # seconds until an answer begins: twice what INC20 table 1.1 tells a master to wait from 9600 baud on


@dataclass(frozen=True, slots=True)
class Identity:
    """`profiles`: ids of those that read such a meter, the likeliest first. `made`: `2006-06-02`, None where it is not
    asked."""

    family: Family
    serial_number: str | None
    made: str | None
    profiles: tuple[str, ...]


def identify(address: str, *, baudrate: int = 9600, framing: str = "8N1") -> Dialogue[Identity]:
    """Ask for the serial number: needs no channel and no password. Raises DriverError; NoAnswer where nobody is there.

    Address 0 asks a three-phase meter that hangs there alone. 1 to 240 is asked as a three-phase meter first.
    """
    number = int(address) if address.isascii() and address.isdecimal() else -1
    if number in SINGLE or number == ANYBODY:
        try:
            return (yield from _three_phase(address, baudrate, framing))
        except NoAnswer:
            if number == ANYBODY:
                raise
    elif number < 0:
        raise NotInProfile(f"address {address!r}: a Mercury address is a decimal number")
    return (yield from _single_phase(address, baudrate, framing))


def _three_phase(address: str, baudrate: int, framing: str) -> Dialogue[Identity]:
    """INC20 2.6.2: four bytes of serial number, then day, month, year."""
    data = yield from _asked(Question("230", on_the_wire("230", address), b"\x08\x00", 7), baudrate, framing)
    day, month, year = data[4:7].hex(" ").split()
    made = f"20{year}-{month}-{day}" if data[4:7].hex().isdecimal() else None  # some send binary (INC20 2.6.3)
    return Identity("230", decode_serial("digits", data[:4]), made, ("mercury-230", "mercury-234"))


def _single_phase(address: str, baudrate: int, framing: str) -> Dialogue[Identity]:
    """M206 table 2. A meter whose address is its serial number is a 206 (or 203); six digits of it, a 200."""
    data = yield from _asked(Question("200", on_the_wire("200", address), b"\x2f", 4), baudrate, framing)
    serial = decode_serial("binary", data)
    whole = serial is None or int(serial) == int(address)
    return Identity("200", serial, None, ("mercury-206", "mercury-200") if whole else ("mercury-200", "mercury-206"))


def _asked(question: Question, baudrate: int, framing: str) -> Dialogue[bytes]:
    def check(data: bytes) -> None:
        decode_serial("digits" if question.family == "230" else "binary", data[:4])

    rest = silence(question.family, baudrate, framing)
    data: bytes = yield from exchange(
        question.frame(), question.parser(check), first=FIRST, between=FIRST, silence=rest
    )
    return data
