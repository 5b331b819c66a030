"""Rows of a closed month that a person has to look at, and what the person decides: kept with name and reason.

Rule 1. A decision is about one state of a row. When the row changes, the decision is kept and counts no longer.
Rule 2. To accept is to bill a held row as it is; to reject is to take a value back: its row is missing then, or
        estimated where the utility wants that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from sqlalchemy import Connection, Engine

from collector.central import decisions, ledger, responses
from collector.central.case import Decision
from collector.central.close import subject_of
from collector.central.engine import writing
from collector.central.ledger import Entry
from collector.exits import UsageFault
from collector.model import Finding

Verdict = Literal["accept", "reject"]
# What a row may be for a verdict. A rejected row may be accepted again: the value is still there.
_MAY: Mapping[Verdict, tuple[str, ...]] = {"accept": ("held",), "reject": ("held", "ready")}


class Exceptional(NamedTuple):
    """A row that somebody should look at, and the findings that say why."""

    entry: Entry
    findings: tuple[Finding, ...]


def exceptional(connection: Connection, period: str, utility: str, *, warned: bool) -> Iterator[Exceptional]:
    """Rows that are not ready as the ledger has them now; with `warned` also ready ones of which a check warns."""
    runs = ledger.runs(connection, period, utility)
    if not runs:
        return
    for entry in ledger.state(connection, period, utility, runs[-1].revision):
        holds = tuple(item for item in entry.findings if item.level == "hold")
        warns = tuple(item for item in entry.findings if item.level == "warn")
        if entry.reading.status != "ready":
            yield Exceptional(entry, (*holds, *warns) or entry.findings)
        elif warned and warns:
            yield Exceptional(entry, warns)


def refused(connection: Connection, period: str, utility: str) -> list[responses.Response]:
    """The accounts that the utility refused, by name, as long as nothing newer was sent or answered of them."""
    runs = ledger.runs(connection, period, utility)
    standing = responses.standing(connection, period, utility, runs[-1].revision) if runs else {}
    return [item for _, item in sorted(standing.items()) if item.verdict == "refused"]


def decide(
    engine: Engine,
    period: str,
    points: Collection[str],
    registers: Collection[str],
    verdict: Verdict,
    *,
    reason: str,
    now: int,
    who: str,
) -> list[str]:
    """Note a decision about these points' rows (of these registers; none named: all that it can be about).

    The utilities whose month has to be closed again for it. Raises UsageFault where some point has no such row; then
    nothing is noted.
    """
    with writing(engine) as connection:
        stored = ledger.newest(connection, period, points)
        known = decisions.of(connection, period, points)
        made: list[Decision] = []
        utilities = set()
        for point in dict.fromkeys(points):
            rows = _chosen(period, point, stored.get(point, {}), registers)
            fit = [entry for entry in rows if _fits(entry, verdict)]
            if not fit or (registers and len(fit) < len(rows)):
                raise UsageFault(_refusal(period, point, rows, verdict))
            for entry in fit:
                reading = entry.reading
                utilities.add(reading.utility)
                subject = subject_of(reading, entry.findings)
                if _was_rejected(entry):
                    subject = known[point][reading.register_].subject
                key = (period, point, reading.register_)
                made.append(Decision(*key, verdict, subject, reason, now, who))
        decisions.CHAINED.add(connection, made, now=now, who=who)
    return sorted(utilities)


def _chosen(period: str, point: str, rows: Mapping[str, Entry], registers: Collection[str]) -> list[Entry]:
    if not rows:
        raise UsageFault(f"{period} of {point} is not closed, or there is no such point; nothing was noted")
    if strange := [code for code in registers if code not in rows]:
        raise UsageFault(f"{point} has no {', '.join(strange)} in {period}, but {', '.join(sorted(rows))}")
    return [rows[code] for code in sorted(rows) if not registers or code in registers]


def _was_rejected(entry: Entry) -> bool:
    """Whether its value was taken back, and no reading by hand stands in its place."""
    return entry.reading.method != "manual" and any(item.check == "rejected" for item in entry.findings)


def _fits(entry: Entry, verdict: Verdict) -> bool:
    if _was_rejected(entry):
        return verdict == "accept"
    return entry.reading.status in _MAY[verdict]


def _refusal(period: str, point: str, rows: Sequence[Entry], verdict: Verdict) -> str:
    shown = ", ".join(f"{entry.reading.register_} is {entry.reading.status}" for entry in rows)
    able = (
        "only a held or a rejected row can be accepted"
        if verdict == "accept"
        else "only a held or a ready row can be rejected"
    )
    hint = "; a missing one takes a reading (`meterline manual enter`)" if verdict == "accept" else ""
    return f"{period} of {point}: {shown}; {able}{hint}. Nothing was noted"
