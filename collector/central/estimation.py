"""What stands in for a month without a reading, where the utility's profile says so: a cascade of steps. Pure.

Rule 1. Nobody estimates unless the profile says so; the default is no number.
Rule 2. The steps are tried in the profile's order; each says what it was made of, also where it gave nothing.
Rule 3. After so many estimates in a row only the norm is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import Field

from collector import localtime
from collector.central.thresholds import Kwh, Months
from collector.config_fields import Code, ListOf, Section, one_of

Step = Literal["last-year", "mean", "daily", "norm"]
DAY_MS = 86_400_000


class Estimation(Section):
    """The cascade. `months`: of the mean, `least`: at least so many; `in_a_row`: estimates before the norm alone.

    `norm`: OBIS code -> kWh a month.
    """

    steps: Annotated[ListOf[Annotated[Step, one_of("last-year", "mean", "daily", "norm")]], Field(min_length=1)]
    months: Months = 6
    least: Months = 3
    in_a_row: Months = 3
    norm: Mapping[Code, Kwh] = Field(default_factory=dict)


class Used(NamedTuple):
    """What a month gave, in kWh, and `how`: billed as it was read, estimated, or held and not billed."""

    kwh: Decimal
    how: Literal["", "estimated", "held"] = ""


class PastMonths(Mapping[str, Used]):
    """Months -> what they gave, as a ledger row carries them: `{"2026-10": ["120"], "2026-09": ["80", "estimated"]}`.

    Each is read when it is asked for: a close of many rows looks at few of them.
    """

    def __init__(self, raw: Mapping[str, Sequence[str]]) -> None:
        self.raw = raw

    def __getitem__(self, month: str) -> Used:
        kwh, *how = self.raw[month]
        return Used(Decimal(kwh), *how)  # type: ignore[arg-type]  # one of the words that `carried` writes

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)

    def __len__(self) -> int:
        return len(self.raw)

    def read_in(self, month: str) -> Decimal | None:
        """What a month was billed with as it was read; None where it was not."""
        item = self.raw.get(month)
        return Decimal(item[0]) if item is not None and len(item) == 1 else None

    def read(self, most: int) -> list[Decimal]:
        """The last months that were billed as they were read, newest first, at most so many."""
        found: list[Decimal] = []
        for month in sorted(self.raw, reverse=True):
            if len(found) == most:
                break
            if len(item := self.raw[month]) == 1:
                found.append(Decimal(item[0]))
        return found

    def carried(self, month: str, used: Used | None, oldest: str) -> dict[str, Sequence[str]]:
        """As the next row carries them: with a month more, without those before the oldest."""
        raw = {name: item for name, item in self.raw.items() if name >= oldest}
        if used is not None:
            raw[month] = [f"{used.kwh:f}", used.how] if used.how else [f"{used.kwh:f}"]
        return raw


NO_MONTHS = PastMonths({})


class Calendar(Protocol):
    """Where the periods of a point end."""

    def __call__(self, period: str, /) -> int: ...


class Estimate(NamedTuple):
    """kWh for the period, by which step, and what each step that was tried was made of (JSON)."""

    kwh: Decimal
    step: Step
    tried: Sequence[Mapping[str, Any]]


class _Past(NamedTuple):
    """What the steps work on: the rule, the register, the period, its months so far, and where periods end."""

    rule: Estimation
    code: str
    period: str
    months: Mapping[str, Used]
    edge: Calendar

    def last(self) -> list[str]:
        """The last months that were read, newest first, as many as the mean takes."""
        read = [month for month in sorted(self.months, reverse=True) if not self.months[month].how]
        return read[: self.rule.months]


def estimate(rule: Estimation, code: str, period: str, months: Mapping[str, Used], edge: Calendar) -> Estimate | None:
    """The first step that gives something. `months`: those before the period; None where no step gives anything."""
    past = _Past(rule, code, period, months, edge)
    steps: Sequence[Step] = rule.steps
    tried: list[Mapping[str, Any]] = []
    if in_a_row(months, period) >= rule.in_a_row:
        steps = [step for step in steps if step == "norm"]
        tried.append({"step": "cap", "estimated_in_a_row": in_a_row(months, period), "most": rule.in_a_row})
    for step in steps:
        kwh, inputs = _STEPS[step](past)
        tried.append({"step": step, "kwh": None if kwh is None else f"{kwh:f}", "inputs": inputs})
        if kwh is not None:
            return Estimate(kwh, step, tried)
    return None


def in_a_row(months: Mapping[str, Used], period: str) -> int:
    """How many months right before the period were estimated."""
    count, month = 0, localtime.next_month(period, -1)
    while month in months and months[month].how == "estimated":
        count, month = count + 1, localtime.next_month(month, -1)
    return count


# ----------------------------------------------------------------------------- the steps

_Given = tuple[Decimal | None, Mapping[str, Any]]


def _last_year(past: _Past) -> _Given:
    month = localtime.next_month(past.period, -12)
    used = past.months.get(month)
    if used is None or used.how:
        return None, {month: None}
    return used.kwh, {month: f"{used.kwh:f}"}


def _mean(past: _Past) -> _Given:
    chosen = past.last()
    inputs = {month: f"{past.months[month].kwh:f}" for month in chosen}
    if len(chosen) < past.rule.least:
        return None, inputs
    return sum((past.months[month].kwh for month in chosen), Decimal(0)) / len(chosen), inputs


def _daily(past: _Past) -> _Given:
    chosen = past.last()
    inputs: dict[str, Any] = {month: [f"{past.months[month].kwh:f}", _days(past, month)] for month in chosen}
    inputs["days"] = _days(past, past.period)
    if len(chosen) < past.rule.least:
        return None, inputs
    kwh = sum((past.months[month].kwh for month in chosen), Decimal(0))
    return kwh * _days(past, past.period) / sum(_days(past, month) for month in chosen), inputs


def _days(past: _Past, month: str) -> int:
    """How many days a period has; a change of clocks makes none longer."""
    return round((past.edge(month) - past.edge(localtime.next_month(month, -1))) / DAY_MS)


def _norm(past: _Past) -> _Given:
    norm = past.rule.norm.get(past.code)
    return norm, {"norm": None if norm is None else f"{norm:f}"}


_STEPS: Mapping[Step, Callable[[_Past], _Given]] = {
    "last-year": _last_year,
    "mean": _mean,
    "daily": _daily,
    "norm": _norm,
}
