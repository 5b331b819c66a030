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
from collector.messages import SentSnapshot
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


# A snapshot and what it is held against: the meter and how it was read when it was asked, as the registry knows them
# (None: not at all), and its batch. Four arguments and no object of them: it is asked of every snapshot that comes in.
Check = Callable[[SentSnapshot, Meter | None, Binding | None, Around], str | None]


def _unknown_meter(snapshot: SentSnapshot, meter: Meter | None, _bound: Binding | None, _around: Around) -> str | None:
    return None if meter else f"unknown meter: {snapshot['meter']} is not in the registry"


def _foreign_gateway(snapshot: SentSnapshot, _meter: Meter | None, bound: Binding | None, around: Around) -> str | None:
    if bound is None or bound.gateway == around.gateway:
        return None
    return f"foreign gateway: {snapshot['meter']} is read through {bound.gateway}, not {around.gateway}"


def _unsynced_clock(
    _snapshot: SentSnapshot, _meter: Meter | None, _bound: Binding | None, around: Around
) -> str | None:
    return None if around.synced else "unsynced clock: the gateway did not trust its time"


def _impossible_time(
    snapshot: SentSnapshot, _meter: Meter | None, _bound: Binding | None, around: Around
) -> str | None:
    asked, answered, latest = snapshot["asked"], snapshot.get("answered"), around.received + DAY
    if EARLIEST <= asked <= latest and (answered is None or EARLIEST <= answered <= latest):
        return None
    name, time = ("answered", answered) if EARLIEST <= asked <= latest else ("asked", asked)
    when = "before 2000" if time is not None and time < EARLIEST else "more than a day ahead"
    return f"impossible time: {name} {time} is {when} (it came at {around.received})"


def _other_serial(snapshot: SentSnapshot, meter: Meter | None, _bound: Binding | None, _around: Around) -> str | None:
    came = snapshot.get("serial_number")
    if came is None or meter is None or same_serial(came, meter.serial_number):
        return None
    return f"other serial number: {came!r} answered, {meter.meter} is {meter.serial_number!r}"


def _stranger(snapshot: SentSnapshot, _meter: Meter | None, _bound: Binding | None, _around: Around) -> str | None:
    failure = snapshot.get("failure")
    if failure is None or failure["kind"] != "stranger":
        return None
    holds = snapshot.get("registers") or snapshot.get("frozen") or snapshot.get("quantities")
    return f"stranger: {failure['text']}" if holds else None


def _other_profile(snapshot: SentSnapshot, _meter: Meter | None, bound: Binding | None, _around: Around) -> str | None:
    # Another profile reads other addresses or another scale: its numbers may be sound and still not this meter's.
    if bound is None or bound.profile == snapshot["profile"]:
        return None
    return f"other profile: read by {snapshot['profile']}, the registry says {bound.profile}"


def _unnamed_profile(
    snapshot: SentSnapshot, _meter: Meter | None, _bound: Binding | None, around: Around
) -> str | None:
    if snapshot["profile"] in around.profiles:
        return None
    return f"unnamed profile: {snapshot['profile']} has no digest in its batch"


def _impossible_energy(
    snapshot: SentSnapshot, _meter: Meter | None, _bound: Binding | None, _around: Around
) -> str | None:
    for values in (snapshot.get("registers", {}), *snapshot.get("frozen", {}).values()):
        for code, value in values.items():
            if not 0 <= value <= MOST:
                return f"impossible value: {code} is {value}, expected 0 to 2^53"
            if not _is_energy(code):
                return f"impossible register: {code} counts no energy"
    return None


def _impossible_quantity(
    snapshot: SentSnapshot, _meter: Meter | None, _bound: Binding | None, _around: Around
) -> str | None:
    for code, value in snapshot.get("quantities", {}).items():
        if not math.isfinite(value):
            return f"impossible value: {code} is {value}"
        if not _is_quantity(code):
            return f"impossible quantity: {code} is no instantaneous value"
    return None


def _impossible_month(
    snapshot: SentSnapshot, _meter: Meter | None, _bound: Binding | None, around: Around
) -> str | None:
    for month in snapshot.get("frozen", ()):
        try:
            end = month_end(month, around.zone or "")
        except ValueError as error:
            return f"impossible month: where {month} ends cannot be told: {error}"
        if not EARLIEST <= end <= snapshot["asked"] + HOUR:
            return f"impossible month: {month} had not ended, or was before 2000, when asked at {snapshot['asked']}"
    return None


CHECKS: tuple[Check, ...] = (
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


def doubts(snapshot: SentSnapshot, meter: Meter | None, around: Around) -> list[str]:
    """All reasons not to believe a snapshot; empty for one that may go into the series."""
    bound = None if meter is None else in_force(meter.bindings, snapshot["asked"])
    reasons: list[str] = []
    for check in CHECKS:
        if (reason := check(snapshot, meter, bound, around)) is not None:
            reasons.append(reason)  # noqa: PERF401 - a comprehension costs a call more, and this is asked so often
    return reasons


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
