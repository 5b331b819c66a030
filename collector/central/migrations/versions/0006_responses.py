"""What utilities answered to what they got; and the transformers' ratio that an act hung a meter with."""

import json
from decimal import Decimal

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLE = "response"
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String(63).with_variant(sa.String(63, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("link", sa.BigInteger(), nullable=False),
        sa.Column("period", sa.String(length=7), nullable=False),
        sa.Column("utility", NAME, nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(length=8), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("response_period_utility", TABLE, ["period", "utility"], unique=False)
    op.add_column("segment", sa.Column("ratio", sa.String(length=40), nullable=True))
    _ratios_of_acts(op.get_bind())
    _refuse_changes()


def _ratios_of_acts(connection: sa.Connection) -> None:
    """The ratio of the act that opened each segment, as collector.central.acts notes it from here on."""
    opened = sa.text(
        "SELECT segment.id, act.document FROM segment JOIN act ON act.hash = segment.opened_by "
        "WHERE act.state = 'taken'"
    )
    noted = sa.text("UPDATE segment SET ratio = :ratio WHERE id = :id")
    for number, document in connection.execute(opened).all():
        device = json.loads(document, parse_float=Decimal)["meter"]
        if device is not None:
            connection.execute(noted, {"id": number, "ratio": f"{Decimal(device['ratio']).normalize():f}"})


def _refuse_changes() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE TRIGGER {TABLE}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {TABLE} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {TABLE}_no_{change.lower()} BEFORE {change} ON {TABLE} "
            f"BEGIN SELECT RAISE(ABORT, '{TABLE} is append-only'); END"
        )
