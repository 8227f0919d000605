"""a subscription's headers are sealed

`headers` stays for the release before; what it left there in the clear is sealed by `kling-relay keys reseal`.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("subscriptions", sa.Column("sealed_headers", sa.LargeBinary(), server_default="", nullable=False))


def downgrade() -> None:
    op.drop_column("subscriptions", "sealed_headers")
