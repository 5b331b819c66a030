"""Acts, the seals and verifications that they name, and which act opened and closed a segment."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String(63).with_variant(sa.String(63, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "act",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("hash", sa.String(length=71), nullable=False),
        sa.Column("number", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("point", NAME, nullable=False),
        sa.Column("made", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash", name="act_once"),
    )
    op.create_index("act_point", "act", ["point", "state"], unique=False)
    op.create_index("act_number", "act", ["number"], unique=False)
    op.create_table(
        "seal",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("point", NAME, nullable=False),
        sa.Column("number", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("place", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("act", sa.String(length=71), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("seal_point", "seal", ["point", "number"], unique=False)
    op.create_table(
        "verification",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("meter", NAME, nullable=False),
        sa.Column("verified", sa.String(length=10), nullable=False),
        sa.Column("verify_by", sa.String(length=10), nullable=False),
        sa.Column("act", sa.String(length=71), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("verification_meter", "verification", ["meter"], unique=False)
    op.create_index("verification_due", "verification", ["verify_by"], unique=False)
    op.add_column("segment", sa.Column("opened_by", sa.String(length=71), nullable=True))
    op.add_column("segment", sa.Column("closed_by", sa.String(length=71), nullable=True))
