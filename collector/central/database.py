"""The tables of the centre's registry, ledger and kept snapshots (SQLAlchemy Core), and what their SQL has in common.

Rule 1. Nothing here is changed in place except `gateway_status`, the ends of a segment and whether an act is taken:
        points and bindings get new versions, the ledger gets new revisions, evidence, quarantine and findings only
        grow. What a bill rests on (ledger, runs, links, evidence, decisions, readings by hand, responses) the database
        itself refuses to change or delete.
Rule 2. Instants are whole milliseconds UTC, kWh and ratios are text of exact decimals, documents are JSON text.
Rule 3. Tables change by Alembic migrations only (`collector/central/migrations`), from the first one on.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from enum import IntEnum
from types import ModuleType
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Insert,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    any_,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

metadata = MetaData()

# SQLite numbers rows by itself only in a column whose type is spelled INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")

# Names sort by their bytes everywhere, as files and stdout promise; a PostgreSQL database may have another default.
Name = String(63).with_variant(String(63, collation="C"), "postgresql")


def insert_new(connection: Connection, table: Table) -> Insert:
    """An insert that leaves rows alone which are there already (by any unique key)."""
    statement: Insert = _dialect(connection).insert(table).on_conflict_do_nothing()
    return statement


def insert_or_replace(connection: Connection, table: Table) -> Insert:
    """An insert that puts the new values in the place of a row with the same primary key."""
    statement = _dialect(connection).insert(table)
    changed = {column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key}
    replacing: Insert = statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=changed)
    return replacing


def add_many(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Add very many rows: tuples of these columns' values, in the table's order, as the driver itself takes them."""
    dialect = _dialect(connection).dialect(paramstyle="qmark" if connection.dialect.name == "sqlite" else "format")
    compiled = insert(table).compile(dialect=dialect, column_keys=list(columns))
    assert compiled.positiontup == list(columns), f"the columns of {table.name} are in another order"
    connection.exec_driver_sql(str(compiled), list(rows))


def _dialect(connection: Connection) -> ModuleType:
    return postgresql if connection.dialect.name == "postgresql" else sqlite


class Alone(IntEnum):
    """What one transaction at a time may do, in all processes. The numbers are those of PostgreSQL's advisory locks."""

    MIGRATION = 0x4D4C_0001
    REGISTRY = 0x4D4C_0002  # `registry_log` has to grow in the order of its commits: its last id is what readers watch
    CLOSE = 0x4D4C_0003  # what a close finds in the ledger counts until it has added to it


def alone(connection: Connection, what: Alone) -> None:
    """Wait until nobody else does this, and keep others waiting until the transaction ends.

    On SQLite a writing transaction is alone already (`collector.central.engine.writing`).
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(int(what))))


def among(connection: Connection, column: Column[str], names: Collection[str]) -> ColumnElement[bool]:
    """Whether a column has one of these names: one parameter for any number of them."""
    if connection.dialect.name == "postgresql":
        return column == any_(literal(list(names), postgresql.ARRAY(Text)))
    given = func.json_each(json.dumps(list(names))).table_valued("value")
    return column.in_(select(given.c.value))


# What is known of a point from `valid_from` on. The latest version that is not later than an instant counts there;
# before the first version, the first.
point_version = Table(
    "point_version",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("point", Name, nullable=False),
    Column("valid_from", BigInteger, nullable=False),
    Column("account", String(64), nullable=False),
    Column("utility", Name, nullable=False),
    Column("address", Text, nullable=False),
    Column("flat", Text, nullable=False),
    Column("tariffs", Integer, nullable=False),
    Column("receipt_order", Integer, nullable=False),
    Column("ratio", String(40), nullable=False),
    Column("time_zone", String(64), nullable=False),
    Index("point_version_point", "point", "valid_from"),
)

# A physical device for its whole life, and the serial number to which it is bound for ever.
meter = Table(
    "meter",
    metadata,
    Column("meter", Name, primary_key=True),
    Column("serial_number", String(64), nullable=False),
)

# Through which gateway and by which profile a meter is read from `valid_from` on; versions count as those of a point.
binding = Table(
    "binding",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("meter", Name, nullable=False),
    Column("valid_from", BigInteger, nullable=False),
    Column("profile", Name, nullable=False),
    Column("gateway", Name, nullable=False),
    Index("binding_meter", "meter", "valid_from"),
    Index("binding_gateway", "gateway"),
)

# Which meter hung at which point. `from_ms` null: since ever (imported); `to_ms` null: still. `initial` and `final`:
# JSON of OBIS code -> whole Wh from the acts that opened and closed it, whose hashes are `opened_by` and `closed_by`.
# `ratio`: the transformers' by the act that opened it; null where no act says one, or a later act changed it.
segment = Table(
    "segment",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("point", Name, nullable=False),
    Column("meter", Name, nullable=False),
    Column("from_ms", BigInteger),
    Column("to_ms", BigInteger),
    Column("initial", Text),
    Column("final", Text),
    Column("opened_by", String(71)),
    Column("closed_by", String(71)),
    Column("ratio", String(40)),
    Index("segment_point", "point"),
    Index("segment_meter", "meter"),
)

# Acts as they came, for ever. `state`: taken, or held with its `reason` until somebody or a later act settles it.
# `source`: the gateway whose topic it came by, or the file. `document`: its canonical JSON. `made`, `received`: ms.
act = Table(
    "act",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("hash", String(71), nullable=False),
    Column("number", String(80), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("point", Name, nullable=False),
    Column("made", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("state", String(8), nullable=False),
    Column("reason", Text, nullable=False),
    Column("document", Text, nullable=False),
    UniqueConstraint("hash", name="act_once"),
    Index("act_point", "point", "state"),
    Index("act_number", "number"),
)

# What an act said of a seal; the latest row of a point and number counts. `state`: set, intact, broken, removed.
seal = Table(
    "seal",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("point", Name, nullable=False),
    Column("number", String(64), nullable=False),
    Column("type", String(64), nullable=False),
    Column("place", String(64), nullable=False),
    Column("state", String(8), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("act", String(71), nullable=False),
    Index("seal_point", "point", "number"),
)

# When a meter was verified and has to be again (ISO days), as an act said; the latest row of a meter counts.
verification = Table(
    "verification",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("meter", Name, nullable=False),
    Column("verified", String(10), nullable=False),
    Column("verify_by", String(10), nullable=False),
    Column("act", String(71), nullable=False),
    Index("verification_meter", "meter"),
    Index("verification_due", "verify_by"),
)

# Who changed what: `what` is JSON with before and after.
registry_log = Table(
    "registry_log",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
)

# Values and snapshots that are kept but not believed: one row per rejected thing of a batch, all its reasons in one
# text. `position`: the snapshot's place in the batch. `kind` live, frozen or quantity, or empty, as `register`, `value`
# and `month`, where the whole snapshot is bad. `time` null: the snapshot has no readable one.
quarantine = Table(
    "quarantine",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("gateway", Name, nullable=False),
    Column("spool", String(12), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),
    Column("kind", String(8), nullable=False),
    Column("month", String(7), nullable=False),
    Column("register", String(16), nullable=False),
    Column("meter", Name, nullable=False),
    Column("time", BigInteger),
    Column("value", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("snapshot", Text, nullable=False),
    UniqueConstraint("gateway", "spool", "sequence", "position", "kind", "month", "register", name="quarantine_once"),
    Index("quarantine_meter_time", "meter", "time"),
)

# Snapshots of class `keep` as they came: what proves a billed value, and what shows that two askings agree. The ledger
# names them, so they are kept for ever.
evidence = Table(
    "evidence",
    metadata,
    Column("gateway", Name, primary_key=True),
    Column("spool", String(12), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("meter", Name, nullable=False),
    Column("asked", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("zone", String(64), nullable=False),
    Column("snapshot", Text, nullable=False),
    Index("evidence_meter_asked", "meter", "asked"),
)

# The health of each gateway. `online`: what its last word, or its will, said (0 or 1); `since`: since when it says so;
# `at`: when the last word came. `status`: the last one with details, as it came (a will has none).
gateway_status = Table(
    "gateway_status",
    metadata,
    Column("gateway", Name, primary_key=True),
    Column("online", Integer, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
)

# Billing readings, append-only: one row per period, point, register and revision. `row` is the canonical JSON of the
# BillingReading, `evidence` JSON of the steps that prove it and of where the snapshots are kept, `carried` JSON of what
# the next month takes over (null in rows that have it within their evidence), `digest` the SHA-256 over all of them.
ledger = Table(
    "ledger",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("period", String(7), nullable=False),
    Column("utility", Name, nullable=False),
    Column("point", Name, nullable=False),
    Column("register", String(16), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("row", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("carried", Text),
    UniqueConstraint("period", "point", "register", "revision", name="ledger_once"),
    Index("ledger_period_utility", "period", "utility"),
)

# One row per emitted folder r<N>: its manifest and findings, so that the same close can be told from a new one.
close_run = Table(
    "close_run",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("period", String(7), nullable=False),
    Column("utility", Name, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("findings", Text, nullable=False),
    Column("profile", String(71)),
    UniqueConstraint("period", "utility", "revision", name="close_run_once"),
)

# The utility profiles that months were closed with: the bytes of their files as text.
utility_profile = Table(
    "utility_profile",
    metadata,
    Column("digest", String(71), primary_key=True),
    Column("text", Text, nullable=False),
)

# What was done with the ledger, one link each, chained by SHA-256 (collector.central.chain). `kind`: close, decision,
# manual or response. `what`: JSON that says to which rows it belongs. `content`: SHA-256 over those rows. `id` has no
# holes.
ledger_link = Table(
    "ledger_link",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("what", Text, nullable=False),
    Column("content", String(64), nullable=False),
    Column("previous", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
)

# What a person decided about a row that was held (`accept`) or that is wrong (`reject`). It counts for what the row
# said then (`subject`: its SHA-256), and no longer when that changes. Who and when: the link's.
decision = Table(
    "decision",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("link", BigInteger, nullable=False),
    Column("period", String(7), nullable=False),
    Column("point", Name, nullable=False),
    Column("register", String(16), nullable=False),
    Column("verdict", String(8), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Index("decision_period_point", "period", "point"),
)

# Readings by hand: the newest of a register and period counts. `meter`: what hung at the point then, empty for none.
# `taken`: when it was told. `source`: by phone, or file and line. `reason`: why it takes an earlier one's place.
manual_reading = Table(
    "manual_reading",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("link", BigInteger, nullable=False),
    Column("period", String(7), nullable=False),
    Column("point", Name, nullable=False),
    Column("register", String(16), nullable=False),
    Column("meter", Name, nullable=False),
    Column("wh", BigInteger, nullable=False),
    Column("taken", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("manual_reading_period_point", "period", "point"),
)

# What a utility answered about an account of a period: the newest counts. `revision`: of the account's newest row in
# what was answered. `verdict`: accepted or refused. Who noted it and when: the link's.
response = Table(
    "response",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("link", BigInteger, nullable=False),
    Column("period", String(7), nullable=False),
    Column("utility", Name, nullable=False),
    Column("account", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("verdict", String(8), nullable=False),
    Column("reason", Text, nullable=False),
    Index("response_period_utility", "period", "utility"),
)

# What the checks at the door said of a snapshot that was accepted: once a day for each meter and check.
live_finding = Table(
    "live_finding",
    metadata,
    Column("meter", Name, primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("check", String(32), primary_key=True),
    Column("time", BigInteger, nullable=False),
    Column("level", String(8), nullable=False),
    Column("quality", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Index("live_finding_day", "day"),
)
