"""the ledger's index by transaction

Built beside writers, hence in no transaction, and in a script of its own: what a broken attempt left is dropped first.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NAME = "ix_ledger_client_tx"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(NAME, table_name="ledger", postgresql_concurrently=True, if_exists=True)
        op.create_index(NAME, "ledger", ["client", "tx"], postgresql_concurrently=True)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(NAME, table_name="ledger", postgresql_concurrently=True, if_exists=True)
