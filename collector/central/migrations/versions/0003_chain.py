"""A hash chain over the ledger, decisions and readings by hand, findings at the door.

Months that were closed before are chained as they stand: who closed them was not noted then.
"""

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String(63).with_variant(sa.String(63, collation="C"), "postgresql")
APPEND_ONLY = ("ledger_link", "decision", "manual_reading")


def upgrade() -> None:
    op.create_table(
        "ledger_link",
        sa.Column("id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("content", sa.String(length=64), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "decision",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("link", sa.BigInteger(), nullable=False),
        sa.Column("period", sa.String(length=7), nullable=False),
        sa.Column("point", NAME, nullable=False),
        sa.Column("register", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("decision_period_point", "decision", ["period", "point"], unique=False)
    op.create_table(
        "manual_reading",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("link", sa.BigInteger(), nullable=False),
        sa.Column("period", sa.String(length=7), nullable=False),
        sa.Column("point", NAME, nullable=False),
        sa.Column("register", sa.String(length=16), nullable=False),
        sa.Column("meter", NAME, nullable=False),
        sa.Column("wh", sa.BigInteger(), nullable=False),
        sa.Column("taken", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("manual_reading_period_point", "manual_reading", ["period", "point"], unique=False)
    op.create_table(
        "live_finding",
        sa.Column("meter", NAME, nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("check", sa.String(length=32), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("quality", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("meter", "day", "check"),
    )
    op.create_index("live_finding_day", "live_finding", ["day"], unique=False)
    _chain_what_is_there(op.get_bind())
    _refuse_changes()


def _chain_what_is_there(connection: sa.Connection) -> None:
    """One link for each run, in the order in which they were made, as collector.central.chain would."""
    runs = connection.execute(
        sa.text("SELECT period, utility, revision, at, manifest FROM close_run ORDER BY id")
    ).all()
    rows = sa.text(
        "SELECT point, register, digest FROM ledger "
        "WHERE period = :period AND utility = :utility AND revision = :revision"
    )
    previous = ""
    for number, (period, utility, revision, at, manifest) in enumerate(runs, 1):
        what = {"period": period, "utility": utility, "revision": revision}
        found = sorted(map(tuple, connection.execute(rows, what)))
        text = "".join(f"{row[2]}\n" for row in found) + hashlib.sha256(manifest.encode()).hexdigest()
        link = {
            "id": number,
            "at": at,
            "who": "",
            "kind": "close",
            "what": _canonical(what),
            "content": hashlib.sha256(text.encode()).hexdigest(),
            "previous": previous,
        }
        previous = hashlib.sha256(_canonical(link).encode()).hexdigest()
        connection.execute(
            sa.text(
                "INSERT INTO ledger_link (id, at, who, kind, what, content, previous, digest) "
                "VALUES (:id, :at, :who, :kind, :what, :content, :previous, :digest)"
            ),
            {**link, "digest": previous},
        )


def _canonical(data: object) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _refuse_changes() -> None:
    for table in APPEND_ONLY:
        if op.get_bind().dialect.name == "postgresql":
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
            )
            continue
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
