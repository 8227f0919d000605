"""tables and columns have plain names

Renames break the release before, so no other script may hold any (tests/operations/test_migration_scripts.py). This
one may: nothing was released yet, so nothing older runs beside it. `carried` goes, because nothing has read it since
0005 and its sums follow from the ledger.

Revision ID: 0007
Revises: 0006
"""

from collections.abc import Iterable

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = {
    "cell": "database_info",
    "outstanding": "pending_deliveries",
    "repeats": "idempotency_keys",
    "crossings": "budget_alerts",
    "closings": "ledger_checkpoints",
}
COLUMNS = (
    ("database_info", "one", "singleton"),
    ("submissions", "sender", "claim_id"),
    ("idempotency_keys", "word", "key"),
    ("subscriptions", "sealed_headers", "encrypted_headers"),
    ("budget_alerts", "spender", "account"),
    ("budget_alerts", "which", "limit_name"),
    ("budget_alerts", "since", "window_start"),
    ("ledger_checkpoints", "spender", "account"),
    ("ledger_checkpoints", "until", "below_tx"),
)
INDEXES = (
    ("ix_outstanding_due", "ix_pending_deliveries_due"),
    ("ix_outstanding_fresh", "ix_pending_deliveries_fresh"),
    ("ix_repeats_task", "ix_idempotency_keys_task"),
)
COMMENTS = {
    "database_info": (
        "what is said of this database as a whole; tx_offset keeps event cursors rising after a restore",
        "facts about the whole database; tx_offset keeps event cursors rising after a restore",
    ),
    "submissions": (
        "one row per task that is not final: what was sent to the provider, and when to look after it",
        "one row per task that is not final: its state at the provider, and when to look at it again",
    ),
    "callbacks": (
        "what the provider said, as it came: by callback, by answer to our question or to our order",
        "what the provider sent about a task, unchanged: a callback, or its answer to a poll or to the order",
    ),
    "pending_deliveries": (
        "deliveries still to be made; due_at 'infinity' is exhausted; a delivered one is no longer here",
        "deliveries still to be made; due_at 'infinity' means exhausted; a delivered one is deleted",
    ),
    "shards": (
        "which worker delivers which subscriptions",
        "which worker makes the deliveries of which subscriptions",
    ),
    "idempotency_keys": (
        "idempotency keys (i:…) and external task ids (e:…), and the task each made",
        "idempotency keys (i:…) and external task ids (e:…), with the task each belongs to",
    ),
    "ledger": (
        "append-only; sums over a client are its balance; what was ordered stands in the reserve",
        "append-only; the sum of a client's entries is its balance; the reserve says what was ordered",
    ),
    "budget_alerts": (
        "thresholds of budgets that were announced, each once per window",
        "budget thresholds already announced, each once per window",
    ),
    "ledger_checkpoints": (
        "sums of the ledger's entries below a transaction, so that budgets add up only what came since",
        "sums of the ledger's entries below a transaction, so that budgets add up only later ones",
    ),
}
"""Each table's comment before and after."""

NOT_NULL = """
DO $$
DECLARE name record;
BEGIN
    FOR name IN
        SELECT c.oid::regclass AS of, conname AS old, format('%s_%s_not_null', relname, attname) AS new
        FROM pg_constraint
        JOIN pg_class AS c ON c.oid = conrelid
        JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
        WHERE contype = 'n' AND conrelid = ANY(ARRAY[{}]::regclass[])
    LOOP
        IF name.old <> name.new THEN
            EXECUTE format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', name.of, name.old, name.new);
        END IF;
    END LOOP;
END $$
"""
"""From PostgreSQL 18 on, NOT NULL is a constraint with a name, made of the table's and the column's."""


def upgrade() -> None:
    for old, new in TABLES.items():
        op.rename_table(old, new)
        op.execute(f"ALTER INDEX {old}_pkey RENAME TO {new}_pkey")
    for old, new in INDEXES:
        op.execute(f"ALTER INDEX {old} RENAME TO {new}")
    for table, old, new in COLUMNS:
        op.alter_column(table, old, new_column_name=new)
    op.execute("ALTER TABLE database_info RENAME CONSTRAINT ck_cell_one_row TO ck_database_info_one_row")
    rename_not_null((*TABLES.values(), "subscriptions"))
    for table, (old, new) in COMMENTS.items():
        op.create_table_comment(table, new, existing_comment=old)
    op.drop_table("carried")


def downgrade() -> None:
    op.create_table(
        "carried",
        sa.Column("spender", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("total", sa.Numeric(), nullable=False),
        sa.Column("day", sa.Numeric(), nullable=False),
        sa.Column("month", sa.Numeric(), nullable=False),
        sa.Column("open", sa.Numeric(), nullable=False),
        sa.PrimaryKeyConstraint("spender", "currency"),
        comment="sums of the ledger's entries before a time long past, so that budgets add up only what came since",
    )
    for table, (old, new) in COMMENTS.items():
        op.create_table_comment(table, old, existing_comment=new)
    op.execute("ALTER TABLE database_info RENAME CONSTRAINT ck_database_info_one_row TO ck_cell_one_row")
    for table, old, new in COLUMNS:
        op.alter_column(table, new, new_column_name=old)
    for old, new in INDEXES:
        op.execute(f"ALTER INDEX {new} RENAME TO {old}")
    for old, new in TABLES.items():
        op.execute(f"ALTER INDEX {new}_pkey RENAME TO {old}_pkey")
        op.rename_table(new, old)
    rename_not_null((*TABLES, "subscriptions"))


def rename_not_null(tables: Iterable[str]) -> None:
    op.execute(NOT_NULL.format(", ".join(f"'{table}'" for table in tables)))
