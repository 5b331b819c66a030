"""Whether a snapshot may be believed: a list of checks, each giving its reason in words or None.

Rule 1. A check looks at what came, at the registry as of the asking, and at when the batch came; never at the clock.
        The same batch is judged alike whenever it is judged and in whatever order it came.
Rule 2. A doubt keeps the whole snapshot out of the series and in quarantine. Nothing is repaired.
Rule 3. A reason begins with its name, then what came and what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import NamedTuple

from collector import localtime
from collector.central.registry import Binding, Meter, in_force
from collector.model import Snapshot
from collector.serials import same_serial
from drivers import obis

MOST = (
    1 << 53
)  # contract, Time series: the greatest whole number that a double, which JSON may be read as, holds exactly
EARLIEST = 946_684_800_000  # contract, Time series: 2000-01-01T00:00:00Z
DAY = 86_400_000  # contract, Time series: how far ahead a time may be
HOUR = 3_600_000  # contract, Frozen: how far ahead of us a meter's clock may be when it labels a month


class Around(NamedTuple):
    """What a batch says of all its snapshots, and when it came (`received`)."""

    gateway: str
    zone: str | None
    synced: bool
    profiles: Collection[str]
    received: int


class Subject(NamedTuple):
    """A snapshot and what it is held against. `meter` and `bound` (how it was read when it was asked) are what the
    registry knows, None for nothing."""

    snapshot: Snapshot
    meter: Meter | None
    bound: Binding | None
    around: Around


def _unknown_meter(subject: Subject) -> str | None:
    return None if subject.meter else f"unknown meter: {subject.snapshot.meter} is not in the registry"


def _foreign_gateway(subject: Subject) -> str | None:
    bound, came = subject.bound, subject.around.gateway
    if bound is None or bound.gateway == came:
        return None
    return f"foreign gateway: {subject.snapshot.meter} is read through {bound.gateway}, not {came}"


def _unsynced_clock(subject: Subject) -> str | None:
    return None if subject.around.synced else "unsynced clock: the gateway did not trust its time"


def _impossible_time(subject: Subject) -> str | None:
    snapshot, received = subject.snapshot, subject.around.received
    for name, time in (("asked", snapshot.asked), ("answered", snapshot.answered)):
        if time is not None and not EARLIEST <= time <= received + DAY:
            when = "before 2000" if time < EARLIEST else "more than a day ahead"
            return f"impossible time: {name} {time} is {when} (it came at {received})"
    return None


def _other_serial(subject: Subject) -> str | None:
    came, meter = subject.snapshot.serial_number, subject.meter
    if came is None or meter is None or same_serial(came, meter.serial_number):
        return None
    return f"other serial number: {came!r} answered, {meter.meter} is {meter.serial_number!r}"


def _stranger(subject: Subject) -> str | None:
    snapshot, failure = subject.snapshot, subject.snapshot.failure
    if failure is None or failure.kind != "stranger":
        return None
    holds = snapshot.registers or snapshot.frozen or snapshot.quantities
    return f"stranger: {failure.text}" if holds else None


def _other_profile(subject: Subject) -> str | None:
    # Another profile reads other addresses or another scale: its numbers may be sound and still not this meter's.
    bound, came = subject.bound, subject.snapshot.profile
    if bound is None or bound.profile == came:
        return None
    return f"other profile: read by {came}, the registry says {bound.profile}"


def _unnamed_profile(subject: Subject) -> str | None:
    if subject.snapshot.profile in subject.around.profiles:
        return None
    return f"unnamed profile: {subject.snapshot.profile} has no digest in its batch"


def _impossible_energy(subject: Subject) -> str | None:
    snapshot = subject.snapshot
    for values in (snapshot.registers, *snapshot.frozen.values()):
        for code, value in values.items():
            if not 0 <= value <= MOST:
                return f"impossible value: {code} is {value}, expected 0 to 2^53"
            if not _is_energy(code):
                return f"impossible register: {code} counts no energy"
    return None


def _impossible_quantity(subject: Subject) -> str | None:
    for code, value in subject.snapshot.quantities.items():
        if not math.isfinite(value):
            return f"impossible value: {code} is {value}"
        if not _is_quantity(code):
            return f"impossible quantity: {code} is no instantaneous value"
    return None


def _impossible_month(subject: Subject) -> str | None:
    asked = subject.snapshot.asked
    for month in subject.snapshot.frozen:
        try:
            end = month_end(month, subject.around.zone or "")
        except ValueError as error:
            return f"impossible month: where {month} ends cannot be told: {error}"
        if not EARLIEST <= end <= asked + HOUR:
            return f"impossible month: {month} had not ended, or was before 2000, when asked at {asked}"
    return None


CHECKS: tuple[Callable[[Subject], str | None], ...] = (
    _unknown_meter,
    _foreign_gateway,
    _unsynced_clock,
    _impossible_time,
    _other_serial,
    _stranger,
    _other_profile,
    _unnamed_profile,
    _impossible_energy,
    _impossible_quantity,
    _impossible_month,
)


def doubts(snapshot: Snapshot, meter: Meter | None, around: Around) -> list[str]:
    """All reasons not to believe a snapshot; empty for one that may go into the series."""
    bound = None if meter is None else in_force(meter.bindings, snapshot.asked)
    subject = Subject(snapshot, meter, bound, around)
    return [reason for check in CHECKS if (reason := check(subject)) is not None]


@lru_cache(maxsize=4096)
def month_end(month: str, zone: str) -> int:
    """When a month ends in a zone, as an instant. Raises ValueError for a zone or month that is none."""
    try:
        return localtime.to_millis(localtime.month_end(month, zone))
    except OverflowError:
        raise ValueError(f"no calendar reaches beyond {month}") from None


@lru_cache(maxsize=4096)
def _is_energy(code: str) -> bool:
    try:
        return obis.parse(code).is_energy
    except ValueError:
        return False


@lru_cache(maxsize=4096)
def _is_quantity(code: str) -> bool:
    try:
        found = obis.parse(code)
        return bool(found.unit or found.d == obis.INSTANT) and not found.is_energy
    except ValueError:
        return False
