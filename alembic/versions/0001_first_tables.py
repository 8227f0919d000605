"""first tables

Revision ID: 0001
Revises: nothing
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column("subscription", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.SmallInteger(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("latency", sa.REAL(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("subscription", "subject", "sequence", "attempt"),
        postgresql_partition_by="RANGE (subject)",
    )
    op.create_table(
        "callbacks",
        sa.Column("task", sa.Uuid(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        comment="what the provider said, as it came: by callback, by answer to our question or to our order",
        postgresql_partition_by="RANGE (task)",
    )
    op.create_index("ix_callbacks_task", "callbacks", ["task"], unique=False)
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
    op.create_table(
        "cell",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("tx_offset", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("one", name=op.f("ck_cell_one_row")),
        sa.PrimaryKeyConstraint("one"),
        comment="what is said of this database as a whole; tx_offset keeps event cursors rising after a restore",
    )
    op.create_table(
        "clients",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hook_secret", sa.LargeBinary(), nullable=False),
        sa.Column("limit_total", sa.Numeric(), nullable=True),
        sa.Column("limit_day", sa.Numeric(), nullable=True),
        sa.Column("limit_month", sa.Numeric(), nullable=True),
        sa.Column("limit_open", sa.Numeric(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "crossings",
        sa.Column("spender", sa.Uuid(), nullable=False),
        sa.Column("which", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("allowed", sa.Numeric(), nullable=False),
        sa.Column("percent", sa.SmallInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("spender", "which", "since", "allowed", "percent"),
        comment="thresholds of budgets that were announced, each once per window",
    )
    op.create_table(
        "events",
        sa.Column("subject", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.SmallInteger(), nullable=False),
        sa.Column("client", sa.Uuid(), nullable=False),
        sa.Column("tx", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "sequence"),
        postgresql_partition_by="RANGE (subject)",
    )
    op.create_index("ix_events_client_tx", "events", ["client", "tx", "subject", "sequence"], unique=False)
    op.create_table(
        "keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("limit_total", sa.Numeric(), nullable=True),
        sa.Column("limit_day", sa.Numeric(), nullable=True),
        sa.Column("limit_month", sa.Numeric(), nullable=True),
        sa.Column("limit_open", sa.Numeric(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_index(op.f("ix_keys_client"), "keys", ["client"], unique=False)
    op.create_table(
        "ledger",
        sa.Column("task", sa.Uuid(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("client", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reserved", sa.Numeric(), nullable=False),
        sa.Column("charged", sa.Numeric(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("mode", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint("entry IN ('reserve', 'settle', 'release')", name=op.f("ck_ledger_entry_known")),
        sa.PrimaryKeyConstraint("task", "entry"),
        comment="append-only; sums over a client are its balance; what was ordered stands in the reserve",
    )
    op.create_index("ix_ledger_client_at", "ledger", ["client", "at"], unique=False)
    op.create_table(
        "outstanding",
        sa.Column("subject", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.SmallInteger(), nullable=False),
        sa.Column("subscription", sa.Uuid(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("subject", "sequence", "subscription"),
        comment="deliveries still to be made; due_at 'infinity' is exhausted; a delivered one is no longer here",
        postgresql_with={
            "autovacuum_vacuum_scale_factor": 0,
            "autovacuum_vacuum_threshold": 5000,
            "autovacuum_vacuum_cost_delay": 0,
            "autovacuum_analyze_scale_factor": 0,
            "autovacuum_analyze_threshold": 2147483647,
            "vacuum_truncate": "false",
            "fillfactor": 80,
        },
    )
    op.create_index("ix_outstanding_due", "outstanding", ["shard", "subscription", "due_at"], unique=False)
    op.create_index(
        "ix_outstanding_fresh", "outstanding", ["due_at"], unique=False, postgresql_where=sa.text("attempt = 0")
    )
    op.create_table(
        "repeats",
        sa.Column("client", sa.Uuid(), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column("task", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("client", "word"),
        comment="idempotency keys (i:…) and external task ids (e:…), and the task each made",
    )
    op.create_index(op.f("ix_repeats_task"), "repeats", ["task"], unique=False)
    op.create_table(
        "shards",
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("owner", sa.Uuid(), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("shard"),
        comment="which worker delivers which subscriptions",
    )
    op.create_table(
        "submissions",
        sa.Column("task", sa.Uuid(), nullable=False),
        sa.Column("client", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("units", sa.SmallInteger(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("provider_task_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "state IN ('recorded', 'sending', 'accepted', 'unknown')", name=op.f("ck_submissions_state_known")
        ),
        sa.PrimaryKeyConstraint("task"),
        comment="one row per task that is not final: what was sent to the provider, and when to look after it",
        postgresql_with={
            "autovacuum_vacuum_scale_factor": 0,
            "autovacuum_vacuum_threshold": 5000,
            "autovacuum_vacuum_cost_delay": 0,
            "autovacuum_analyze_scale_factor": 0,
            "autovacuum_analyze_threshold": 2147483647,
            "vacuum_truncate": "false",
            "fillfactor": 70,
        },
    )
    op.create_index("ix_submissions_state_due_at", "submissions", ["state", "due_at"], unique=False)
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client", sa.Uuid(), nullable=False),
        sa.Column("hook", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("headers", sa.Text(), server_default="{}", nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("ordering", sa.Text(), nullable=False),
        sa.Column("max_in_flight", sa.SmallInteger(), nullable=False),
        sa.Column("secrets", sa.LargeBinary(), nullable=False),
        sa.Column("old_secrets_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_subscriptions_hooks", "subscriptions", ["client"], unique=False, postgresql_where=sa.text("hook")
    )
    op.create_index(
        "ix_subscriptions_client", "subscriptions", ["client"], unique=False, postgresql_where=sa.text("NOT hook")
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Uuid(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("sequence", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=True),
        sa.Column("duration", sa.Text(), nullable=True),
        sa.Column("units", sa.SmallInteger(), nullable=False),
        sa.Column("quote", sa.Numeric(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("prices", sa.Text(), nullable=False),
        sa.Column("external_task_id", sa.Text(), nullable=True),
        sa.Column("hook", sa.Uuid(), nullable=True),
        sa.Column("trace", sa.Text(), nullable=True),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.CheckConstraint("(sequence = 0) = (status = 'recorded')", name=op.f("ck_tasks_steps_counted")),
        sa.CheckConstraint(
            "status IN ('recorded', 'submitted', 'processing', 'succeed', 'failed', 'expired')",
            name=op.f("ck_tasks_status_known"),
        ),
        sa.PrimaryKeyConstraint("id"),
        postgresql_partition_by="RANGE (id)",
    )
    op.create_index("ix_tasks_client_id", "tasks", ["client", "id"], unique=False)
    op.create_table(
        "workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute("INSERT INTO cell DEFAULT VALUES")
    op.execute("INSERT INTO shards (shard) SELECT generate_series(0, 255)")


def downgrade() -> None:
    op.drop_table("workers")
    op.drop_index("ix_tasks_client_id", table_name="tasks")
    op.drop_table("tasks")
    op.drop_index("ix_subscriptions_hooks", table_name="subscriptions", postgresql_where=sa.text("hook"))
    op.drop_index("ix_subscriptions_client", table_name="subscriptions", postgresql_where=sa.text("NOT hook"))
    op.drop_table("subscriptions")
    op.drop_index("ix_submissions_state_due_at", table_name="submissions")
    op.drop_table("submissions")
    op.drop_table("shards")
    op.drop_index(op.f("ix_repeats_task"), table_name="repeats")
    op.drop_table("repeats")
    op.drop_index("ix_outstanding_fresh", table_name="outstanding", postgresql_where=sa.text("attempt = 0"))
    op.drop_index("ix_outstanding_due", table_name="outstanding")
    op.drop_table("outstanding")
    op.drop_index("ix_ledger_client_at", table_name="ledger")
    op.drop_table("ledger")
    op.drop_index(op.f("ix_keys_client"), table_name="keys")
    op.drop_table("keys")
    op.drop_index("ix_events_client_tx", table_name="events")
    op.drop_table("events")
    op.drop_table("crossings")
    op.drop_table("clients")
    op.drop_table("cell")
    op.drop_table("carried")
    op.drop_index("ix_callbacks_task", table_name="callbacks")
    op.drop_table("callbacks")
    op.drop_table("attempts")
