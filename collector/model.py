"""What travels between the parts: snapshots, batches, receipts, findings, billing readings. Frozen; no behaviour.

What comes from outside is checked as it is made. What the centre makes itself, in hundreds of thousands at a month's
end, is a tuple.

Energy is a whole number of Wh (varh, VAh). Instants are whole milliseconds since 1970 UTC (`Millis`); a meter's own
clock is its own naive text. Names and rules: docs/contract.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA = 1  # of every message and file; a change of meaning is a new number

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
Name = Annotated[str, Field(pattern=NAME)]
Millis = Annotated[int, Field(strict=True)]
Month = Annotated[str, Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")]
Code = Annotated[str, Field(pattern=r"^[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$")]
Wh = Annotated[int, Field(strict=True)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
HexText = Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$", max_length=1 << 17)]
SpoolId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
Sequence = Annotated[int, Field(strict=True, ge=1, le=1 << 53)]

BatchClass = Literal["interval", "keep"]
Purpose = Literal["interval", "boundary", "requested", "act"]
FailureKind = Literal["no-answer", "damaged", "refused", "stranger", "port", "profile", "skipped"]
RefusalCode = Literal["unknown-gateway", "busy", "schema", "too-large", "mismatch", "conflict"]
PASSING: frozenset[str] = frozenset({"unknown-gateway", "busy"})  # refusals with `final: false`: tried again


class Frozen(BaseModel):
    """Immutable. Unknown keys are passed over, since a newer end may add some; reserved names carry an underscore."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


# ----------------------------------------------------------------------------- from the gateway


class Failure(Frozen):
    """Why a meter gave nothing. `text` is for the operator."""

    kind: FailureKind
    text: str = Field(max_length=1000)


class Snapshot(Frozen):
    """One asking of one meter: what it said, or the failure. Absence is data.

    `quality`: what its bytes lacked to show damage, "no-checksum" or "no-parity".
    """

    meter: Name
    serial_number: str | None = Field(default=None, max_length=64)
    profile: Name
    purpose: Purpose
    asked: Millis
    answered: Millis | None = None
    clock: str | None = Field(default=None, max_length=64)
    registers: Mapping[Code, Wh] = Field(default_factory=dict)
    frozen: Mapping[Month, Mapping[Code, Wh]] = Field(default_factory=dict)
    quantities: Mapping[Code, float] = Field(default_factory=dict)
    raw: Mapping[str, HexText] = Field(default_factory=dict)
    quality: tuple[Annotated[str, Field(max_length=32)], ...] = ()
    failure: Failure | None = None

    @property
    def batch_class(self) -> BatchClass:
        """`interval` snapshots may be evicted when a spool is full; all others are kept."""
        return "interval" if self.purpose == "interval" else "keep"


class Evicted(Frozen):
    """The tombstone of an un-receipted interval batch: how many snapshots are lost, asked from when to when."""

    snapshots: int = Field(ge=0)
    from_: Millis = Field(alias="from")
    to: Millis


class Batch(Frozen):
    """What a gateway commits and sends as one: snapshots of one class, or a tombstone, or an act."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    gateway: Name
    spool: SpoolId
    sequence: Sequence
    class_: BatchClass = Field(alias="class")
    zone: str | None = Field(default=None, max_length=64)
    synced: bool = Field(default=False, strict=True)
    profiles: Mapping[Name, str] = Field(default_factory=dict)
    snapshots: tuple[Snapshot, ...] | None = None
    evicted: Evicted | None = None
    act: Mapping[str, Any] | None = None

    @model_validator(mode="after")
    def _one_content(self) -> Batch:
        if sum(part is not None for part in (self.snapshots, self.evicted, self.act)) != 1:
            raise ValueError("a batch holds exactly one of snapshots, evicted, act")
        return self


class Receipt(Frozen):
    """The centre's word on one batch. Only `stored` with the same key and digest lets the gateway forget it."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    gateway: Name
    spool: SpoolId
    sequence: Sequence
    sha256: Digest
    stored: bool
    code: RefusalCode | None = None
    final: bool | None = None
    reason: str | None = Field(default=None, max_length=1000)


class SpoolState(Frozen):
    """What a gateway's spool holds. `damage` says in words what was found at start."""

    id: SpoolId
    next: int
    unreceipted: int
    refused: int
    evicted: int
    fill: float
    days_left: float | None
    damage: str | None


class LineState(Frozen):
    """One wire: how many meters, how many answer, how long a pass takes, which share of it the silent ones had."""

    meters: int
    answering: int
    cycle_ms: int | None = None
    silent_share: float = 0.0


class MeterState(Frozen):
    """One meter's counters since the gateway started, its last answer and its last boundary (a local date)."""

    last: Millis | None = None
    boundary: str | None = None
    ok: int = 0
    no_answer: int = Field(default=0, alias="no-answer")
    damaged: int = 0
    refused: int = 0
    stranger: int = 0
    drift_s: int | None = None


class Status(Frozen):
    """A gateway's health; retained. The will is the same with `online` false and nothing below `version`."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    gateway: Name
    online: bool
    at: Millis
    version: str = Field(max_length=64)
    time_zone: str | None = None
    synced: bool | None = None
    spool: SpoolState | None = None
    lines: Mapping[Name, LineState] | None = None
    meters: Mapping[Name, MeterState] | None = None
    warnings: tuple[str, ...] | None = None


# ----------------------------------------------------------------------------- at the centre

Method = Literal["frozen", "live", "manual", "estimated", ""]
RowStatus = Literal["ready", "held", "missing", "estimated"]
Level = Literal["info", "warn", "hold"]


class Finding(NamedTuple):
    """What a check found; data, never an exception. `quality` is the B.C code of IEC 61968-9; a hold stops the row.

    `meter` and `register_` may be empty: what is said of a point as a whole.
    """

    point: str
    meter: str
    register_: str
    time: int | None
    check: str
    level: Level
    quality: str
    text: str


class BillingReading(NamedTuple):
    """One billed register of one point in one period, as the ledger keeps it. kWh are exact decimals, cut."""

    period: str
    utility: str
    account: str
    point: str
    meter: str
    serial_number: str
    register_: str
    label: str
    start_time: int | None
    start_kwh: Decimal | None
    end_time: int | None
    end_kwh: Decimal | None
    ratio: Decimal
    consumption_kwh: Decimal | None
    status: RowStatus
    method: Method
    quality: str
    revision: int
