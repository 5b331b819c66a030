"""The ledger of billing readings: what was billed, with what proves it. Rows are added, never changed or deleted.

Rule 1. A row version is the reading, its findings and its proof; the latest revision of a register counts.
Rule 2. `revision` is the number of the folder in which the row version first appeared: a new version comes only where
        the reading or what is said of it differs. More proof of the same is no new version.
Rule 3. The digest is the SHA-256 of the row's canonical JSON, a line feed and the evidence's canonical JSON (UTF-8).
Rule 4. Every emitted folder can be written again from here alone, to the byte. Whoever reads a row with its evidence
        finds out whether it is still what was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, insert, select

from collector.central.case import Previous
from collector.central.close import Row as ClosedRow
from collector.central.database import Alone, alone, close_run, ledger, names_in_chunks
from collector.central.edge_value import VALID
from collector.exits import CheckFailed
from collector.model import BillingReading, Finding

REVISED = "revised"  # the one finding that the ledger itself adds
_AT_ONCE = 1000  # rows that are read again at a time, when a folder is written from the ledger

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class Entry(NamedTuple):
    """A row version. `evidence`: canonical JSON of findings and proof. `findings`: those of the whole point first."""

    reading: BillingReading
    findings: tuple[Finding, ...]
    receipt_order: int
    row: str
    evidence: str
    digest: str


class Run(NamedTuple):
    """An emitted folder r<revision>, the text of its manifest, and how often which check spoke."""

    revision: int
    at: int
    manifest: str
    findings: Mapping[str, int]


# ----------------------------------------------------------------------------- one row


def entry(closed: ClosedRow, revision: int, replaced: Entry | None) -> Entry:
    """The row version that a close gives; `replaced` is the one that it takes the place of."""
    reading = closed.reading.model_copy(update={"revision": revision})
    findings = closed.findings
    if replaced is not None:
        findings = (*findings, _revised(reading, replaced.reading, closed.proof["point"]["closing"]))
    return _entry(reading, findings, {**closed.proof, "findings": [_plain(finding) for finding in findings]})


def same(closed: ClosedRow, stored: Entry) -> bool:
    """Whether a close says what the ledger says already."""
    return (
        row_text(closed.reading.model_copy(update={"revision": stored.reading.revision})) == stored.row
        and closed.proof["point"]["receipt_order"] == stored.receipt_order
        and closed.findings == tuple(finding for finding in stored.findings if finding.check != REVISED)
    )


def row_text(reading: BillingReading) -> str:
    """The canonical JSON of a reading: keys sorted, no blanks, decimals as text without exponent."""
    fields = dict(vars(reading))
    fields["register"] = fields.pop("register_")
    for name in ("start_kwh", "end_kwh", "ratio", "consumption_kwh"):
        if fields[name] is not None:
            fields[name] = f"{fields[name]:f}"
    return _canonical(fields)


def digest_of(row: str, evidence: str) -> str:
    """The digest of a row version: lower-case hex SHA-256."""
    return hashlib.sha256(f"{row}\n{evidence}".encode()).hexdigest()


def _entry(reading: BillingReading, findings: tuple[Finding, ...], evidence: Mapping[str, Any]) -> Entry:
    row, proof = row_text(reading), _canonical(evidence)
    return Entry(reading, findings, evidence["point"]["receipt_order"], row, proof, digest_of(row, proof))


def _stored(row: str, evidence: str, digest: str) -> Entry:
    if digest_of(row, evidence) != digest:
        raise CheckFailed(f"the ledger was altered: this row does not have the digest {digest}: {row}")
    proof = json.loads(evidence)
    findings = tuple(Finding(**finding) for finding in proof["findings"])
    receipt_order = proof["point"]["receipt_order"]
    return Entry(BillingReading.model_validate_json(row), findings, receipt_order, row, evidence, digest)


def _plain(finding: Finding) -> dict[str, Any]:
    fields = dict(finding)
    fields["register"] = fields.pop("register_")
    return fields


def _revised(reading: BillingReading, before: BillingReading, closing: int) -> Finding:
    was, now = ("no reading" if end is None else f"{end:f} kWh" for end in (before.end_kwh, reading.end_kwh))
    words = f"r{before.revision} had {was} ({before.status}), now {now} ({reading.status})"
    return Finding(
        point=reading.point,
        meter=reading.meter,
        register_=reading.register_,
        time=closing if reading.end_time is None else reading.end_time,
        check=REVISED,
        level="info",
        quality=VALID,
        text=words,
    )


# ----------------------------------------------------------------------------- reading


def newest(connection: Connection, period: str, points: Collection[str]) -> dict[str, dict[str, Entry]]:
    """point -> register -> the row version that counts, of these points."""
    found: dict[str, dict[str, Entry]] = {}
    for point, register, row, digest, evidence in _newest(connection, period, points, ledger.c.evidence):
        found.setdefault(point, {})[register] = _stored(row, evidence, digest)
    return found


def previous(connection: Connection, period: str, points: Collection[str]) -> dict[str, dict[str, Previous]]:
    """point -> register -> how the period ended there, of these points."""
    found: dict[str, dict[str, Previous]] = {}
    for point, register, row, digest in _newest(connection, period, points):
        reading = json.loads(row)
        end_kwh = None if reading["end_kwh"] is None else Decimal(reading["end_kwh"])
        found.setdefault(point, {})[register] = Previous(
            period, reading["status"], reading["meter"], reading["end_time"], end_kwh, reading["revision"], digest
        )
    return found


def holders(connection: Connection, period: str) -> dict[str, str]:
    """point -> the utility that billed it in this period."""
    query = select(ledger.c.point, ledger.c.utility).where(ledger.c.period == period).distinct()
    return {found.point: found.utility for found in connection.execute(query)}


def runs(connection: Connection, period: str, utility: str) -> list[Run]:
    """The emitted folders of a period, oldest first."""
    columns = (close_run.c.revision, close_run.c.at, close_run.c.manifest, close_run.c.findings)
    where = (close_run.c.period == period, close_run.c.utility == utility)
    rows = connection.execute(select(*columns).where(*where).order_by(close_run.c.revision))
    return [Run(revision, at, manifest, json.loads(findings)) for revision, at, manifest, findings in rows]


def state(connection: Connection, period: str, utility: str, revision: int) -> Iterator[Entry]:
    """What counted when r<revision> was emitted, in the order of its files."""
    where = (ledger.c.period == period, ledger.c.utility == utility, ledger.c.revision <= revision)
    query = select(ledger.c.id, ledger.c.row, ledger.c.evidence, ledger.c.digest).where(*where)
    latest: dict[tuple[str, str], tuple[int, int, tuple[str, int, str, str]]] = {}
    for number, *stored in connection.execution_options(yield_per=_AT_ONCE).execute(query.order_by(ledger.c.id)):
        item = _stored(*stored)
        reading = item.reading
        key = (reading.point, reading.register_)
        if key not in latest or latest[key][0] < reading.revision:
            latest[key] = (reading.revision, number, file_order(item))
    numbers = [number for _, number, _ in sorted(latest.values(), key=lambda chosen: chosen[2])]
    for start in range(0, len(numbers), _AT_ONCE):
        chunk = numbers[start : start + _AT_ONCE]
        rows = {number: stored for number, *stored in connection.execute(query.where(ledger.c.id.in_(chunk)))}
        yield from (_stored(*rows[number]) for number in chunk)


def file_order(item: Entry) -> tuple[str, int, str, str]:
    """How rows are sorted in files: account, receipt order, point, register."""
    return (item.reading.account, item.receipt_order, item.reading.point, item.reading.register_)


def _newest(
    connection: Connection, period: str, points: Collection[str], *more: Column[str]
) -> Iterator[tuple[Any, ...]]:
    """(point, register, row, digest, more ...) of the latest revision of each register."""
    columns = (ledger.c.point, ledger.c.register, ledger.c.row, ledger.c.digest, *more)
    order = (ledger.c.point, ledger.c.register, ledger.c.revision.desc())
    for names in names_in_chunks(points):
        where = (ledger.c.period == period, ledger.c.point.in_(names))
        last: tuple[str, str] | None = None
        for found in connection.execute(select(*columns).where(*where).order_by(*order)):
            if (found[0], found[1]) != last:
                last = (found[0], found[1])
                yield tuple(found)


# ----------------------------------------------------------------------------- adding


def lock(connection: Connection) -> None:
    """One close at a time, until the transaction ends."""
    alone(connection, Alone.CLOSE)


def append(connection: Connection, entries: Sequence[Entry], now: int) -> None:
    """Add row versions."""
    if entries:
        connection.execute(
            insert(ledger),
            [
                {
                    "period": item.reading.period,
                    "utility": item.reading.utility,
                    "point": item.reading.point,
                    "register": item.reading.register_,
                    "revision": item.reading.revision,
                    "at": now,
                    "row": item.row,
                    "evidence": item.evidence,
                    "digest": item.digest,
                }
                for item in entries
            ],
        )


def append_run(connection: Connection, period: str, utility: str, run: Run) -> None:
    """Note that a folder is emitted."""
    values = {"revision": run.revision, "at": run.at, "manifest": run.manifest, "findings": _canonical(run.findings)}
    connection.execute(insert(close_run), {"period": period, "utility": utility, **values})
