"""The tables of the centre's registry and ledger (SQLAlchemy Core), and how an engine for them is made.

Rule 1. Nothing here is changed in place except `gateway_status` and the end of a segment: points get new versions,
        the ledger gets new revisions, evidence and quarantine only grow.
Rule 2. Instants are whole milliseconds UTC, kWh and ratios are text of exact decimals, documents are JSON text.
Rule 3. Tables change by Alembic migrations only (`collector/central/migrations`), from the first one on.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

metadata = MetaData()

# SQLite numbers rows by itself only in a column whose type is spelled INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")

# What is known of a point from `valid_from` on. The latest version that is not later than an instant counts there;
# before the first version, the first.
point_version = Table(
    "point_version",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("point", String(63), nullable=False),
    Column("valid_from", BigInteger, nullable=False),
    Column("account", String(64), nullable=False),
    Column("utility", String(63), nullable=False),
    Column("address", Text, nullable=False),
    Column("flat", Text, nullable=False),
    Column("tariffs", Integer, nullable=False),
    Column("receipt_order", Integer, nullable=False),
    Column("ratio", String(40), nullable=False),
    Column("time_zone", String(64), nullable=False),
    Index("point_version_point", "point", "valid_from"),
)

# Which meter hung at which point. `from_ms` null: since ever (imported); `to_ms` null: still. `initial` and `final`:
# JSON of OBIS code -> whole Wh from the acts that opened and closed it.
segment = Table(
    "segment",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("point", String(63), nullable=False, index=True),
    Column("meter", String(63), nullable=False, unique=True),
    Column("serial_number", String(64), nullable=False),
    Column("profile", String(63), nullable=False),
    Column("gateway", String(63), nullable=False, index=True),
    Column("from_ms", BigInteger),
    Column("to_ms", BigInteger),
    Column("initial", Text),
    Column("final", Text),
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

# Values and snapshots that are kept but not believed. `register` and `value` are empty where the whole snapshot is bad.
quarantine = Table(
    "quarantine",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("gateway", String(63), nullable=False),
    Column("spool", String(12), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),
    Column("meter", Text, nullable=False),
    Column("time", BigInteger),
    Column("register", String(16), nullable=False),
    Column("value", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("snapshot", Text, nullable=False),
    UniqueConstraint("gateway", "spool", "sequence", "position", "register", name="quarantine_once"),
    Index("quarantine_meter_time", "meter", "time"),
)

# Snapshots of class `keep` as they came: what proves a billed value, and what shows that two askings agree.
evidence = Table(
    "evidence",
    metadata,
    Column("gateway", String(63), primary_key=True),
    Column("spool", String(12), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("meter", String(63), nullable=False),
    Column("asked", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("zone", String(64), nullable=False),
    Column("snapshot", Text, nullable=False),
    Index("evidence_meter_asked", "meter", "asked"),
)

# The last status of each gateway, as it came.
gateway_status = Table(
    "gateway_status",
    metadata,
    Column("gateway", String(63), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
)

# Billing readings, append-only: one row per period, point, register and revision. `row` is the canonical JSON of the
# BillingReading, `evidence` JSON of the snapshots and steps that prove it, `digest` the SHA-256 over both.
ledger = Table(
    "ledger",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("period", String(7), nullable=False),
    Column("utility", String(63), nullable=False),
    Column("point", String(63), nullable=False),
    Column("register", String(16), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("row", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    UniqueConstraint("period", "point", "register", "revision", name="ledger_once"),
    Index("ledger_period_utility", "period", "utility"),
)

# One row per emitted folder r<N>: its manifest and findings, so that the same close can be told from a new one.
close_run = Table(
    "close_run",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("period", String(7), nullable=False),
    Column("utility", String(63), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("findings", Text, nullable=False),
    UniqueConstraint("period", "utility", "revision", name="close_run_once"),
)
