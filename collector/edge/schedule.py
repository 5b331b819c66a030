"""What one meter is owed when: interval readings, boundary snapshots, frozen months. Pure: memory in, task out.

Rule 1. A tick is an instant at which the local wall clock shows midnight plus a multiple of the interval. At each tick
        an interval reading falls due; one that could not be asked before the next tick is not made up.
Rule 2. At each local midnight a boundary snapshot falls due, and stays due until it has come or six hours have passed.
        It is never asked before its instant. While it is due, whatever is asked of the meter is the boundary snapshot:
        it takes the place of the interval reading.
Rule 3. The frozen registers of the month that just ended are owed until two askings at least a minute apart agree:
        with each boundary snapshot, and by themselves in between.
Rule 4. The serial number is read with all of these but an interval reading; with that too, when nobody has proven the
        meter since local midnight, or it was silent, or a stranger answered.
Rule 5. A clock that goes back makes nothing due twice, except what it had done by a time that is now to come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from collector.edge.frozen import ended_month
from collector.localtime import MILLISECOND, from_millis, local_date, midnight, to_millis, zone

Purpose = Literal["interval", "boundary", "requested"]

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000

WINDOW = 6 * HOUR  # how long after its midnight a boundary snapshot is asked for (docs/contract.md, Boundary)

# Pauses after a boundary asking that failed with damage or a refusal: the asking itself has repeated each frame three
# times within a second, so what disturbs lasts longer than that; half a minute lets a lift or a welder come to rest and
# the line's other meters have their turn. A quarter of an hour at the most: four tries an hour, and a value still
# comes within the 60 minutes after the edge that the close takes without remark.
RETRY_FIRST, RETRY_MOST = 30_000, 15 * MINUTE

# Pauses between askings for a frozen month. A minute makes two askings a witness (docs/contract.md, Frozen). Doubling:
# six tries in the first hour, in which a meter whose clock may be trusted passes its edge, and some forty in a month
# for one that never will: each is a snapshot that no full spool may evict.
FROZEN_FIRST, FROZEN_MOST = MINUTE, DAY


@dataclass(frozen=True, slots=True)
class Rules:
    """What a meter is to give: its interval (milliseconds), and whether it has frozen registers and a serial number."""

    zone: str
    interval: int
    frozen: bool = False
    serial: bool = True


@dataclass(frozen=True, slots=True)
class Task:
    """One asking that is due. `since`: the instant it is owed for; `until`: when a boundary's window ends.

    `tick`: an interval reading is due as well. `serial`, `frozen`: read them too. `anew`: ask also for what the meter
    refused before. `earlier`: read the frozen months before the one that just ended too.
    """

    purpose: Purpose
    since: int
    until: int | None = None
    tick: bool = False
    serial: bool = False
    frozen: bool = False
    anew: bool = False
    earlier: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an asking that began at `asked`.

    `proven`: the serial number was read and nothing speaks against it. `wait`: a failure after which the meter is to be
    left alone for a while; silence and a lost port are not, since the line itself decides when to try again. `synced`:
    our clock could be trusted. `frozen`: labelled months and their values.
    """

    asked: int
    answered: bool
    proven: bool = False
    wait: bool = True
    synced: bool = True
    frozen: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FrozenMonth:
    """How far the frozen registers of `month` are: askings so far, no other before `retry`, what came when.

    `unsynced`: our clock was not to be trusted then; it does not count when it is. `earlier`: nobody knows of a month
    before it, or that one never came, so that the meter's memory of those is wanted too.
    """

    month: str
    earlier: bool = False
    tries: int = 0
    retry: int = 0
    values: Mapping[str, int] | None = None
    asked: int = 0
    done: bool = False
    unsynced: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """What the schedule knows of one meter.

    `tick`: when the next interval reading is due. `boundary`: the last midnight whose snapshot came, `unsynced` if our
    clock was not to be trusted then. `tried`: the midnight of the last boundary asking that failed, `tries` how often,
    no other before `retry`. `proven`: when the meter last proved who it is.
    """

    tick: int
    boundary: int | None = None
    unsynced: bool = False
    tried: int | None = None
    tries: int = 0
    retry: int = 0
    proven: int | None = None
    frozen: FrozenMonth | None = None


def begin(rules: Rules, now: int) -> Memory:
    """The memory of a gateway that has just started: nothing is known, and the next tick is the first."""
    return Memory(tick=next_tick(now, rules.interval, rules.zone))


def due(rules: Rules, memory: Memory, now: int, *, synced: bool = True) -> Task | None:
    """What is to be asked at `now`, or nothing. One asking at a time: afterwards something else may be due."""
    start = last_midnight(now, rules.zone)
    tick = memory.tick <= now
    month = _frozen_month(rules, memory, now, synced)
    if _boundary_owed(memory, start, now, synced):
        if not tick and now < _boundary_retry(memory, start):
            return None
        anew = memory.tried != start
        earlier = month is not None and month.earlier
        return Task("boundary", start, start + WINDOW, tick, rules.serial, month is not None, anew, earlier)
    if month is not None and now >= month.retry:
        since = max(month.retry, start)
        return Task("requested", since, None, tick, rules.serial, frozen=True, earlier=month.earlier)
    if tick:
        return Task("interval", memory.tick, tick=True, serial=rules.serial and not _proven(memory, start))
    return None


def next_due(rules: Rules, memory: Memory, now: int, *, synced: bool = True) -> int:
    """The first instant, `now` or later, at which something can be due."""
    start = last_midnight(now, rules.zone)
    instants = [memory.tick, next_midnight(now, rules.zone)]
    month = _frozen_month(rules, memory, now, synced)
    if _boundary_owed(memory, start, now, synced):
        instants += [_boundary_retry(memory, start), start + WINDOW]
    elif month is not None:
        instants.append(month.retry)
    return max(now, min(instants))


def after(rules: Rules, memory: Memory, task: Task, outcome: Outcome) -> Memory:
    """The memory after an asking."""
    memory = replace(memory, proven=_proof(memory, task, outcome))
    if task.frozen:
        memory = replace(memory, frozen=_frozen_after(rules, memory, outcome))
    if task.purpose == "requested":
        return memory
    memory = missed(rules, memory, outcome.asked)
    if task.purpose == "interval":
        return memory
    if outcome.answered:
        return replace(memory, boundary=task.since, unsynced=not outcome.synced, tried=None, tries=0, retry=0)
    if not outcome.wait:
        return replace(memory, tried=task.since, retry=0)
    tries = memory.tries if memory.tried == task.since else 0
    retry = outcome.asked + growing(tries, RETRY_FIRST, RETRY_MOST)
    return replace(memory, tried=task.since, tries=tries + 1, retry=retry)


def missed(rules: Rules, memory: Memory, now: int) -> Memory:
    """The memory when the ticks up to `now` are over, asked or not."""
    if memory.tick > now:
        return memory
    return replace(memory, tick=next_tick(now, rules.interval, rules.zone))


def stepped_back(rules: Rules, memory: Memory, now: int) -> Memory:
    """The memory when our clock went back to `now`: what was done or put off by a time that is to come, is not."""
    month = memory.frozen
    if month is not None:
        month = replace(month, retry=min(month.retry, now + FROZEN_MOST), asked=min(month.asked, now))
    return replace(
        memory,
        tick=min(memory.tick, next_tick(now, rules.interval, rules.zone)),
        boundary=_not_after(memory.boundary, now),
        tried=_not_after(memory.tried, now),
        retry=min(memory.retry, now + RETRY_MOST),
        proven=_not_after(memory.proven, now),
        frozen=month,
    )


def growing(times: int, first: int, most: int) -> int:
    """A pause that doubles with each of `times`, from `first` to `most`."""
    return min(first << min(times, 32), most)


# ----------------------------------------------------------------------------- the local wall clock


def last_midnight(now: int, zone_name: str) -> int:
    """The last local midnight that is not after `now`."""
    return max(instant for instant in _midnights(now, zone_name) if instant <= now)


def next_midnight(now: int, zone_name: str) -> int:
    """The first local midnight after `now`."""
    return min(instant for instant in _midnights(now, zone_name) if instant > now)


def next_tick(now: int, interval: int, zone_name: str) -> int:
    """The first instant after `now` at which the wall clock shows midnight plus a multiple of `interval` milliseconds.

    An hour that comes twice has its ticks twice, a skipped one has none. An interval that does not divide a day begins
    anew at midnight.
    """
    here = from_millis(now).astimezone(zone(zone_name))
    since = _since_midnight(here)
    tick = now + min((since // interval + 1) * interval, DAY) - since
    if from_millis(tick).astimezone(zone(zone_name)).utcoffset() == here.utcoffset():
        return tick
    change = _change_between(now, tick, zone_name)
    if _since_midnight(from_millis(change).astimezone(zone(zone_name))) % interval == 0:
        return change
    return next_tick(change, interval, zone_name)


def _midnights(now: int, zone_name: str) -> list[int]:
    # Tomorrow's may be past: where a clock goes back over midnight (America/St_Johns until 2011), tomorrow has begun
    # once already, and the midnight after it is the next.
    today = local_date(from_millis(now), zone_name)
    return [to_millis(midnight(today + timedelta(days=days), zone_name)) for days in (0, 1, 2)]


def _since_midnight(local: datetime) -> int:
    wall = local.replace(tzinfo=None, fold=0)
    return (wall - wall.replace(hour=0, minute=0, second=0, microsecond=0)) // MILLISECOND


def _change_between(before: int, behind: int, zone_name: str) -> int:
    """The first instant with another offset than at `before`; at `behind` it is another one."""
    offset = from_millis(before).astimezone(zone(zone_name)).utcoffset()
    while behind - before > 1:
        middle = (before + behind) // 2
        if from_millis(middle).astimezone(zone(zone_name)).utcoffset() == offset:
            before = middle
        else:
            behind = middle
    return behind


# ----------------------------------------------------------------------------- what is owed


def _boundary_owed(memory: Memory, start: int, now: int, synced: bool) -> bool:
    came = memory.boundary is not None and memory.boundary >= start
    # A snapshot taken by a clock that nobody vouches for is never billed: it is asked again once somebody does.
    return now < start + WINDOW and (not came or (memory.unsynced and synced))


def _boundary_retry(memory: Memory, start: int) -> int:
    return memory.retry if memory.tried == start else start


def _frozen_month(rules: Rules, memory: Memory, now: int, synced: bool) -> FrozenMonth | None:
    """The month whose frozen registers are owed at `now`, if any."""
    if not rules.frozen:
        return None
    month, known = ended_month(now, rules.zone), memory.frozen
    if known is None or known.month != month:
        return FrozenMonth(month, earlier=known is None or not known.done)
    if known.unsynced and synced:
        return FrozenMonth(month, known.earlier)
    return None if known.done else known


def _frozen_after(rules: Rules, memory: Memory, outcome: Outcome) -> FrozenMonth | None:
    month = _frozen_month(rules, memory, outcome.asked, outcome.synced)
    if month is None or not (outcome.answered or outcome.wait):
        return memory.frozen
    values = outcome.frozen.get(month.month)
    retry = outcome.asked + growing(month.tries, FROZEN_FIRST, FROZEN_MOST)
    tried = replace(month, tries=month.tries + 1, retry=retry, unsynced=not outcome.synced)
    if values is None:
        return tried
    if values != month.values:
        return replace(tried, values=values, asked=outcome.asked)
    return replace(tried, done=outcome.asked - month.asked >= MINUTE)


def _proven(memory: Memory, start: int) -> bool:
    return memory.proven is not None and memory.proven >= start


def _proof(memory: Memory, task: Task, outcome: Outcome) -> int | None:
    if outcome.proven:
        return outcome.asked
    # Who was silent may have been exchanged, and whoever was asked for the number did not prove it.
    return memory.proven if outcome.answered and not task.serial else None


def _not_after(instant: int | None, now: int) -> int | None:
    return None if instant is None or instant > now else instant
