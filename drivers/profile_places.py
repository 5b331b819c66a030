"""What the places of values share in every protocol's profiles: registers, the serial number, a clock, frozen ones.

Each protocol narrows these in its own `<protocol>_places.py` and adds where on its wire a value lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from math import ceil
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from drivers.profile_spelling import Code, Scale, Text, Unit, whole
from drivers.values import base_unit


class Strict(BaseModel):
    """Frozen; an unknown key is a fault; what a key means stands below it and goes into the JSON schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Settings(Strict):
    """What all registers of a meter share, under the protocol's name."""

    @property
    def in_words(self) -> tuple[str, ...]:
        """How the meter is read, a few words each, for tables."""
        raise NotImplementedError


class Place(Strict):
    """What all places of a value share."""

    caveat: Text | None = None
    """What is doubtful: a single source, sources that disagree, a setting that changes the meaning."""

    @property
    def where(self) -> str:
        """Where on the wire it lies, for tables: "0048"."""
        raise NotImplementedError

    @property
    def how(self) -> str:
        """How its bytes are to be taken, for tables: "f32"; empty where there is one way only."""
        raise NotImplementedError


class Register(Place):
    """One value: its unit in the meter and its scale (unit = raw x scale)."""

    unit: Unit = ""
    """Unit of the meter, with its prefix; nothing for a power factor."""
    scale: Scale = Decimal(1)

    @property
    def factor(self) -> Decimal:
        """What a raw value is multiplied by to be in Wh, varh, VAh or the SI unit."""
        return self.scale * base_unit(self.unit)[1]

    @property
    def step(self) -> int:
        """Whole Wh, rounded up, that the last digit of an energy register stands for: it moves on by that at least."""
        return ceil(self.factor)


def written(data: Any) -> str:
    """The tag of a place or "none": by what is written, so that a fault speaks of one of the two and not of both."""
    return NONE if isinstance(data, str) else PLACE


# In a `<protocol>_places.py`:  serial: NowhereOr[SerialRegister]
P = TypeVar("P", bound=Place)
NONE, PLACE = "(none)", "(place)"
NowhereOr = Annotated[Annotated[Literal["none"], Tag(NONE)] | Annotated[P, Tag(PLACE)], Discriminator(written)]


class FrozenRegisters(Strict):
    """Registers that the meter froze at a closing: `stamp` says when, or `back` counts months (1: the last)."""

    stamp: Place | None = None
    back: Annotated[int, whole(1, 36)] | None = None
    registers: Mapping[Code, Register] = Field(min_length=1)

    @model_validator(mode="after")
    def _label(self) -> FrozenRegisters:
        if (self.stamp is None) == (self.back is None):
            raise ValueError("frozen registers need either a stamp or a counter `back`, and not both")
        return self
