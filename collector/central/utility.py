"""A utility's profile: where its months end, how it bills, checks and estimates, what it calls a register. Strict.

A profile is data (`profiles/utilities/<id>.yaml`). Its digest is the SHA-256 of the file's bytes: every ledger row
names the digest that it was closed with.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from collector import localtime
from collector.central.estimation import Estimation
from collector.central.submissions import Output
from collector.central.submissions.rows import REMARKS, Head
from collector.central.thresholds import Calendar, Checks, overlap
from collector.central.window import Window
from collector.config_fields import Code, ListOf, Name, Section, Version, Zone, from_text, one_of, whole
from drivers import strict_yaml
from drivers.strict_yaml import ConfigError

UTILITIES = Path(__file__).resolve().parent.parent.parent / "profiles" / "utilities"
MIDNIGHT = datetime.time(0)


class Edge(NamedTuple):
    """An instant at which a period ends (ms UTC). `label`: the month whose frozen values belong here, if any does."""

    at: int
    label: str | None


def _words(most: int) -> BeforeValidator:
    def read(text: str) -> str:
        if not 0 < len(text) <= most or not text.isprintable():
            raise ValueError(f"1 to {most} printable characters are wanted")
        return text

    return from_text(read)


def _time(text: str) -> datetime.time:
    match = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])", text)
    if match is None:
        raise ValueError("a time of day is HH:MM, such as 00:00")
    return datetime.time(int(match[1]), int(match[2]))


class EdgeRule(Section):
    """Where a month ends: day 1 is the day after its last; a day from 2 to 28 lies in the month itself."""

    day: Annotated[int, whole(1, 28)] = 1
    time: Annotated[datetime.time, from_text(_time)] = MIDNIGHT


def _none(value: Any) -> Any:
    return None if value == "none" else value


class Utility(Section):
    """A utility profile. `decimals`: places of a kWh that are billed. `time_zone`: of `window`; edges are in a point's.

    `labels`: OBIS code -> what the utility calls it, in the order in which it wants them. `calendar`: OBIS code -> the
    local hours in which that register counts. `estimation` None (in the file: none): a month without a reading has no
    number. `outputs`: the files that the utility takes, beside billing.csv; `format` unknown: nobody told us which.
    """

    schema_: Version = Field(alias="schema")
    id: Name
    title: Annotated[str, _words(200)]
    source: Annotated[str, _words(400)] = ""
    caveats: ListOf[Annotated[str, _words(400)]] = ()
    time_zone: Zone | None = None
    edge: EdgeRule = EdgeRule()
    decimals: Annotated[int, whole(0, 3)] = 0  # below 0.001 kWh, which is 1 Wh, nothing is carried
    labels: Mapping[Code, Annotated[str, _words(40)]]
    window: Window | None = None
    calendar: Calendar = Field(default_factory=dict)
    checks: Checks = Checks()
    outputs: ListOf[Output] = ()
    format: Annotated[Literal["unknown"] | None, one_of("unknown")] = None
    estimation: Annotated[Estimation | None, BeforeValidator(_none)] = None
    digest: str = Field(default="", exclude=True)
    text: str = Field(default="", exclude=True, repr=False)

    @field_validator("calendar")
    @classmethod
    def _whole_day(cls, calendar: Calendar) -> Calendar:
        if calendar and (fault := overlap(calendar)) is not None:
            raise ValueError(fault)
        return calendar

    @model_validator(mode="after")
    def _names(self) -> Utility:
        if self.format == "unknown" and self.outputs:
            raise ValueError("format: unknown is for a utility without outputs; this one has some")
        head = self.head("2026-10", 1, 0)  # any month: two patterns may give one name
        names = [REMARKS, *(output.name(head) for output in self.outputs)]
        plain = [name.casefold() for name in names]  # as a utility's own computer may tell them apart
        if doubled := sorted(name for name in names if plain.count(name.casefold()) > 1):
            raise ValueError(f"outputs: the file {doubled[0]} would be written twice; each needs a name of its own")
        return self

    def in_order(self, codes: Iterable[str]) -> list[str]:
        """Registers in the order in which the utility wants them; those that it has no label for come last."""
        labelled = list(self.labels)
        return sorted(codes, key=lambda code: (labelled.index(code) if code in self.labels else len(labelled), code))

    def edge_of(self, period: str, zone: str) -> Edge:
        """Where the period YYYY-MM ends in this zone. Raises ValueError for what is no month."""
        return _edge(self.edge.day, self.edge.time, period, zone)

    def head(self, period: str, revision: int, at: int) -> Head:
        """What a submission of this utility is part of. `at`: when the period ends (ms UTC)."""
        labels = dict(self.labels)
        return Head(period, self.id, self.title, revision, list(labels), labels, self.decimals, at)

    def label(self, code: str) -> str:
        """What the utility calls a register: its own word, else the OBIS code."""
        return self.labels.get(code, code)


@lru_cache(maxsize=4096)
def _edge(day: int, at: datetime.time, period: str, zone: str) -> Edge:
    year, month = localtime.parse_month(localtime.next_month(period) if day == 1 else period)
    moment = localtime.to_millis(localtime.instant(datetime.date(year, month, day), at, zone))
    # A meter freezes its registers when a calendar month ends, so no other edge has frozen values.
    return Edge(moment, period if (day, at) == (1, MIDNIGHT) else None)


def parse(text: bytes, name: str) -> Utility:
    """One profile from the bytes of its file. `name` stands for the file in faults. Raises ConfigError."""
    try:
        document = strict_yaml.parse(text.decode("utf-8"), name)
    except UnicodeDecodeError as error:
        raise ConfigError([f"{name}: byte {error.start} is not UTF-8"]) from None
    data = document.data
    if not isinstance(data, dict):
        raise ConfigError([f"{name}: a utility profile is a mapping of keys"])
    for key in ("digest", "text"):
        if key in data:
            raise ConfigError([f"{document.where((key,))}: {key}: unknown key; it is made from the file's bytes"])
    try:
        utility = Utility.model_validate(data)
    except ValidationError as error:
        raise ConfigError(document.faults(error)) from None
    return utility.model_copy(update={"digest": "sha256:" + hashlib.sha256(text).hexdigest(), "text": text.decode()})


@lru_cache(maxsize=256)
def load_file(path: Path) -> Utility:
    """One profile from its file, whose name must be its id. Raises ConfigError."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    utility = parse(text, str(path))
    if utility.id != path.stem:
        raise ConfigError([f"{path}: id: the file is called {path.stem}, the profile {utility.id}"])
    return utility


def known() -> tuple[str, ...]:
    """The ids of all shipped utility profiles, sorted."""
    return tuple(sorted(path.stem for path in UTILITIES.glob("*.yaml")))


def load(name: str) -> Utility:
    """A shipped utility profile by its id. Raises ConfigError."""
    if name not in known():
        raise ConfigError([f"utility {name!r} is not known; known are {', '.join(known())} (profiles/utilities)"])
    return load_file(UTILITIES / f"{name}.yaml")
