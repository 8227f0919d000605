"""whose mark a submission carries, and when a client had its last turn

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("submissions", sa.Column("sender", sa.Uuid(), nullable=True))
    op.add_column("clients", sa.Column("served_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("clients", "served_at")
    op.drop_column("submissions", "sender")
