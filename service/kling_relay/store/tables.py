"""The tables: Alembic compares the migrations with them, and composed statements are written in them.

Rows that live as long as a task (tasks, events, callbacks, attempts) are range-partitioned on the task's id, which is
ordered by time. So a look-up by id touches one partition, and the rows of finished tasks are dropped together. Rows
that stand for work (submissions, pending_deliveries) are thin and are deleted when the work is done. There are no
foreign keys, triggers or enums: writes are set-based, and the rules are those of `core`, which the CHECKs repeat.
"""

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)

from kling_relay.core.task import Status

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "ck": "ck_%(table_name)s_%(constraint_name)s"}
)

Time = DateTime(timezone=True)
_STORED = [status for status in Status if status is not Status.RESULT_MISSING]
"""The values of `tasks.status`. A task without its result is stored as succeed, with `result_missing`: the release
before reads it so."""
PARTITIONED = ("tasks", "events", "callbacks", "attempts")
"""The tables that are partitioned on the task's id, all with the same bounds."""

_busy = {
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 5000,
    "autovacuum_vacuum_cost_delay": 0,
    "autovacuum_analyze_scale_factor": 0,
    "autovacuum_analyze_threshold": 2147483647,
    "vacuum_truncate": "false",
}
"""Storage of tables whose rows come and go. Vacuum early and fast. Never analyze: statistics of an empty table would
mislead the planner. Never truncate: that needs an exclusive lock."""

CHILD_STORAGE = {
    "tasks": "fillfactor=70, autovacuum_vacuum_scale_factor=0.05",
    "events": "autovacuum_vacuum_insert_scale_factor=0.5",
    "callbacks": "autovacuum_vacuum_insert_scale_factor=0.5",
    "attempts": "autovacuum_vacuum_insert_scale_factor=0.5",
}
"""Storage of the partitions; a partitioned table has none of its own."""

database_info = Table(
    "database_info",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default=text("true")),
    Column("tx_offset", BigInteger, nullable=False, server_default="0"),
    Column("expired_deliveries", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("singleton", name="one_row"),
    comment="facts about the whole database; tx_offset keeps event cursors rising after a restore",
)

clients = Table(
    "clients",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("hook_secret", LargeBinary, nullable=False),
    Column("limit_total", Numeric),
    Column("limit_day", Numeric),
    Column("limit_month", Numeric),
    Column("limit_open", Numeric),
    Column("served_at", Time),
    Column("created_at", Time, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("client", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("secret", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("limit_total", Numeric),
    Column("limit_day", Numeric),
    Column("limit_month", Numeric),
    Column("limit_open", Numeric),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time),
    Column("last_used_at", Time),
    Column("revoked_at", Time),
    Index(None, "client"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("client", Uuid, nullable=False),
    Column("key", Uuid),
    Column("status", Text, nullable=False),
    Column("sequence", SmallInteger, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False),
    Column("kind", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("mode", Text),
    Column("duration", Text),
    Column("units", SmallInteger, nullable=False),
    Column("quote", Numeric, nullable=False),
    Column("currency", Text, nullable=False),
    Column("prices", Text, nullable=False),
    Column("external_task_id", Text),
    Column("hook", Uuid),
    Column("trace", Text),
    Column("fields", Text, nullable=False),
    Column("result_missing", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("id"),
    CheckConstraint("status IN ({})".format(", ".join(f"'{status}'" for status in _STORED)), name="status_known"),
    CheckConstraint("(sequence = 0) = (status = 'recorded')", name="steps_counted"),
    Index("ix_tasks_client_id", "client", "id"),
    postgresql_partition_by="RANGE (id)",
)

submissions = Table(
    "submissions",
    metadata,
    Column("task", Uuid, primary_key=True),
    Column("client", Uuid, nullable=False),
    Column("state", Text, nullable=False),
    Column("claim_id", Uuid),
    Column("units", SmallInteger, nullable=False),
    Column("attempt", SmallInteger, nullable=False, server_default="0"),
    Column("due_at", Time, nullable=False),
    Column("kind", Text, nullable=False),
    Column("provider_task_id", Text),
    Column("reason", Text),
    Column("payload", LargeBinary),
    Column("incomplete", SmallInteger, nullable=False, server_default="0"),
    CheckConstraint("state IN ('recorded', 'sending', 'accepted', 'unknown')", name="state_known"),
    Index("ix_submissions_state_due_at", "state", "due_at"),
    postgresql_with={**_busy, "fillfactor": 70},
    comment="one row per task that is not final: its state at the provider, and when to look at it again",
)

events = Table(
    "events",
    metadata,
    Column("subject", Uuid, nullable=False),
    Column("sequence", SmallInteger, nullable=False),
    Column("client", Uuid, nullable=False),
    Column("tx", BigInteger, nullable=False),
    Column("at", Time, nullable=False),
    Column("type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("trace", Text),
    PrimaryKeyConstraint("subject", "sequence"),
    Index("ix_events_client_tx", "client", "tx", "subject", "sequence"),
    postgresql_partition_by="RANGE (subject)",
)

callbacks = Table(
    "callbacks",
    metadata,
    Column("task", Uuid, nullable=False),
    Column("received_at", Time, nullable=False),
    Column("source", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("ix_callbacks_task", "task"),
    postgresql_partition_by="RANGE (task)",
    comment="what the provider sent about a task, unchanged: a callback, or its answer to a poll or to the order",
)

attempts = Table(
    "attempts",
    metadata,
    Column("subscription", Uuid, nullable=False),
    Column("subject", Uuid, nullable=False),
    Column("sequence", SmallInteger, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("at", Time, nullable=False),
    Column("latency", REAL, nullable=False),
    Column("status", SmallInteger),
    Column("outcome", Text, nullable=False),
    Column("error", Text),
    Column("answer", LargeBinary),
    PrimaryKeyConstraint("subscription", "subject", "sequence", "attempt"),
    postgresql_partition_by="RANGE (subject)",
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("client", Uuid, nullable=False),
    Column("hook", Boolean, nullable=False, server_default=text("false")),
    Column("url", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("headers", Text, nullable=False, server_default="{}"),
    Column("encrypted_headers", LargeBinary, nullable=False, server_default=""),
    Column("format", Text, nullable=False),
    Column("ordering", Text, nullable=False),
    Column("max_in_flight", SmallInteger, nullable=False),
    Column("secrets", LargeBinary, nullable=False),
    Column("old_secrets_until", Time),
    Column("failing_since", Time),
    Column("probe_at", Time),
    Column("paused_at", Time),
    Column("disabled_at", Time),
    Column("disabled_reason", Text),
    Column("created_at", Time, nullable=False),
    Column("updated_at", Time, nullable=False),
    Column("last_used_at", Time),
    Column("deleted_at", Time),
    Column("expired_deliveries", BigInteger, nullable=False, server_default="0"),
    Index("ix_subscriptions_client_id", "client", "id", postgresql_where=text("NOT hook")),
    Index("ix_subscriptions_hooks", "client", postgresql_where=text("hook")),
    Index("ix_subscriptions_hook_use", text("COALESCE(last_used_at, updated_at)"), postgresql_where=text("hook")),
    Index("ix_subscriptions_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    comment="last_used_at: when an order last named a hook, to the day; deleted_at: set while its rows are deleted",
)

pending_deliveries = Table(
    "pending_deliveries",
    metadata,
    Column("subject", Uuid, nullable=False),
    Column("sequence", SmallInteger, nullable=False),
    Column("subscription", Uuid, nullable=False),
    Column("shard", SmallInteger, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("due_at", Time, nullable=False),
    PrimaryKeyConstraint("subject", "sequence", "subscription"),
    Index("ix_pending_deliveries_due", "shard", "subscription", "due_at"),
    Index("ix_pending_deliveries_fresh", "due_at", postgresql_where=text("attempt = 0")),
    postgresql_with={**_busy, "fillfactor": 80},
    comment="deliveries still to be made; due_at 'infinity' means exhausted; a delivered one is deleted",
)

shards = Table(
    "shards",
    metadata,
    Column("shard", SmallInteger, primary_key=True),
    Column("owner", Uuid),
    Column("leased_until", Time),
    comment="which worker makes the deliveries of which subscriptions",
)

workers = Table(
    "workers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("seen_at", Time, nullable=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("client", Uuid, nullable=False),
    Column("key", Text, nullable=False),
    Column("task", Uuid, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    PrimaryKeyConstraint("client", "key"),
    Index(None, "task"),
    comment="idempotency keys (i:…) and external task ids (e:…), with the task each belongs to",
)

ledger = Table(
    "ledger",
    metadata,
    Column("task", Uuid, nullable=False),
    Column("entry", Text, nullable=False),
    Column("client", Uuid, nullable=False),
    Column("key", Uuid),
    Column("at", Time, nullable=False),
    Column("reserved", Numeric, nullable=False),
    Column("charged", Numeric, nullable=False),
    Column("currency", Text, nullable=False),
    Column("kind", Text),
    Column("model", Text),
    Column("mode", Text),
    Column("note", Text),
    # a default, so that no INSERT can forget it; compared as in `store/money/balances.py`
    Column("tx", BigInteger, nullable=False, server_default=text("pg_current_xact_id()::text::bigint")),
    PrimaryKeyConstraint("task", "entry"),
    CheckConstraint("entry IN ('reserve', 'settle', 'release')", name="entry_known"),
    Index("ix_ledger_client_at", "client", "at"),
    Index("ix_ledger_client_tx", "client", "tx"),
    comment="append-only; the sum of a client's entries is its balance; the reserve says what was ordered",
)

budget_alerts = Table(
    "budget_alerts",
    metadata,
    Column("account", Uuid, nullable=False),
    Column("limit_name", Text, nullable=False),
    Column("window_start", Time, nullable=False),
    Column("allowed", Numeric, nullable=False),
    Column("percent", SmallInteger, nullable=False),
    Column("at", Time, nullable=False),
    PrimaryKeyConstraint("account", "limit_name", "window_start", "allowed", "percent"),
    comment="budget thresholds already announced, each once per window",
)

ledger_checkpoints = Table(
    "ledger_checkpoints",
    metadata,
    Column("account", Uuid, nullable=False),
    Column("currency", Text, nullable=False),
    Column("below_tx", BigInteger, nullable=False),
    Column("at", Time, nullable=False),
    Column("total", Numeric, nullable=False),
    Column("day", Numeric, nullable=False),
    Column("month", Numeric, nullable=False),
    Column("open", Numeric, nullable=False),
    PrimaryKeyConstraint("account", "currency"),
    comment="sums of the ledger's entries below a transaction, so that budgets add up only later ones",
)
