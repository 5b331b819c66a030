"""A meter's profile: which register is which OBIS code, where it lies, and bytes that prove it. Strict and frozen.

A profile is data (`profiles/meters/<id>.yaml`). Its digest is the SHA-256 of the file's bytes: every reading names the
digest it was read with. A released profile's id never changes meaning: a correction that alters a value is a new id.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, ValidationError, model_validator
from pydantic.json_schema import models_json_schema
from pydantic_core import InitErrorDetails

from drivers import obis, strict_yaml
from drivers.profile_faults import Fault, proofs, total
from drivers.profile_places import NONE, PLACE, FrozenRegisters, Place, Register, Settings, Strict
from drivers.profile_spelling import ID, Baudrate, Code, Framing, Hex, Seconds, Shown, Spelled, Text, choice, whole
from drivers.strict_yaml import ConfigError
from drivers.table import DRIVERS, profile_class

METERS = Path(__file__).resolve().parent.parent / "profiles" / "meters"
SERIAL, CLOCK = "serial", "clock"  # names of these two where a proof lists them beside OBIS codes
STRENGTH = ("captured", "document", "computed")  # kinds of proof, the strongest first


class LineDefaults(Strict):
    """How the meter leaves the factory, and how long it thinks. gateway.yaml may say otherwise for one meter."""

    baudrate: Baudrate
    framing: Framing
    turnaround: Seconds = 0.02
    """Usual time from the last byte of a request to the first of its answer; requests are planned with it."""
    timeout: Seconds = 0.5
    """The longest such time: a meter that has not begun to answer by then is taken for silent."""
    pause: Seconds = 0.0
    """Silence that the meter needs before each request, where that is more than its protocol's rule."""
    source: Text
    """Where these five are from; what no document says is named as chosen, with the reason."""


class Proof(Strict):
    """Bytes of a meter and the values they must give (as `meterline read` prints them). A protocol adds the bytes."""

    kind: Literal["captured", "document", "computed"]
    """Captured on a meter, printed in a document, or computed from the document by other means than our encoder."""
    source: Text
    """Where the bytes are from, so that anybody can look them up."""
    device: Text | None = None
    """The meter the bytes are from, where that is a sibling with the same registers."""
    gives: Mapping[str, Shown] = Field(min_length=1)
    """Code, serial, clock, or frozen.<stamp or months back>.<code> -> text. All that the bytes hold of this profile,
    no more and no less."""

    @property
    def label(self) -> str:
        """Its kind, and whether the bytes are a sibling's."""
        return f"{self.kind} (sibling)" if self.device else self.kind

    @property
    def lines(self) -> tuple[str, ...]:
        """The conversation for a reader, ">> " before what we say, "<< " before what the meter says."""
        raise NotImplementedError


class HexProof(Proof):
    """A proof by one request and its answer, as bytes on the wire with their check bytes."""

    request: Hex
    answer: Hex

    @property
    def lines(self) -> tuple[str, ...]:
        return f">> {self.request.hex(' ')}", f"<< {self.answer.hex(' ')}"


class Profile(Strict):
    """A meter profile; each protocol has its own class of it (`drivers.table`). See profiles/README.md."""

    schema_: Annotated[str, choice("1", read=str)] = Field(alias="schema")
    id: Annotated[str, Spelled(ID, "an id has lower-case letters, digits, dots and dashes, e.g. abb-b23", str)]
    """Brand and model; the file's name."""
    title: Text
    protocol: str
    source: Text
    """The documents, code and captures that the registers are from."""
    phases: Annotated[Literal[1, 3], choice("1", "3")]
    max_current: Annotated[int, whole(1, 10000)]
    """A per phase: bounds how fast energy registers can grow."""
    digits: Annotated[int, whole(4, 12)] | None = None
    """Digits of the dial before the point (kWh), where they are known: it starts again from 0 after all nines."""
    total: Literal["register", "sum"] = "register"
    """sum: the meter has no register of the total, its tariffs are added up (quality 11.0)."""
    line: LineDefaults
    serial: Literal["none"] | Place
    """none: no register is known; the meter's identity is then unproven."""
    clock: Literal["none"] | Place = "none"
    registers: Mapping[Code, Register]
    frozen: tuple[FrozenRegisters, ...] = ()
    caveats: tuple[Text, ...] = ()
    proof: tuple[Proof, ...] = Field(min_length=1)
    _digest: str = PrivateAttr("")

    @model_validator(mode="wrap")
    @classmethod
    def _consistent(cls, data: Any, handler: ModelWrapValidatorHandler[Profile]) -> Profile:
        """Faults of single keys and contradictions between keys, all at once."""
        faults = [
            InitErrorDetails(type="value_error", loc=location, input=None, ctx={"error": ValueError(text)})
            for location, text in cls.contradictions(data if isinstance(data, dict) else {})
        ]
        try:
            profile = handler(data)
        except ValidationError as error:
            for item in error.errors(include_url=False):
                if item["type"] == "too_short" and item["input"]:
                    continue  # it counts sound items only: what is wrong with the others is said already
                location = tuple(part for part in item["loc"] if part not in (NONE, PLACE, "[key]"))
                detail = InitErrorDetails(type=item["type"], loc=location, input=item["input"])
                faults.append({**detail, "ctx": item["ctx"]} if "ctx" in item else detail)
        if faults:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return profile

    @classmethod
    def contradictions(cls, data: dict[str, Any]) -> Iterator[Fault]:
        """Where a profile, as read from YAML, contradicts itself, and what would be right."""
        yield from total(data)
        yield from proofs(data)

    @property
    def settings(self) -> Settings:
        """What stands under the protocol's name."""
        fields = type(self).model_fields.items()
        found = getattr(self, next(name for name, field in fields if (field.alias or name) == self.protocol))
        assert isinstance(found, Settings)
        return found

    @property
    def unlisted(self) -> Register | None:
        """What a register is like that it takes without listing it, as a generic profile does; None: it takes none."""
        return None

    @property
    def takes_every(self) -> bool:
        """Whether it takes every register whose code says what it is, listed or not."""
        return self.unlisted is not None

    @property
    def is_summed(self) -> bool:
        """Whether its total is the sum of its tariffs."""
        return self.total == "sum" and obis.TOTAL not in self.registers

    def can_give(self, code: str) -> bool:
        """Whether a reading can have this code: listed, the sum of its tariffs, or taken without being listed.

        That this very meter has it, no profile can promise.
        """
        summed = code == obis.TOTAL and self.is_summed
        return code in self.registers or summed or (self.takes_every and obis.is_known(code))

    def step_of(self, code: str) -> int:
        """Whole Wh, rounded up, that the last digit of an energy code stands for; of a sum, those of all that is added.

        Raises KeyError for a code that it cannot give.
        """
        if code == obis.TOTAL and self.is_summed:
            return sum(map(self.step_of, self.tariff_codes))
        register = self.registers.get(code) or (self.unlisted if self.can_give(code) else None)
        if register is None:
            raise KeyError(code)
        return register.step

    @property
    def digest(self) -> str:
        """`sha256:` and the digest of the file's bytes; empty for a profile that was not read from bytes."""
        return self._digest

    @cached_property
    def energy_codes(self) -> tuple[str, ...]:
        """The codes that count energy, of those it lists, in OBIS order. What a reading can have: `can_give`."""
        return tuple(sorted((c for c in self.registers if obis.parse(c).is_energy), key=obis.sort_key))

    @cached_property
    def tariff_codes(self) -> tuple[str, ...]:
        """The import tariffs 1.8.1 to 1.8.4 that a reading can have; of a profile that takes every register, all."""
        return tuple(filter(self.can_give, obis.TARIFFS))

    @property
    def model(self) -> str:
        """The title without what it says of phases, tariffs and directions: what a meter is called on paper."""
        return re.split(r", (?:one|three) phases?\b", self.title)[0]

    @property
    def tariffs(self) -> int:
        """How many import tariff registers 1.8.1, 1.8.2 ... it lists; 0 for a meter with a total alone."""
        return sum(code in self.registers for code in obis.TARIFFS)

    @property
    def proven(self) -> Proof:
        """The strongest proof of the energy that is billed: of those that give 1.8.0 (or what stands for it)."""
        given = {
            name for proof in self.proof for name in proof.gives if name[0].isdigit() and obis.parse(name).is_energy
        }
        code = min(given, key=lambda name: (name != "1.8.0", obis.sort_key(name)))
        found = (proof for proof in self.proof if code in proof.gives)
        return min(found, key=lambda proof: (STRENGTH.index(proof.kind), proof.device is not None))

    @property
    def proof_kind(self) -> str:
        """How the billed energy is proven: captured, document, computed."""
        return self.proven.kind

    @property
    def all_caveats(self) -> tuple[str, ...]:
        """The profile's caveats, and those of single places with their names."""
        places: list[tuple[str, Place | str]] = [(SERIAL, self.serial), (CLOCK, self.clock), *self.registers.items()]
        for number, block in enumerate(self.frozen, 1):
            places += [(f"frozen {number}, {code}", register) for code, register in block.registers.items()]
        own = (f"{name}: {place.caveat}" for name, place in places if not isinstance(place, str) and place.caveat)
        return (*self.caveats, *own)

    def as_written(self) -> dict[str, Any]:
        """The profile as the keys and texts of its file, without those that say nothing."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


def parse(text: bytes, name: str) -> Profile:
    """One profile from the bytes of its file. `name` stands for the file in faults. Raises ConfigError."""
    try:
        document = strict_yaml.parse(text.decode("utf-8"), name)
    except UnicodeDecodeError as error:
        raise ConfigError([f"{name}: byte {error.start} is not UTF-8"]) from None
    if not isinstance(document.data, dict):
        raise ConfigError([f"{name}: a profile is a mapping of keys"])
    kind = document.data.get("protocol", "modbus")
    if kind not in DRIVERS:
        right = f"one of {', '.join(DRIVERS)} (here: {str(kind)[:80]!r})"
        raise ConfigError([f"{document.where(('protocol',))}: protocol: {right}"])
    try:
        profile: Profile = profile_class(kind).model_validate(document.data)
    except ValidationError as error:
        raise ConfigError(document.faults(error)) from None
    profile._digest = "sha256:" + hashlib.sha256(text).hexdigest()
    return profile


@lru_cache(maxsize=256)
def load_file(path: Path) -> Profile:
    """One profile from its file, whose name must be its id. Raises ConfigError."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    profile = parse(text, str(path))
    if profile.id != path.stem:
        line = strict_yaml.parse(text.decode("utf-8"), str(path)).where(("id",))
        raise ConfigError([f"{line}: id: must be the file's name, {path.stem} (here: {profile.id!r})"])
    return profile


def load(name: str) -> Profile:
    """A shipped profile by its id, or a profile file by its path (anything that ends in .yaml). Raises ConfigError."""
    if name.endswith(".yaml"):
        return load_file(Path(name))
    path = METERS / f"{name}.yaml"
    if not re.fullmatch(ID, name) or not path.is_file():
        known = ", ".join(sorted(file.stem for file in METERS.glob("*.yaml")))
        raise ConfigError([f"profile {name!r} is not known; known are {known}, or the path of a .yaml file"])
    return load_file(path)


def load_all() -> dict[str, Profile]:
    """All shipped profiles by id. Raises ConfigError with the faults of every file at once."""
    found: dict[str, Profile] = {}
    faults: list[str] = []
    for path in sorted(METERS.glob("*.yaml")):
        try:
            found[path.stem] = load_file(path)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    return found


def json_schema() -> dict[str, Any]:
    """The JSON schema of a profile file as it is written, for editors. Contradictions between keys are not in it."""
    classes = {protocol: profile_class(protocol) for protocol in DRIVERS}
    places, definitions = models_json_schema([(kind, "validation") for kind in classes.values()])
    chosen = [
        {"if": {"properties": {"protocol": {"const": protocol}}}, "then": places[kind, "validation"]}
        for protocol, kind in classes.items()
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"protocol": {"enum": list(classes)}},
        "required": ["protocol"],
        "allOf": chosen,
        **_for_editors(definitions),
    }


def _for_editors(node: Any) -> Any:
    """Without titles and defaults (those are names and values of ours, not of the file), and strict in its keys."""
    if isinstance(node, list):
        return [_for_editors(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _for_editors(value) for key, value in node.items() if key not in ("title", "default", "propertyNames")}
    if isinstance(node.get("title"), dict):  # the key of a profile that is called so
        kept["title"] = _for_editors(node["title"])
    if "patternProperties" in kept:
        kept["additionalProperties"] = False
    return kept
