"""Where a value lies in a meter: address, type, unit and scale of a register, of the serial number, of a clock."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from drivers.profile_spelling import Code, Function, Scale, Text, Unit, Wire, whole
from drivers.values import CLOCK_SIZE, SIZE, ClockType, NumberType, TextType, base_unit


class Strict(BaseModel):
    """Frozen; an unknown key is a fault; what a key means stands below it and goes into the JSON schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Place(Strict):
    """What all places of a value share."""

    address: Wire
    """First register as sent in the frame: hex, counted from 0, the document's own numbering already taken off."""
    function: Function | None = None
    """03 (holding registers) or 04 (input registers), where it differs from the meter's usual one."""
    caveat: Text | None = None
    """What is doubtful: a single source, sources that disagree, a setting that changes the meaning."""


class Register(Place):
    """One value: OBIS code -> wire address, type, unit of the meter and scale (unit = raw x scale)."""

    type: NumberType
    unit: Unit = ""
    """Unit of the meter, with its prefix; nothing for a power factor."""
    scale: Scale = Decimal(1)

    @property
    def words(self) -> int:
        """How many 16-bit registers it takes."""
        return SIZE[self.type] // 2

    @property
    def factor(self) -> Decimal:
        """What a raw value is multiplied by to be in Wh, varh, VAh or the SI unit."""
        return self.scale * base_unit(self.unit)[1]


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
    def words(self) -> int:
        """How many 16-bit registers it takes."""
        return self.given_words or SIZE[self.type] // 2


class ClockRegister(Place):
    """Where the meter's own clock, or the stamp of a closing, is."""

    type: ClockType

    @property
    def words(self) -> int:
        """How many 16-bit registers it takes."""
        return CLOCK_SIZE[self.type] // 2


def _tag(data: Any) -> str:
    return NONE if isinstance(data, str) else PLACE


# A place or "none": by what is written, so that a fault speaks of one of the two and not of both.
NONE, PLACE = "(none)", "(place)"
Nowhere = Annotated[Literal["none"], Tag(NONE)]
Serial = Annotated[Nowhere | Annotated[SerialRegister, Tag(PLACE)], Discriminator(_tag)]
OwnClock = Annotated[Nowhere | Annotated[ClockRegister, Tag(PLACE)], Discriminator(_tag)]


class FrozenRegisters(Strict):
    """Registers that the meter froze at a closing: `stamp` says when, or `back` counts months (1: the last)."""

    stamp: ClockRegister | None = None
    back: Annotated[int, whole(1, 36)] | None = None
    registers: Mapping[Code, Register] = Field(min_length=1)

    @model_validator(mode="after")
    def _label(self) -> FrozenRegisters:
        if (self.stamp is None) == (self.back is None):
            raise ValueError("frozen registers need either a stamp or a counter `back`, and not both")
        return self
