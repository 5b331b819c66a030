"""IEC 62056-21 in a profile: how a session with the meter goes, and under which name a value stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from drivers import profile_places as shared
from drivers.profile import Profile, Proof
from drivers.profile_faults import Fault, mapping, places, sequence, units
from drivers.profile_places import NowhereOr, Strict
from drivers.profile_spelling import Baudrate, Code, Flag, Scale, Spelled, Text, whole
from drivers.values import base_unit


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


def _telegram(text: str) -> bytes:
    """Bytes from printable text with control characters by name: `<STX>1.8.0(1*kWh)<CR><LF>`."""
    pieces = re.split(r"<([A-Z]{2,3}|[0-9A-F]{2})>", re.sub(r"\n *", "", text))
    named = (bytes((CONTROL[name],)) if name in CONTROL else bytes.fromhex(name) for name in pieces[1::2])
    plain = (piece.encode("ascii") for piece in pieces[0::2])
    return b"".join(part for pair in zip(plain, (*named, b""), strict=True) for part in pair)


def _in_words(data: bytes) -> str:
    names = {code: name for name, code in CONTROL.items()}
    return "".join(
        f"<{names.get(byte) or f'{byte:02X}'}>" if byte < 0x20 or byte > 0x7E or byte == 0x3C else chr(byte)
        for byte in data
    )


MONTH = "{mm.yy}"  # in an operand: the month that a closing ended, 04.22 for one at the end of April 2022


def month_operand(operand: str, year: int, month: int) -> str:
    """The operand that asks for the closing at the end of a month."""
    return operand.replace(MONTH, f"{month:02d}.{year % 100:02d}")


CONTROL = {"SOH": 1, "STX": 2, "ETX": 3, "EOT": 4, "ACK": 6, "LF": 10, "CR": 13, "NAK": 21, "DEL": 127}

Pattern = Annotated[str, Spelled(r"[\x20-\x7e]{1,120}", "a regular expression for an identification", _pattern)]
Name = Annotated[
    str,
    Spelled(r"[\x21-\x27\x2a-\x2e\x30-\x7e]{1,32}", "a code as the meter spells it, e.g. 1.8.0, 0F0880FF, ET0PE", str),
]
Operand = Annotated[str, Spelled(r"[\x20-\x27\x2a-\x7e]{0,120}", "what stands between the request's brackets", str)]
Index = Annotated[str, Spelled(r"[*&][0-9]{1,3}", "a history index with its mark, e.g. *00 or &01", str)]
Telegram = Annotated[
    bytes,
    Spelled(
        r"(?:[\x20-\x3b\x3d-\x7e\n]|<(?:[A-Z]{2,3}|[0-9A-F]{2})>)+",
        "what the line carried, control characters by name or in hex, e.g. <STX>1.8.0(1*kWh)<CR><LF><ETX><2B>",
        _telegram,
        _in_words,
    ),
]

Check = Literal["xor", "sum"]


class Dialect(Strict):
    """What is different in meters of one identification, for a profile that reads many."""

    identification: Pattern
    """Matched against the whole identification behind the slash, e.g. PAF.EC3gr.*"""
    check: Check | None = None
    """The check character, where it differs."""
    fastest: Baudrate | None = None
    """The highest speed that such a meter keeps, where it offers a higher one."""
    current: Index | None = None
    """The history index under which it gives the values of now, where it gives one to all."""
    words: Mapping[Name, Code] = {}
    """Spellings of its own: name -> OBIS code."""
    source: Text
    """Where this is from."""


class Settings(shared.Settings):
    """How a session with the meter goes."""

    session: Literal["readout", "programming", "push"]
    """readout: one block of all it has. programming: value by value. push: it talks by itself and is not asked."""
    identification: Pattern | None = None
    """What the meter calls itself, matched against the whole identification behind the slash, e.g. LGZ.ZMF100.*"""
    check: Check = "xor"
    """How the check character (BCC) is made: xor, or sum (seven bits of the sum; Energomera)."""
    fastest: Baudrate = 19200
    """The highest speed that is agreed on, from 300 baud on; at other speeds the line stays as it is."""
    wake: Flag = False
    """A battery-operated meter: it is woken by NUL characters before it is asked."""
    every: Flag = False
    """All registers, listed or not, whose OBIS code says what they are."""
    command: Literal["R1", "R2", "R5", "R6"] = "R1"
    """How a value is asked for in programming mode: R1, R2, or formatted R5, R6."""
    access: Literal["P1", "P2", "none"] = "P1"
    """How the password is given; none: the meter is read without."""
    password: Text | None = None
    """The one that the meter leaves the factory with; gateway.yaml may name another (password_file)."""
    dialects: tuple[Dialect, ...] = ()
    """What is different in meters of certain identifications; the first that matches counts."""

    @property
    def in_words(self) -> tuple[str, ...]:
        found = [f"session {self.session}", f"check character {self.check}"]
        found += [f"{self.access}, {self.command}"] if self.session == "programming" else []
        found += [f"identification {self.identification}"] if self.identification else []
        found += [f"at most {self.fastest} baud"] if self.fastest != 19200 else []
        found += ["woken by NULs"] if self.wake else []
        found += ["every OBIS register"] if self.every else []
        return tuple(found)


class Place(shared.Place):
    """Where among the data sets."""

    name: Name | None = None
    """The code as the meter spells it; else the OBIS code itself, in any spelling."""
    operand: Operand = ""
    """What stands between the brackets of the request in programming mode; {mm.yy}: the month of a closing."""
    group: Annotated[int, whole(1, 99)] = 1
    """Which of several brackets."""
    part: Annotated[int, whole(1, 99)] | None = None
    """Which of several values in it, between commas."""

    @property
    def where(self) -> str:
        return (self.name or "itself") + (f"({self.operand})" if self.operand else "")

    @property
    def how(self) -> str:
        found = [f"bracket {self.group}"] if self.group > 1 else []
        found += [f"part {self.part}"] if self.part else []
        return ", ".join(found)


class Register(Place, shared.Register):
    """One value; `unit` is what it is in where the meter sends none, and the scale is the meter's beside its unit."""

    last_digit: Scale | None = None
    """What the last digit sent stands for at most, in its unit or kWh (0.01: two places), where that is known."""

    @property
    def step(self) -> int:
        """By `last_digit`; else that of the coarsest readouts, which send whole kWh (kvarh, kVAh)."""
        return ceil((self.last_digit or self.scale) * base_unit(self.unit or "kWh")[1])


UNLISTED = Register()  # where a profile does not list a register that it takes


class SerialRegister(Place):
    """Where the serial number is; `names`: several, of which the first that has a value counts."""

    names: tuple[Name, ...] = Field(min_length=1)

    @property
    def where(self) -> str:
        return " or ".join(self.names)


class ClockRegister(shared.Place):
    """Where the meter's own clock is: date and time apart, or both in one data set (`moment`)."""

    date: Name | None = None
    time: Name | None = None
    moment: Name | None = None
    order: Literal["ymd", "dmy"] = "ymd"
    """Which number of a date comes first; a day of the week before it is passed over."""

    @model_validator(mode="after")
    def _either(self) -> ClockRegister:
        if (self.date is None) != (self.time is None) or (self.date is None and self.moment is None):
            raise ValueError("a clock is date and time, or moment, or both ways where meters differ")
        return self

    @property
    def where(self) -> str:
        pair = [f"{self.date} {self.time}"] if self.date else []
        return " or ".join([*pair, *([self.moment] if self.moment else [])])

    @property
    def how(self) -> str:
        return self.order


class StampRegister(shared.Place):
    """Where a closing's stamp is: a data set of this name with the closing's history index, such as 0.1.2*03."""

    name: Name
    order: Literal["ymd", "dmy"] = "ymd"

    @property
    def where(self) -> str:
        return f"{self.name}*nn"

    @property
    def how(self) -> str:
        return self.order


class FrozenRegisters(shared.FrozenRegisters):
    """Registers that the meter froze: `back` months ago; or, with `stamp`, under every history index that has one."""

    stamp: StampRegister | None = None
    registers: Mapping[Code, Register] = Field(min_length=1)


class Exchange(Strict):
    """What we said and what the meter answered. Parity bits left out."""

    request: Telegram
    """Our last message before the answer: /?!<CR><LF>, or <SOH>R1<STX>ET0PE()<ETX>7."""
    answer: Telegram
    """Identification and readout as they came, or one answer in programming mode."""


class IecProof(Exchange, Proof):
    """One exchange, or several of one asking."""

    then: tuple[Exchange, ...] = ()
    """What was asked next in programming mode, for values that need two answers: date and time."""

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """All of them, in their order."""
        return self, *self.then

    @property
    def lines(self) -> tuple[str, ...]:
        told = ((f">> {_in_words(one.request)}", f"<< {_in_words(one.answer)}") for one in self.exchanges)
        return tuple(line for pair in told for line in pair)


class IecProfile(Profile):
    """A profile of an IEC 62056-21 meter."""

    protocol: Literal["iec62056-21"]
    iec: Settings = Field(alias="iec62056-21")
    serial: NowhereOr[SerialRegister]
    """none: no data set is known; the meter's identity is then unproven."""
    clock: NowhereOr[ClockRegister] = "none"
    registers: Mapping[Code, Register] = {}
    frozen: tuple[FrozenRegisters, ...] = ()
    proof: tuple[IecProof, ...] = Field(min_length=1)

    @property
    def unlisted(self) -> Register | None:
        return UNLISTED if self.iec.every else None

    @classmethod
    def contradictions(cls, data: dict[str, Any]) -> Iterator[Fault]:
        yield from super().contradictions(data)
        named = {location for location, place in places(data) if place.get("unit")}
        yield from (fault for fault in units(data) if fault[0][:-1] in named)  # else the meter sends it
        settings = mapping(data.get("iec62056-21"))
        if settings.get("session") == "programming":
            for code, register in mapping(data.get("registers")).items():
                if not mapping(register).get("name"):
                    yield ("registers", code, "name"), "a meter that is asked value by value needs the name it knows"
            if settings.get("every"):
                yield ("iec62056-21", "every"), "in programming mode only what is named can be asked for"
        elif not mapping(data.get("registers")) and settings.get("every") != "true":
            yield ("registers",), "no register is named; every: true takes all that the readout holds"
        for number, block in enumerate(sequence(data.get("frozen"))):
            if settings.get("session") == "programming" and mapping(block).get("stamp") is not None:
                yield ("frozen", number, "stamp"), "stamped closings are those of a readout"
