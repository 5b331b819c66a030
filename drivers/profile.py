"""A meter's profile: which register is which OBIS code, where it lies, and bytes that prove it. Strict and frozen.

A profile is data (`profiles/meters/<id>.yaml`). Its digest is the SHA-256 of the file's bytes: every reading names the
digest it was read with. A released profile's id never changes meaning: a correction that alters a value is a new id.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from drivers import obis, strict_yaml
from drivers.strict_yaml import ConfigError
from drivers.values import CLOCK_SIZE, SIZE, ClockType, Marker, NumberType, TextType, WordOrder, base_unit

METERS = Path(__file__).resolve().parent.parent / "profiles" / "meters"
SERIAL, CLOCK = "serial", "clock"  # names of these two where a proof lists them beside OBIS codes


class Strict(BaseModel):
    """Frozen; an unknown key is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _code(text: str) -> str:
    return str(obis.parse(text))


def _hex(text: Any) -> int:
    if not isinstance(text, str) or not re.fullmatch(r"[0-9A-F]{4}", text):
        raise ValueError("a wire address is four upper-case hex digits, quoted, counted from 0, e.g. 0048")
    return int(text, 16)


def _bytes(text: Any) -> bytes:
    try:
        return bytes.fromhex(text)
    except (TypeError, ValueError):
        raise ValueError("bytes are hex digits, blanks between bytes allowed, e.g. 01 04 04") from None


def _unit(text: str | None) -> str:
    base_unit(text or "")
    return text or ""


def _scale(value: Decimal) -> Decimal:
    if not value.is_finite() or value <= 0:
        raise ValueError("a scale is a positive number")
    return value


def _milliseconds(text: Any) -> float:
    match = re.fullmatch(r"(\d{1,6})ms", text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("a time in a profile is whole milliseconds, e.g. 500ms")
    return int(match[1]) / 1000


Code = Annotated[str, AfterValidator(_code)]
Wire = Annotated[int, BeforeValidator(_hex)]
Hex = Annotated[bytes, BeforeValidator(_bytes)]
Unit = Annotated[str, BeforeValidator(_unit)]
Scale = Annotated[Decimal, AfterValidator(_scale)]
Seconds = Annotated[float, BeforeValidator(_milliseconds)]
Framing = Annotated[str, Field(pattern=r"^[78][NEO][12]$")]
Function = Annotated[Literal[3, 4], BeforeValidator(lambda text: {"03": 3, "04": 4}.get(text, text))]
Text = Annotated[str, Field(min_length=1, max_length=2000)]


class LineDefaults(Strict):
    """How the meter leaves the factory. `turnaround`: seconds it usually thinks; `timeout`: its longest."""

    baudrate: Literal[300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200]
    framing: Framing
    turnaround: Seconds = 0.02
    timeout: Seconds = 0.5
    source: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("baudrate"), str) and data["baudrate"].isdigit():
            data = {**data, "baudrate": int(data["baudrate"])}
        return data


class Register(Strict):
    """One value: OBIS code -> wire address, type, unit of the meter and scale (unit = raw x scale)."""

    address: Wire
    type: NumberType
    unit: Unit
    scale: Scale = Decimal(1)
    function: Function | None = None
    caveat: Text | None = None

    @property
    def words(self) -> int:
        """How many 16-bit registers it takes."""
        return SIZE[self.type] // 2

    @property
    def factor(self) -> Decimal:
        """What a raw value is multiplied by to be in Wh, varh, VAh or the SI unit."""
        return self.scale * base_unit(self.unit)[1]


class SerialRegister(Strict):
    """Where the serial number is. `words` is given for text only."""

    address: Wire
    type: TextType
    words: int = 0
    function: Function | None = None
    caveat: Text | None = None

    @model_validator(mode="after")
    def _words(self) -> SerialRegister:
        if (self.type in SIZE) == bool(self.words):
            raise ValueError("words: needed for ascii and hex, not allowed for types that have their own length")
        return self

    @property
    def length(self) -> int:
        """How many 16-bit registers it takes."""
        return self.words or SIZE[self.type] // 2


class ClockRegister(Strict):
    """Where the meter's own clock, or the stamp of a closing, is."""

    address: Wire
    type: ClockType
    function: Function | None = None
    caveat: Text | None = None

    @property
    def length(self) -> int:
        """How many 16-bit registers it takes."""
        return CLOCK_SIZE[self.type] // 2


class FrozenRegisters(Strict):
    """Registers that the meter froze at a closing: `stamp` says when, or `back` counts months (1: the last)."""

    stamp: ClockRegister | None = None
    back: int | None = Field(default=None, ge=1, le=36)
    registers: Mapping[Code, Register] = Field(min_length=1)

    @model_validator(mode="after")
    def _label(self) -> FrozenRegisters:
        if (self.stamp is None) == (self.back is None):
            raise ValueError("frozen registers need either a stamp or a counter `back`")
        return self


class ModbusSettings(Strict):
    """What all registers of the meter share. `most_registers`: in one request. `even`: start and count are even.

    `alone`: registers that must be read one at a time. `not_available`: what stands for "no value".
    """

    function: Function
    word_order: WordOrder
    most_registers: int = Field(ge=1, le=125)  # Modbus Application Protocol V1.1b3, 6.3: at most 125
    even: bool = False
    alone: tuple[Wire, ...] = ()
    not_available: tuple[Marker, ...] = ()


class Proof(Strict):
    """A request, the answer's bytes, and the values they must give (as `meterline read` prints them).

    `captured` on a meter, printed in a `document`, or `computed` from the document by other means than our encoder.
    """

    kind: Literal["captured", "document", "computed"]
    source: Text
    request: Hex
    answer: Hex
    gives: Mapping[str, str] = Field(min_length=1)


class Profile(Strict):
    """A meter profile. `max_current` (A per phase) bounds how fast registers grow; `digits` stand before the point."""

    schema_: Literal["1"] = Field(alias="schema")
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")
    title: Text
    protocol: Literal["modbus"]
    source: Text
    phases: Literal[1, 3] = Field(strict=False)
    max_current: int = Field(ge=1, le=10000)
    digits: int | None = Field(default=None, ge=4, le=12)
    total: Literal["register", "sum"] = "register"
    line: LineDefaults
    modbus: ModbusSettings
    serial: Literal["none"] | SerialRegister
    clock: Literal["none"] | ClockRegister = "none"
    registers: Mapping[Code, Register] = Field(min_length=1)
    frozen: tuple[FrozenRegisters, ...] = ()
    caveats: tuple[Text, ...] = ()
    proof: tuple[Proof, ...] = Field(min_length=1)
    digest: str = Field(default="", exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _typed(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("phases") in ("1", "3"):
            data = {**data, "phases": int(data["phases"])}
        return data

    @model_validator(mode="after")
    def _sound(self) -> Profile:
        for code, register in self.registers.items():
            wanted, got = base_unit(obis.parse(code).unit)[0], base_unit(register.unit)[0]
            if wanted != got:
                raise ValueError(f"registers.{code}: its unit is {wanted} (with a prefix), not {got or 'none'}")
        for item in self.proof:
            for name in item.gives:
                if name not in self.registers and name not in (SERIAL, CLOCK):
                    raise ValueError(f"proof: {name} is not a register of this profile")
        return self

    @cached_property
    def energy_codes(self) -> tuple[str, ...]:
        """The codes that count energy, in file order of OBIS."""
        return tuple(sorted((c for c in self.registers if obis.parse(c).is_energy), key=obis.sort_key))

    @property
    def tariffs(self) -> int:
        """How many import tariff registers 1.8.1, 1.8.2 ... it has; 0 for a meter with a total alone."""
        return sum(f"1.8.{n}" in self.registers for n in range(1, 5))

    @property
    def proof_kind(self) -> str:
        """The strongest kind of proof: captured, document, computed."""
        kinds = {item.kind for item in self.proof}
        return next(kind for kind in ("captured", "document", "computed") if kind in kinds)

    @property
    def all_caveats(self) -> tuple[str, ...]:
        """The profile's caveats and those of single registers, with their code."""
        own = [f"{code}: {register.caveat}" for code, register in self.registers.items() if register.caveat]
        for name, place in ((SERIAL, self.serial), (CLOCK, self.clock)):
            if not isinstance(place, str) and place.caveat:
                own.append(f"{name}: {place.caveat}")
        return (*self.caveats, *own)


def parse(text: bytes, name: str) -> Profile:
    """One profile from the bytes of its file. `name` stands for the file in faults. Raises ConfigError."""
    try:
        document = strict_yaml.parse(text.decode("utf-8"), name)
    except UnicodeDecodeError as error:
        raise ConfigError([f"{name}: byte {error.start} is not UTF-8"]) from None
    if not isinstance(document.data, dict):
        raise ConfigError([f"{name}: a profile is a mapping of keys"])
    try:
        profile = Profile.model_validate(document.data)
    except ValidationError as error:
        raise ConfigError(document.faults(error)) from None
    return profile.model_copy(update={"digest": "sha256:" + hashlib.sha256(text).hexdigest()})


@lru_cache(maxsize=256)
def load_file(path: Path) -> Profile:
    """One profile from its file, whose name must be its id. Raises ConfigError."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    profile = parse(text, str(path))
    if profile.id != path.stem:
        raise ConfigError([f"{path}: id: the file is called {path.stem}, the profile {profile.id}"])
    return profile


def load(name: str) -> Profile:
    """A shipped profile by its id, or a profile file by its path (anything that ends in .yaml). Raises ConfigError."""
    if name.endswith(".yaml"):
        return load_file(Path(name))
    path = METERS / f"{name}.yaml"
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,62}", name) or not path.is_file():
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
    """The JSON schema of a profile file."""
    return Profile.model_json_schema()
