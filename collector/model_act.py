"""The form of an act: what binds a meter to a point, as one immutable JSON object. Strict and frozen; no behaviour.

Energies are whole Wh, instants RFC 3339 with their offset, days ISO dates. See docs/acts.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from collector.model import Code, HexText, Name, Wh
from collector.serials import same_serial

Kind = Literal[
    "commissioning", "replacement", "removal", "control_reading", "sealing", "unsealing", "reprogramming", "refusal"
]
Language = Literal["ru", "en"]
# The checks of a metering point before it is admitted, in the order of the page. None: not looked at.
Check = Literal[
    "serial", "verifier_mark", "no_damage", "wiring", "current_direction", "phase_order", "voltage", "communication",
    "clock", "tariff_calendar",
]  # fmt: skip
# Why a meter is not admitted. The first ones are found by `collector.model_act_grounds`, the others a person names.
Ground = Literal[
    "serial-mismatch", "verification-missing", "verification-overdue", "seal-missing", "register-count",
    "display-mismatch", "no-communication", "clock", "voltage", "verifier-mark", "damage", "wiring",
    "current-direction", "phase-order", "tariff-calendar", "no-access", "other",
]  # fmt: skip

MOST_WH = 1 << 53  # what a double holds exactly: RFC 8785 writes numbers as doubles (docs/contract.md)
EVIDENCE_NAME = r"^[^/\\\x00-\x1f.][^/\\\x00-\x1f]{0,119}$"
LONGEST_LINE, LONGEST_NAME = 300, 200  # characters: an address as registries have them; a name with its position


def _line(most: int) -> AfterValidator:
    def check(text: str) -> str:
        if not 0 < len(text) <= most or not text.isprintable() or text != text.strip():
            raise ValueError(f"1 to {most} printable characters are wanted, without blanks at the ends")
        return text

    return AfterValidator(check)


def _day(text: str) -> str:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError("a day is YYYY-MM-DD")
    date.fromisoformat(text)
    return text


def _moment(text: str) -> str:
    # One spelling: equal acts have equal bytes, and whoever reads one sees local time and its offset.
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[+-][0-9]{2}:[0-9]{2}", text):
        raise ValueError("a moment is YYYY-MM-DDThh:mm:ss+hh:mm, with its offset")
    datetime.fromisoformat(text)
    return text


Line = Annotated[str, _line(LONGEST_LINE)]
Short = Annotated[str, _line(64)]
Day = Annotated[str, AfterValidator(_day)]
Moment = Annotated[str, AfterValidator(_moment)]
ActDigest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
# A dial as a person reads it: digits and one decimal point, no thousands marks.
Display = Annotated[str, Field(pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$")]
Energy = Annotated[Wh, Field(ge=0, le=MOST_WH)]
# Written as a number; a whole one without a point, as RFC 8785 writes it.
Ratio = Annotated[int | float, Field(gt=0, le=999_999)]


class Part(BaseModel):
    """A part of an act. An unknown key is refused: nobody signs what this version neither checks nor prints."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class SerialNumbers(Part):
    """The serial number from three sides; None where a side says none."""

    wire: Short | None
    plate: Short | None
    registry: Short | None

    @property
    def agree(self) -> bool:
        """Whether there is a plate, and all sides that say something say the same."""
        others = (self.wire, self.registry)
        return self.plate is not None and all(it is None or same_serial(it, self.plate) for it in others)


class Transformers(Part):
    """Measuring transformers. The multiplier is the meter's `ratio`."""

    current: Short | None = None
    voltage: Short | None = None
    serial_numbers: tuple[Short, ...] = ()


class Device(Part):
    """The meter of an act. `clock`: its own text as read; `offset_s`: that clock minus ours, in seconds."""

    id: Name
    profile: Name
    digest: Annotated[str, Field(max_length=80)]
    tariffs: Annotated[int, Field(ge=1, le=4)]
    ratio: Ratio = 1
    serial_number: SerialNumbers
    verified: Day | None = None
    verify_by: Day | None = None
    clock: Short | None = None
    offset_s: int | None = None
    model: Line | None = None
    year: Annotated[int, Field(ge=1950, le=2200)] | None = None
    accuracy_class: Short | None = None
    phases: Literal[1, 3] | None = None
    max_current: Annotated[int, Field(ge=1, le=10_000)] | None = None
    digits: Annotated[int, Field(ge=1, le=12)] | None = None
    interval_years: Annotated[int, Field(ge=1, le=40)] | None = None
    certificate: Short | None = None
    transformers: Transformers | None = None
    gateway: Name | None = None
    line: Name | None = None
    address: Short | None = None


class Reading(Part):
    """A register. `wire_wh`: what the meter said; `display`: what a person saw, kWh; `raw`: the value's own bytes."""

    register_: Code = Field(alias="register")
    wire_wh: Energy | None
    display: Display | None = None
    raw: Annotated[HexText, Field(max_length=400)] | None = None


# Import and export in all tariffs.
Readings = Annotated[tuple[Reading, ...], Field(max_length=10)]


class OldMeter(Part):
    """The meter that goes, with its final readings.

    `source`: read over the `wire` now; the last `stored` reading of the gateway, taken at `read_at`, since the meter is
    dead; or from the `display` alone.
    """

    meter: Device
    readings: Readings
    source: Literal["wire", "stored", "display"]
    read_at: Moment
    reason: Line


class Seal(Part):
    """A seal. `before`, `after`: `set`, `intact`, `broken`, `absent`, `removed`; None: none there."""

    number: Short
    type: Short
    place: Short
    before: Literal["intact", "broken", "absent"] | None
    after: Literal["set", "intact", "broken", "removed"] | None

    @property
    def holds(self) -> bool:
        """Whether it seals the point from now on."""
        return self.after in ("set", "intact")


class Person(Part):
    """Who was there, or was not. `absent` and `refused` (to sign) are the consumer's."""

    role: Literal["utility", "consumer", "witness", "installer"]
    name: Annotated[str, _line(LONGEST_NAME)] | None
    state: Literal["present", "absent", "refused"] = "present"

    @model_validator(mode="after")
    def _named(self) -> Person:
        if self.name is None and (self.role != "consumer" or self.state == "present"):
            raise ValueError(f"the name of the {self.role} is missing; only an absent or refusing consumer has none")
        return self


class Decision(Part):
    """Admitted, or refused with grounds. `billing_from`: the day from which the point is billed by this act."""

    admitted: bool
    grounds: tuple[Ground, ...]
    billing_from: Day | None
    text: Line | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Decision:
        if self.admitted and self.grounds:
            raise ValueError("admitted, and with grounds against it")
        if not self.admitted and (not self.grounds or self.billing_from is not None):
            raise ValueError("a refusal has its grounds, and no day from which billing starts")
        return self


class Evidence(Part):
    """A photo or scan beside the act. Its bytes never travel by MQTT."""

    name: Annotated[str, Field(pattern=EVIDENCE_NAME)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Act(Part):
    """One act, as long as one printed page holds.

    `meter`: what hangs after it (None: a removal). `previous`: hash of the point's act before it; `supersedes`: of the
    act that it corrects.
    """

    schema_: Literal[1] = Field(alias="schema")
    kind: Kind
    number: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
    language: Language
    made: Moment
    point: Name
    account: Short
    address: Line
    flat: Annotated[str, _line(50)] | None = None
    place: Line
    utility: Name
    contract: Short | None = None
    meter: Device | None
    readings: Readings
    old_meter: OldMeter | None
    seals: Annotated[tuple[Seal, ...], Field(max_length=8)]
    persons: Annotated[tuple[Person, ...], Field(max_length=5)]
    checks: Mapping[Check, bool | None]
    decision: Decision
    evidence: Annotated[tuple[Evidence, ...], Field(max_length=20)]
    note: Line | None = None
    supersedes: ActDigest | None = None
    previous: ActDigest | None
    hash: ActDigest

    @property
    def instant(self) -> datetime:
        """When it was made."""
        return datetime.fromisoformat(self.made)

    @property
    def subject(self) -> Device:
        """The meter that it is about: the one that hangs after it or, where none does, the one that was removed."""
        if self.meter is not None:
            return self.meter
        assert self.old_meter is not None  # `_faults` refuses an act without any
        return self.old_meter.meter

    @model_validator(mode="after")
    def _complete(self) -> Act:
        faults = list(_faults(self))
        if faults:
            raise ValueError("; ".join(faults))
        return self


def _faults(act: Act) -> Iterator[str]:
    """What its kind asks for and no single field shows."""
    roles = [person.role for person in act.persons]
    if "utility" not in roles or "consumer" not in roles:
        yield "persons: the utility's representative and the consumer (or that he is absent) are both named"
    refusing = any(person.state == "refused" for person in act.persons)
    if refusing and roles.count("witness") < 2:
        yield "persons: where the consumer refuses to sign, two witnesses do"
    if (act.old_meter is not None) != (act.kind in ("replacement", "removal")):
        yield "old_meter: a replacement and a removal have the meter that goes, no other act has one"
    if (act.meter is None) != (act.kind == "removal") or (act.meter is None and act.readings):
        yield "meter: after a removal no meter hangs here, and nothing is read of one; every other act has its meter"
    if act.old_meter is not None and act.meter is not None and act.old_meter.meter.id == act.meter.id:
        yield "old_meter: another device is another meter; both have the same id here"
    if act.kind == "refusal" and act.decision.admitted:
        yield "decision: a refusal admits nothing"
    if act.supersedes is not None and act.previous is None:
        yield "supersedes: an act that corrects another one has a previous act"
    for where, readings in (("readings", act.readings), ("old_meter", act.old_meter.readings if act.old_meter else ())):
        codes = [reading.register_ for reading in readings]
        if len(set(codes)) < len(codes):
            yield f"{where}: a register stands twice"
