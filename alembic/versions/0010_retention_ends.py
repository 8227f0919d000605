"""retention ends: deliveries expire, and hooks go with their tasks

Hooks that are there count as used now, so that none goes before its tasks. The release before writes hooks without
`last_used_at`; its `updated_at` counts then. The indexes are built beside writers, hence in no transaction.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COMMENT = "last_used_at: when an order last named a hook, to the day; deleted_at: set while its rows are deleted"
INDEXES = {
    "ix_subscriptions_client_id": ("client, id", "NOT hook"),
    "ix_subscriptions_hook_use": ("COALESCE(last_used_at, updated_at)", "hook"),
    "ix_subscriptions_deleted": ("deleted_at", "deleted_at IS NOT NULL"),
}
REPLACED = "ix_subscriptions_client"


def upgrade() -> None:
    time, count = sa.DateTime(timezone=True), sa.BigInteger()
    op.add_column("subscriptions", sa.Column("last_used_at", time, server_default=sa.func.now()))
    op.alter_column("subscriptions", "last_used_at", server_default=None)
    op.add_column("subscriptions", sa.Column("deleted_at", time))
    for table in ("subscriptions", "database_info"):
        op.add_column(table, sa.Column("expired_deliveries", count, server_default="0", nullable=False))
    op.create_table_comment("subscriptions", COMMENT)
    with op.get_context().autocommit_block():
        for name, (columns, where) in INDEXES.items():
            op.drop_index(name, table_name="subscriptions", postgresql_concurrently=True, if_exists=True)
            op.create_index(
                name, "subscriptions", [sa.text(columns)], postgresql_where=sa.text(where), postgresql_concurrently=True
            )
        op.drop_index(REPLACED, table_name="subscriptions", postgresql_concurrently=True, if_exists=True)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(REPLACED, table_name="subscriptions", postgresql_concurrently=True, if_exists=True)
        op.create_index(
            REPLACED, "subscriptions", ["client"], postgresql_where=sa.text("NOT hook"), postgresql_concurrently=True
        )
        for name in INDEXES:
            op.drop_index(name, table_name="subscriptions", postgresql_concurrently=True, if_exists=True)
    op.drop_table_comment("subscriptions", existing_comment=COMMENT)
    for table in ("subscriptions", "database_info"):
        op.drop_column(table, "expired_deliveries")
    op.drop_column("subscriptions", "deleted_at")
    op.drop_column("subscriptions", "last_used_at")
