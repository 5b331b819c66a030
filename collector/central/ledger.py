"""The ledger of billing readings: what was billed, with what proves it. Rows are added, never changed or deleted.

Rule 1. A row version is the reading, its findings and its proof; the latest revision of a register counts.
Rule 2. `revision` is the number of the folder in which the row version first appeared: a new version comes only where
        the reading or what is said of it differs. More proof of the same is no new version.
Rule 3. The digest is the SHA-256 of the canonical JSON (UTF-8) of the row, of its evidence, and of what it carries on
        to the next month, with a line feed between them.
Rule 4. Every emitted folder can be written again from here alone, to the byte. Whoever reads a row with its evidence
        finds out whether it is still what was written.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, cast, func, insert, select
from sqlalchemy import Row as SqlRow
from sqlalchemy.dialects.postgresql import JSON

from collector.central import chain
from collector.central.canonical import canonical, parsed, sha256
from collector.central.case import Previous, Sent
from collector.central.close import Row as ClosedRow
from collector.central.database import add_many, among, close_run, ledger, utility_profile
from collector.central.edge_value import VALID
from collector.central.estimation import PastMonths
from collector.central.evidence import referred
from collector.exits import CheckFailed
from collector.model import BillingReading, Finding

_DECIMALS = ("start_kwh", "end_kwh", "ratio", "consumption_kwh")
REVISED = "revised"  # the one finding that the ledger itself adds
_AT_ONCE = 1000  # rows that are taken from the table at a time
STORED = [ledger.c[name] for name in ("row", "evidence", "carried", "digest")]  # what `read_entry` reads


class Place(NamedTuple):
    """What a row's point was when it was closed."""

    receipt_order: int
    tariffs: int
    address: str
    flat: str
    zone: str


class Entry(NamedTuple):
    """A row version. `evidence`: canonical JSON of findings and proof. `findings`: those of the whole point first.

    `carried`: canonical JSON for the month that follows; None in versions that had it within their evidence.
    """

    reading: BillingReading
    findings: tuple[Finding, ...]
    place: Place
    row: str
    evidence: str
    carried: str | None
    digest: str


class Run(NamedTuple):
    """An emitted folder r<revision>, the text of its manifest, and how often which check spoke.

    `profile`: digest of the utility profile that made its files; None for those of versions that did not keep it.
    """

    revision: int
    at: int
    manifest: str
    findings: Mapping[str, int]
    profile: str | None


# ----------------------------------------------------------------------------- one row


def entry(closed: ClosedRow, revision: int, replaced: Entry | None) -> Entry:
    """The row version that a close gives; `replaced` is the one that it takes the place of."""
    reading = BillingReading(*closed.reading[:-1], revision)  # its last field
    findings = closed.findings
    if replaced is not None:
        findings = (*findings, _revised(reading, replaced.reading, closed.proof["point"]["closing"]))
    evidence = {**closed.proof, "findings": [_plain(finding) for finding in findings]}
    texts = (row_text(reading), canonical(evidence), canonical(closed.carried))
    return Entry(reading, findings, _place(evidence), *texts, digest_of(*texts))


def same(closed: ClosedRow, stored: Entry) -> bool:
    """Whether a close says what the ledger says already."""
    return (
        row_text(closed.reading._replace(revision=stored.reading.revision)) == stored.row
        and _place(closed.proof) == stored.place
        and closed.findings == tuple(finding for finding in stored.findings if finding.check != REVISED)
    )


def row_text(reading: BillingReading) -> str:
    """The canonical JSON of a reading: keys sorted, no blanks, decimals as text without exponent."""
    fields = reading._asdict()
    fields["register"] = fields.pop("register_")
    for name in _DECIMALS:
        if fields[name] is not None:
            fields[name] = f"{fields[name]:f}"
    return canonical(fields)


def _reading(row: str) -> BillingReading:
    """What `row_text` made a text of."""
    fields = parsed(row)
    for name in _DECIMALS:
        if fields[name] is not None:
            fields[name] = Decimal(fields[name])
    return BillingReading(register_=fields.pop("register"), **fields)


def digest_of(row: str, evidence: str, carried: str | None) -> str:
    """The digest of a row version: lower-case hex SHA-256."""
    return sha256(f"{row}\n{evidence}" if carried is None else f"{row}\n{evidence}\n{carried}")


def read_entry(row: str, evidence: str, carried: str | None, digest: str) -> Entry:
    """A row version out of the table. Raises CheckFailed where it does not have its digest."""
    if digest_of(row, evidence, carried) != digest:
        raise CheckFailed(f"the ledger was altered: this row does not have the digest {digest}: {row}")
    proof = parsed(evidence)
    findings = tuple(Finding(register_=finding.pop("register"), **finding) for finding in proof["findings"])
    return Entry(_reading(row), findings, _place(proof), row, evidence, carried, digest)


def _place(evidence: Mapping[str, Any]) -> Place:
    point = evidence["point"]
    return Place(
        point["receipt_order"], point["tariffs"], point.get("address", ""), point.get("flat", ""), point["time_zone"]
    )


def _plain(finding: Finding) -> dict[str, Any]:
    fields = finding._asdict()
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


def references(evidence: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The kept snapshots that a row's evidence names (`collector.central.evidence.reference_of`)."""
    for segment in evidence["segments"]:
        for proof in (segment["start"], segment["end"]):
            for asking in () if proof is None else proof.get("askings", ()):
                # Older versions have a copy of the snapshot in its place.
                if isinstance(asking.get("snapshot"), str):
                    yield asking


def proof_of(connection: Connection, item: Entry) -> dict[str, Any]:
    """A row's evidence, each snapshot in the place of its SHA-256. Raises CheckFailed where one is not what it was."""
    proof: dict[str, Any] = parsed(item.evidence)
    named = list(references(proof))
    kept = referred(connection, named)
    for reference in named:
        if reference["snapshot"] not in kept:
            raise CheckFailed(
                f"the evidence was altered: no snapshot of {item.reading.meter} has the SHA-256 {reference['snapshot']}"
            )
        reference["snapshot"] = parsed(kept[reference["snapshot"]])
    return proof


# ----------------------------------------------------------------------------- reading


def newest(connection: Connection, period: str, points: Collection[str]) -> dict[str, dict[str, Entry]]:
    """point -> register -> the row version that counts, of these points."""
    found: dict[str, dict[str, Entry]] = {}
    more = (ledger.c.evidence, ledger.c.carried)
    for point, register, row, digest, evidence, carried in _newest(connection, period, points, *more):
        found.setdefault(point, {})[register] = read_entry(row, evidence, carried, digest)
    return found


def previous(connection: Connection, period: str, points: Collection[str]) -> dict[str, dict[str, Previous]]:
    """point -> register -> how the period ended there, of these points."""
    found: dict[str, dict[str, Previous]] = {}
    for point, register, row, digest, carried in _newest(connection, period, points, _carried(connection)):
        reading = parsed(row)
        end_kwh = None if reading["end_kwh"] is None else Decimal(reading["end_kwh"])
        months, rejected, sent = _months(period, reading, carried)
        if end_kwh is not None and reading["status"] in ("ready", "estimated"):
            sent = Sent(period, end_kwh, reading["meter"])
        found.setdefault(point, {})[register] = Previous(
            period, reading["status"], reading["meter"], reading["end_time"], end_kwh, reading["revision"], digest,
            months, rejected, sent,
        )  # fmt: skip
    return found


def _carried(connection: Connection) -> ColumnElement[str]:
    """What a row hands on to the next month; older versions have it within their evidence."""
    within: ColumnElement[str] = func.json_extract(ledger.c.evidence, "$.carried")
    if connection.dialect.name == "postgresql":
        within = cast(ledger.c.evidence, JSON)["carried"].as_string()
    return func.coalesce(ledger.c.carried, within)


def _months(period: str, reading: Mapping[str, Any], carried: str | None) -> tuple[PastMonths, bool, Sent | None]:
    """The months that a row carries, and the number sent before it where it was not.

    One that was written before rows carried any is a month by itself.
    """
    if carried is None:
        consumption = reading["consumption_kwh"]
        billed = consumption is not None and reading["status"] == "ready"
        return PastMonths({period: [consumption]} if billed else {}), False, None
    data = parsed(carried)
    sent = Sent(data["sent"][0], Decimal(data["sent"][1]), data["sent"][2]) if "sent" in data else None
    return PastMonths(data["months"]), data.get("rejected", False), sent


def holders(connection: Connection, period: str) -> dict[str, str]:
    """point -> the utility that billed it in this period."""
    query = select(ledger.c.point, ledger.c.utility).where(ledger.c.period == period).distinct()
    return {found.point: found.utility for found in connection.execute(query)}


def runs(connection: Connection, period: str, utility: str) -> list[Run]:
    """The emitted folders of a period, oldest first."""
    names = ("revision", "at", "manifest", "findings", "profile")
    columns = [close_run.c[name] for name in names]
    where = (close_run.c.period == period, close_run.c.utility == utility)
    rows = connection.execute(select(*columns).where(*where).order_by(close_run.c.revision))
    return [Run(row.revision, row.at, row.manifest, json.loads(row.findings), row.profile) for row in rows]


def profile_text(connection: Connection, digest: str) -> str:
    """The text of a utility profile that a month was closed with."""
    text: str = connection.execute(
        select(utility_profile.c.text).where(utility_profile.c.digest == digest)
    ).scalar_one()
    return text


def state(connection: Connection, period: str, utility: str, revision: int) -> Iterator[Entry]:
    """What counted when r<revision> was emitted, in the order of its files."""
    where = (ledger.c.period == period, ledger.c.utility == utility, ledger.c.revision <= revision)
    query = select(ledger.c.id, *STORED).where(*where)
    latest: dict[tuple[str, str], tuple[int, int, tuple[str, int, str, str]]] = {}
    for number, *stored in connection.execute(query.order_by(ledger.c.id).execution_options(yield_per=_AT_ONCE)):
        item = read_entry(*stored)
        reading = item.reading
        key = (reading.point, reading.register_)
        if key not in latest or latest[key][0] < reading.revision:
            latest[key] = (reading.revision, number, file_order(item))
    numbers = [number for _, number, _ in sorted(latest.values(), key=lambda chosen: chosen[2])]
    for start in range(0, len(numbers), _AT_ONCE):
        chunk = numbers[start : start + _AT_ONCE]
        rows = {number: stored for number, *stored in connection.execute(query.where(ledger.c.id.in_(chunk)))}
        yield from (read_entry(*rows[number]) for number in chunk)


def file_order(item: Entry) -> tuple[str, int, str, str]:
    """How rows are sorted in files: account, receipt order, point, register."""
    return (item.reading.account, item.place.receipt_order, item.reading.point, item.reading.register_)


def _newest(
    connection: Connection, period: str, points: Collection[str], *more: ColumnElement[str]
) -> Iterator[SqlRow[*tuple[Any, ...]]]:
    """(point, register, row, digest, more ...) of the latest revision of each register."""
    columns = (ledger.c.point, ledger.c.register, ledger.c.row, ledger.c.digest, *more)
    order = (ledger.c.point, ledger.c.register, ledger.c.revision.desc())
    where = (ledger.c.period == period, among(connection, ledger.c.point, points))
    last: tuple[str, str] | None = None
    for some in connection.execute(select(*columns).where(*where).order_by(*order)).partitions(_AT_ONCE):
        for found in some:
            if (key := (found[0], found[1])) != last:
                last = key
                yield found


# ----------------------------------------------------------------------------- adding


# A row version as the table has it, in the order of _COLUMNS.
Storable = tuple[str, str, str, str, int, int, str, str, str, str | None]
RowKey = tuple[str, str, str]  # point, register and digest of a row version
_COLUMNS = ("period", "utility", "point", "register", "revision", "at", "row", "evidence", "digest", "carried")


def storable(item: Entry, now: int) -> Storable:
    """A row version on its way into the table."""
    reading = item.reading
    key = (reading.period, reading.utility, reading.point, reading.register_, reading.revision)
    return (*key, now, item.row, item.evidence, item.digest, item.carried)


def append(connection: Connection, rows: Sequence[Storable]) -> list[RowKey]:
    """Add row versions, one at least; what the link of their run is made of."""
    add_many(connection, ledger, _COLUMNS, rows)
    return [(point, register, digest) for _, _, point, register, *_, digest, _ in rows]


def append_run(
    connection: Connection, period: str, utility: str, run: Run, profile: str, *, rows: Collection[RowKey], who: str
) -> None:
    """Note that a folder is emitted, and chain it with its rows, which were added before. `profile`: the text of it."""
    known = select(utility_profile.c.digest).where(utility_profile.c.digest == run.profile)
    if run.profile is not None and connection.execute(known).first() is None:
        connection.execute(insert(utility_profile), {"digest": run.profile, "text": profile})
    key = {"period": period, "utility": utility}
    connection.execute(insert(close_run), {**key, **run._asdict(), "findings": canonical(run.findings)})
    what = {**key, "revision": run.revision}
    chain.add(connection, "close", what, chain.content_of_run(rows, run.manifest), now=run.at, who=who)
