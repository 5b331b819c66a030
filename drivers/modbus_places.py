"""Modbus in a profile: where a value lies among 16-bit registers, what all of them share, what contradicts itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from drivers import profile_places as shared
from drivers.profile import HexProof, Profile
from drivers.profile_faults import Fault, Location, mapping, places, units
from drivers.profile_places import NowhereOr
from drivers.profile_spelling import Code, Flag, Function, Scale, Wire, whole
from drivers.values import CLOCK_SIZE, SIZE, ClockType, Marker, NumberType, TextType, WordOrder, base_unit


class Settings(shared.Settings):
    """What all registers of the meter share."""

    function: Function
    """03: holding registers, 04: input registers."""
    word_order: WordOrder
    """Which register of a value comes first: big, the most significant; little, the least significant."""
    most_registers: Annotated[int, whole(1, 125)]  # Modbus Application Protocol V1.1b3, 6.3: at most 125
    """At most so many in one request."""
    even: Flag = False
    """Start address and count of a request must be even."""
    alone: tuple[Wire, ...] = ()
    """Registers that must be read one at a time."""
    not_available: tuple[Marker, ...] = ()
    """What stands for "no value": ones (every bit set), max (the largest signed value, 7F FF ...)."""

    @property
    def in_words(self) -> tuple[str, ...]:
        found = [f"function {self.function:02d}", f"{self.word_order} word order", f"{self.most_registers} registers"]
        found += ["even addresses only"] if self.even else []
        found += [f"no value: {', '.join(self.not_available)}"] if self.not_available else []
        return tuple(found)


class Place(shared.Place):
    """Where among the registers."""

    address: Wire
    """First register as sent in the frame: hex, counted from 0, the document's own numbering already taken off."""
    function: Function | None = None
    """03 (holding registers) or 04 (input registers), where it differs from the meter's usual one."""

    @property
    def where(self) -> str:
        return f"{self.address:04X}" + ("" if self.function is None else f" ({self.function:02d})")


class Register(Place, shared.Register):
    """One value: OBIS code -> wire address, type, unit of the meter and scale (unit = raw x scale)."""

    type: NumberType
    last_digit: Scale | None = None
    """Of a float: what the last digit that the meter counts stands for, in its unit (0.01), where that is known."""

    @model_validator(mode="after")
    def _float(self) -> Register:
        if self.last_digit is not None and self.type[0] != "f":
            raise ValueError("last_digit: only for floats; that of a whole number is its scale")
        return self

    @property
    def how(self) -> str:
        return self.type

    @property
    def words(self) -> int:
        """How many 16-bit registers it takes."""
        return SIZE[self.type] // 2

    @property
    def step(self) -> int:
        """As of any register; of a float by `last_digit`, else 1: its digits move."""
        if self.type[0] != "f":
            return super().step
        return 1 if self.last_digit is None else ceil(self.last_digit * base_unit(self.unit)[1])


class SerialRegister(Place):
    """Where the serial number is."""

    type: TextType
    given_words: Annotated[int, whole(1, 32)] = Field(default=0, alias="words")
    """How many registers: given for ascii and hex, not for types that have a length of their own."""

    @model_validator(mode="after")
    def _words(self) -> SerialRegister:
        if (self.type in SIZE) == bool(self.given_words):
            raise ValueError("words: needed for ascii, ascii-low and hex, not allowed for types with their own length")
        return self

    @property
    def how(self) -> str:
        return f"{self.type}, {self.words} registers" if self.given_words else self.type

    @property
    def words(self) -> int:
        """How many 16-bit registers it takes."""
        return self.given_words or SIZE[self.type] // 2


class ClockRegister(Place):
    """Where the meter's own clock, or the stamp of a closing, is."""

    type: ClockType

    @property
    def how(self) -> str:
        return self.type

    @property
    def words(self) -> int:
        """How many 16-bit registers it takes."""
        return CLOCK_SIZE[self.type] // 2


class FrozenRegisters(shared.FrozenRegisters):
    """Registers that the meter froze at a closing: `stamp` says when, or `back` counts months (1: the last)."""

    stamp: ClockRegister | None = None
    registers: Mapping[Code, Register] = Field(min_length=1)


class ModbusProfile(Profile):
    """A profile of a Modbus meter."""

    protocol: Literal["modbus"]
    modbus: Settings
    serial: NowhereOr[SerialRegister]
    """none: no register is known; the meter's identity is then unproven."""
    clock: NowhereOr[ClockRegister] = "none"
    registers: Mapping[Code, Register] = Field(min_length=1)
    frozen: tuple[FrozenRegisters, ...] = ()
    proof: tuple[HexProof, ...] = Field(min_length=1)

    @classmethod
    def contradictions(cls, data: dict[str, Any]) -> Iterator[Fault]:
        yield from units(data)
        yield from _wire(data)
        yield from super().contradictions(data)


def _wire(profile: dict[str, Any]) -> Iterator[Fault]:
    """Places that overlap, that are longer than a request, or that start at an odd register of an even meter."""
    settings = mapping(profile.get("modbus"))
    usual = settings.get("function")
    most = settings.get("most_registers")
    taken: dict[tuple[str, int], Location] = {}
    for location, place in places(profile):
        span = _span(place)
        if span is None:
            continue
        first, words = span
        if isinstance(most, str) and most.isdigit() and words > int(most):
            yield location, f"it has {words} registers, a request to this meter at most {most} (modbus.most_registers)"
        if settings.get("even") == "true" and (first % 2 or words % 2):
            yield (*location, "address"), "this meter is read at even addresses and counts only (modbus.even)"
        function = str(place.get("function") or usual)
        others = {taken[function, at] for at in range(first, first + words) if (function, at) in taken}
        for other in sorted(others, key=str):
            yield (
                (*location, "address"),
                f"it overlaps {'.'.join(map(str, other))}; each value has registers of its own",
            )
        taken |= {(function, at): location for at in range(first, first + words)}


def _span(place: dict[str, Any]) -> tuple[int, int] | None:
    """(first register, how many) of a place whose spelling is right."""
    kind, words = place.get("type"), place.get("words")
    size = {**SIZE, **CLOCK_SIZE}.get(kind, 0) if isinstance(kind, str) else 0
    count = int(words) if isinstance(words, str) and words.isdigit() else size // 2
    try:
        return (int(place["address"], 16), count) if count else None
    except (KeyError, TypeError, ValueError):
        return None
