"""The first tables: registry, kept snapshots, ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String(63).with_variant(sa.String(63, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "binding",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("meter", NAME, nullable=False),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("profile", NAME, nullable=False),
        sa.Column("gateway", NAME, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("binding_gateway", "binding", ["gateway"], unique=False)
    op.create_index("binding_meter", "binding", ["meter", "valid_from"], unique=False)
    op.create_table(
        "close_run",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("period", sa.String(length=7), nullable=False),
        sa.Column("utility", NAME, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("period", "utility", "revision", name="close_run_once"),
    )
    op.create_table(
        "evidence",
        sa.Column("gateway", NAME, nullable=False),
        sa.Column("spool", sa.String(length=12), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("meter", NAME, nullable=False),
        sa.Column("asked", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "spool", "sequence", "position"),
    )
    op.create_index("evidence_meter_asked", "evidence", ["meter", "asked"], unique=False)
    op.create_table(
        "gateway_status",
        sa.Column("gateway", NAME, nullable=False),
        sa.Column("online", sa.Integer(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("gateway"),
    )
    op.create_table(
        "ledger",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("period", sa.String(length=7), nullable=False),
        sa.Column("utility", NAME, nullable=False),
        sa.Column("point", NAME, nullable=False),
        sa.Column("register", sa.String(length=16), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("row", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("period", "point", "register", "revision", name="ledger_once"),
    )
    op.create_index("ledger_period_utility", "ledger", ["period", "utility"], unique=False)
    op.create_table(
        "meter",
        sa.Column("meter", NAME, nullable=False),
        sa.Column("serial_number", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("meter"),
    )
    op.create_table(
        "point_version",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("point", NAME, nullable=False),
        sa.Column("valid_from", sa.BigInteger(), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("utility", NAME, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("flat", sa.Text(), nullable=False),
        sa.Column("tariffs", sa.Integer(), nullable=False),
        sa.Column("receipt_order", sa.Integer(), nullable=False),
        sa.Column("ratio", sa.String(length=40), nullable=False),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("point_version_point", "point_version", ["point", "valid_from"], unique=False)
    op.create_table(
        "quarantine",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("gateway", NAME, nullable=False),
        sa.Column("spool", sa.String(length=12), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("register", sa.String(length=16), nullable=False),
        sa.Column("meter", NAME, nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=True),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "gateway", "spool", "sequence", "position", "kind", "month", "register", name="quarantine_once"
        ),
    )
    op.create_index("quarantine_meter_time", "quarantine", ["meter", "time"], unique=False)
    op.create_table(
        "registry_log",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "segment",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("point", NAME, nullable=False),
        sa.Column("meter", NAME, nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=True),
        sa.Column("to_ms", sa.BigInteger(), nullable=True),
        sa.Column("initial", sa.Text(), nullable=True),
        sa.Column("final", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("segment_meter", "segment", ["meter"], unique=False)
    op.create_index("segment_point", "segment", ["point"], unique=False)
