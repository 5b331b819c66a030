"""Mercury in a profile: which request gives a value, where in its answer it lies, the meter's family and password."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from drivers import mercury_bytes
from drivers import profile_places as shared
from drivers.mercury_bytes import SIZE, ClockType, NumberType, SerialType
from drivers.mercury_requests import READABLE, SPELLING, Family, Readable, is_dated, readable
from drivers.profile import HexProof, Profile
from drivers.profile_faults import Fault, Location, mapping, places, units
from drivers.profile_places import NowhereOr
from drivers.profile_spelling import Code, Spelled, choice, whole

PasswordForm = Literal["digits", "ascii"]

Request = Annotated[
    str,
    Spelled(SPELLING, "a request is its code and parameters in upper-case hex, e.g. 05 00 01 or 05 Bm 01", str),
]


class Settings(shared.Settings):
    """What all values of the meter share."""

    family: Annotated[Family, choice("230", "200", read=str)]
    """230: one address byte, channel and password (also 231 to 236). 200: four address bytes (also 201, 203, 206)."""
    password: PasswordForm = "digits"
    """How six digits open the channel: digits, a byte each (01 01 ...); ascii, a character each (31 31 ...)."""
    level: Annotated[Literal[1, 2], choice("1", "2")] = 1
    """Access level that the channel is opened with; 1 reads everything here."""

    @property
    def in_words(self) -> tuple[str, ...]:
        if self.family == "200":
            return ("family 200",)
        return "family 230", f"password as {self.password}", f"level {self.level}"

    @property
    def default_password(self) -> str:
        """What meters leave the factory with: 111111 for level 1, 222222 for level 2 (INC20 2.2.1)."""
        return str(self.level) * 6


class Place(shared.Place):
    """Which request gives it, and where in the answer it lies."""

    ask: Request
    """The request's code and parameters in hex; m, z, MM, YY stand for the month of a closing."""
    at: Annotated[int, whole(0, 15)] = 0
    """Its first byte in the answer's data, counted from 0."""

    @property
    def where(self) -> str:
        return self.ask + (f" +{self.at}" if self.at else "")

    @property
    def kind(self) -> str:
        """Its type."""
        raise NotImplementedError

    @property
    def how(self) -> str:
        return self.kind

    def cut(self, data: bytes) -> bytes:
        """Its own bytes of an answer's data."""
        return data[self.at : self.at + SIZE[self.kind]]

    def decode(self, raw: bytes) -> int | str | None:
        """What its own bytes say; None for nothing. Raises WrongBytes."""
        raise NotImplementedError


class Register(Place, shared.Register):
    """One value: OBIS code -> request, type, unit of the meter and scale (unit = raw x scale)."""

    type: NumberType

    @property
    def kind(self) -> str:
        return self.type

    def decode(self, raw: bytes) -> int | None:
        return mercury_bytes.decode_number(self.type, raw)


class SerialPlace(Place):
    """Where the serial number is."""

    type: SerialType

    @property
    def kind(self) -> str:
        return self.type

    def decode(self, raw: bytes) -> str | None:
        return mercury_bytes.decode_serial(self.type, raw)


class ClockPlace(Place):
    """Where the meter's own clock is."""

    type: ClockType

    @property
    def kind(self) -> str:
        return self.type

    def decode(self, raw: bytes) -> str | None:
        return mercury_bytes.decode_clock(self.type, raw)


class FrozenRegisters(shared.FrozenRegisters):
    """What the meter kept of a closing, `back` months ago by its own clock (1: the last)."""

    stamp: None = None
    back: Annotated[int, whole(1, 36)]
    registers: Mapping[Code, Register] = Field(min_length=1)


class MercuryProfile(Profile):
    """A profile of a Mercury meter."""

    protocol: Literal["mercury"]
    mercury: Settings
    serial: NowhereOr[SerialPlace]
    """none: no request for it is known; the meter's identity is then unproven."""
    clock: NowhereOr[ClockPlace] = "none"
    registers: Mapping[Code, Register] = Field(min_length=1)
    frozen: tuple[FrozenRegisters, ...] = ()
    proof: tuple[HexProof, ...] = Field(min_length=1)

    @classmethod
    def contradictions(cls, data: dict[str, Any]) -> Iterator[Fault]:
        yield from units(data)
        yield from _wire(data)
        yield from super().contradictions(data)


def _wire(profile: dict[str, Any]) -> Iterator[Fault]:
    """Requests that nobody may ask of this family, places beyond or across their answers, months without a clock."""
    settings = mapping(profile.get("mercury"))
    family: Any = settings.get("family")
    if family not in READABLE:
        return
    if family == "200":
        for key in ("password", "level"):
            if key in settings:
                yield ("mercury", key), "meters of the 200 family have no password; leave it out"
    if profile.get("frozen") and profile.get("clock", "none") == "none":
        yield ("frozen",), "which month was closed last is known by the meter's clock; this profile has none"
    taken: dict[tuple[Location, str, int], Location] = {}
    for location, place in places(profile):
        request, kind = place.get("ask"), place.get("type")
        if not isinstance(request, str) or not isinstance(kind, str) or kind not in SIZE:
            continue
        asked = readable(family, request)
        if asked is None:
            yield (
                (*location, "ask"),
                f"nothing that reads a Mercury {family}; known are {_known(READABLE[family])}",
            )
            continue
        if is_dated(request) != (location[0] == "frozen"):
            yield (*location, "ask"), "months are asked for in frozen registers, and nothing else is there"
        at = place.get("at", "0")
        first = int(at) if isinstance(at, str) and at.isdecimal() else 0
        if first + SIZE[kind] > asked.size:
            yield (*location, "at"), f"{kind} has {SIZE[kind]} bytes from {first} on, the answer's data {asked.size}"
        spans = [(location[:2], request, byte) for byte in range(first, first + SIZE[kind])]
        spans = [(key if key[0] == "frozen" else (), request, byte) for key, request, byte in spans]
        for other in sorted({taken[span] for span in spans if span in taken}, key=str):
            yield (*location, "at"), f"it overlaps {'.'.join(map(str, other))}; each value has bytes of its own"
        taken |= dict.fromkeys(spans, location)


def _known(kinds: tuple[Readable, ...]) -> str:
    return ", ".join(f"{kind.pattern} ({kind.what})" for kind in kinds)
