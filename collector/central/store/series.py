"""What a store of time series must do, whichever database holds it: write samples, and answer four questions.

Rule 1. A value's identity is (kind, meter, register, time). The gateway is carried along and never asked for.
Rule 2. Writing the same samples again changes nothing. `live` and `quantity`: a later write of another value wins.
        `frozen`: the first value stays, another one is reported as a conflict and not stored. Should two gateways
        differ about one meter and instant, which the registry rules out, one of their `live` values counts always.
Rule 3. `write` returns when everything that it does not report as rejected is on disk. It raises `StoreAway` when it
        cannot tell; then the caller writes the same samples again later.
Rule 4. Only accepted values come here. Energy is whole Wh (varh, VAh); instants are milliseconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from collector.exits import Unreachable

Kind = Literal["live", "frozen", "quantity"]
KINDS: tuple[Kind, ...] = ("live", "frozen", "quantity")


class Sample(NamedTuple):
    """What one asking gave of one kind: OBIS code -> whole Wh (`live`, `frozen`) or a number in SI units (`quantity`).

    `time`: when it was asked; of `frozen` values the end of their month in the gateway's zone.
    """

    kind: Kind
    meter: str
    gateway: str
    time: int
    values: Mapping[str, int | float]


class Row(NamedTuple):
    """One stored value."""

    meter: str
    time: int
    register: str
    value: int | float
    kind: Kind


class Rejected(NamedTuple):
    """A sample that the database refuses for good. `place`: where it stands in what was written."""

    place: int
    reason: str


class Conflict(NamedTuple):
    """A frozen value that differs from the one that stays. `place`: where its sample stands in what was written."""

    place: int
    register: str
    stored: int
    offered: int


class TimedValue(NamedTuple):
    """A value of one register and when it was asked."""

    time: int
    value: int


class Around(NamedTuple):
    """The live values of one register next to an instant, nearest first, at most two on each side.

    `before`: asked earlier than the instant. `after`: asked at the instant or later.
    """

    before: tuple[TimedValue, ...]
    after: tuple[TimedValue, ...]


class Last(NamedTuple):
    """The newest live sample of a meter."""

    time: int
    values: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a write did not store."""

    rejected: list[Rejected] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)


class Check(NamedTuple):
    """One thing that was looked at in a store: what, whether it is as it should be, and the particulars."""

    name: str
    good: bool
    text: str


class StoreAway(Unreachable):
    """The database did not answer or did not commit. Nothing is known; write the same again later."""


class SeriesStore(Protocol):
    """A store of time series. Every method may raise `StoreAway`. One thread at a time uses a store."""

    @property
    def keeps(self) -> int | None:
        """Milliseconds after which the database drops a value by itself; None for never, or not known yet."""

    def write(self, samples: Sequence[Sample]) -> WriteResult:
        """Store samples, durable on return."""

    def span(self, kinds: Collection[Kind], meters: Collection[str] | None, start: int, end: int) -> Iterator[Row]:
        """All values with start <= time < end (None: of all meters), sorted by meter, time, register, kind."""

    def around(self, wanted: Mapping[str, Collection[str]], at: int, within_ms: int) -> dict[str, dict[str, Around]]:
        """The live neighbours of an instant: meter -> register -> values in [at - within_ms, at + within_ms].

        `wanted`: meter -> its registers. A register without any value there is absent, and so is its meter.
        """

    def frozen(self, meters: Collection[str], month_end: int) -> dict[str, dict[str, int]]:
        """The frozen values of the month that ended at this instant: meter -> register -> whole Wh."""

    def last(self, meters: Collection[str] | None) -> dict[str, Last]:
        """The newest live sample of each meter (None: of all meters that have one)."""

    def check(self) -> Iterator[Check]:
        """Look at the database itself, not at what it holds."""

    def close(self) -> None:
        """Let go of the database."""
