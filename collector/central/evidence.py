"""Snapshots as they came: those that prove a billed value (evidence), and those that are not believed (quarantine)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, tuple_

from collector.central.canonical import sha256
from collector.central.database import among, evidence, insert_new, quarantine

_AT_ONCE = 1000  # rows that are taken from the database at a time


class Evidence(NamedTuple):
    """An accepted snapshot of class `keep`. `snapshot`: its JSON; `sha256`: of the batch as it came; `zone`: the
    gateway's, which says where its months end."""

    gateway: str
    spool: str
    sequence: int
    position: int
    meter: str
    asked: int
    sha256: str
    zone: str
    snapshot: str


class Quarantined(NamedTuple):
    """A snapshot (`kind`, `month`, `register` and `value` empty) or one value of it that is not believed, and why."""

    gateway: str
    spool: str
    sequence: int
    position: int
    kind: str
    month: str
    register: str
    meter: str
    time: int | None
    value: str
    reason: str
    snapshot: str


def keep(connection: Connection, proofs: Sequence[Evidence], doubts: Sequence[Quarantined]) -> None:
    """Add rows; those that are there already stay as they are."""
    if proofs:
        connection.execute(insert_new(connection, evidence), [_storable(row) for row in proofs])
    if doubts:
        connection.execute(insert_new(connection, quarantine), [_storable(row) for row in doubts])


def _storable(row: Evidence | Quarantined) -> dict[str, Any]:
    """The row without NUL, which PostgreSQL takes in no text: what a stranger sends must not stop the queue.

    One character for one, so that a text is not longer than its column.
    """
    values: dict[str, Any] = row._asdict()
    return {name: v.replace("\0", "\ufffd") if isinstance(v, str) else v for name, v in values.items()}


def reference_of(row: Evidence) -> dict[str, Any]:
    """How a proof in the ledger names a kept snapshot: `sha256` is that of its batch, `snapshot` that of its text."""
    return {
        "gateway": row.gateway, "spool": row.spool, "sequence": row.sequence, "position": row.position,
        "asked": row.asked, "sha256": row.sha256, "snapshot": sha256(row.snapshot),
    }  # fmt: skip


def referred(connection: Connection, references: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """SHA-256 of a snapshot's text -> the text, as far as what these references name is kept, and is what it was."""
    key = evidence.primary_key.columns
    wanted = sorted({tuple(reference[column.name] for column in key) for reference in references})
    found = {}
    for start in range(0, len(wanted), _AT_ONCE):
        named = tuple_(*key).in_(wanted[start : start + _AT_ONCE])
        for (text,) in connection.execute(select(evidence.c.snapshot).where(named)):
            found[sha256(text)] = text
    return found


def evidence_of(connection: Connection, meters: Collection[str], start: int, end: int) -> Iterator[Evidence]:
    """The evidence of these meters asked in start <= asked < end, sorted by meter and time."""
    columns = [evidence.c[name] for name in Evidence._fields]
    asked = evidence.c.asked.between(start, end - 1)
    # The key last: of two snapshots of one instant the same one counts in every database, also a restored one.
    order = (evidence.c.meter, evidence.c.asked, *evidence.primary_key.columns)
    query = select(*columns).where(among(connection, evidence.c.meter, meters), asked).order_by(*order)
    for some in connection.execute(query).partitions(_AT_ONCE):
        yield from map(Evidence._make, some)


def quarantined(
    connection: Connection, meters: Collection[str] | None, start: int | None, end: int | None
) -> Iterator[Quarantined]:
    """What is not believed of these meters (None: all) with start <= time < end, by meter and time.

    Without bounds (None) also what has no readable time.
    """
    columns = [quarantine.c[name] for name in Quarantined._fields]
    ordered = select(*columns).order_by(quarantine.c.meter, quarantine.c.time.nulls_first(), quarantine.c.id)
    if start is not None:
        ordered = ordered.where(quarantine.c.time >= start)
    if end is not None:
        ordered = ordered.where(quarantine.c.time < end)
    if meters is not None:
        ordered = ordered.where(among(connection, quarantine.c.meter, meters))
    for row in connection.execute(ordered.execution_options(yield_per=_AT_ONCE)):
        yield Quarantined(*row)
