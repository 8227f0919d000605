"""successes may lack a result

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("result_missing", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("submissions", sa.Column("incomplete", sa.SmallInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("submissions", "incomplete")
    op.drop_column("tasks", "result_missing")
