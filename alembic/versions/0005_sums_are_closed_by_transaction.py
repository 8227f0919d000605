"""an entry of the ledger knows its transaction, and sums are closed below one

The entries that are there get the number of this script's own transaction: all of them were written before it. The
default also numbers what the release before writes; `carried` stays for that release. The index comes with 0006.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "ledger",
        sa.Column("tx", sa.BigInteger(), server_default=sa.text("pg_current_xact_id()::text::bigint"), nullable=False),
    )
    op.create_table(
        "closings",
        sa.Column("spender", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("total", sa.Numeric(), nullable=False),
        sa.Column("day", sa.Numeric(), nullable=False),
        sa.Column("month", sa.Numeric(), nullable=False),
        sa.Column("open", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("spender", "currency"),
        comment="sums of the ledger's entries below a transaction, so that budgets add up only what came since",
    )


def downgrade() -> None:
    op.drop_table("closings")
    op.drop_column("ledger", "tx")
