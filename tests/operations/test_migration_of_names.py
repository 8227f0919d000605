"""Script 0007 renames tables and columns: rows of 0001 to 0006 are all there after it, and after its undoing."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from kling_relay.store.embedded.server import Server
from kling_relay.store.schema.migrate import current, downgrade, migrate
from tests.support.postgres import fresh_database

OLD = ("0001", "0002", "0003", "0004", "0005", "0006")
TABLES = {
    "cell": "database_info",
    "outstanding": "pending_deliveries",
    "repeats": "idempotency_keys",
    "crossings": "budget_alerts",
    "closings": "ledger_checkpoints",
}
COLUMNS = {
    ("cell", "one"): "singleton",
    ("submissions", "sender"): "claim_id",
    ("repeats", "word"): "key",
    ("subscriptions", "sealed_headers"): "encrypted_headers",
    ("crossings", "spender"): "account",
    ("crossings", "which"): "limit_name",
    ("crossings", "since"): "window_start",
    ("closings", "spender"): "account",
    ("closings", "until"): "below_tx",
}
CHECKED = {("tasks", "status"): "recorded", ("submissions", "state"): "recorded", ("ledger", "entry"): "reserve"}
"""Columns that take only certain values."""
Rows = dict[str, list[dict[str, Any]]]

_TABLES = """
SELECT relname::text FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
AND relname <> 'alembic_version' ORDER BY 1
"""
_COLUMNS = """
SELECT attname::text AS name, format_type(atttypid, NULL) AS type FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
"""
_NAMES = """
SELECT conname::text FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT indexname::text FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1
"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def value(kind: str, number: int) -> Any:
    """Return a value of a column's type that differs with `number`."""
    return {
        "uuid": UUID(int=number),
        "text": f"text {number}",
        "smallint": number,
        "bigint": number,
        "numeric": number,
        "real": number / 4,
        "boolean": True,
        "bytea": bytes([number]),
        "text[]": [f"text {number}"],
        "timestamp with time zone": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number),
    }[kind]


async def add_rows(connection: asyncpg.Connection, number: int) -> None:
    """Add a row to every table, with every column that it has now."""
    for table in [row[0] for row in await connection.fetch(_TABLES)]:
        columns = {row["name"]: row["type"] for row in await connection.fetch(_COLUMNS, table)}
        if table in {"cell", "shards"}:  # the scripts filled them
            continue
        row = {name: CHECKED.get((table, name), value(kind, number)) for name, kind in columns.items()}
        if table == "tasks":
            row["sequence"] = 0
        places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
        await connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())


async def read_all(connection: asyncpg.Connection) -> Rows:
    await connection.set_type_codec("jsonb", encoder=str, decoder=json.loads, schema="pg_catalog")
    tables = [row[0] for row in await connection.fetch(_TABLES)]
    return {
        table: [row[0] for row in await connection.fetch(f"SELECT to_jsonb(t) FROM {table} AS t ORDER BY t::text")]
        for table in tables
    }


def renamed(rows: Rows) -> Rows:
    """Return the rows as they should be after the script."""
    return {
        TABLES.get(table, table): [
            {COLUMNS.get((table, name), name): content for name, content in row.items()} for row in content
        ]
        for table, content in rows.items()
        if table != "carried"
    }


async def test_every_row_survives_the_upgrade_to_0007_and_its_downgrade(postgres: Server) -> None:
    async with fresh_database(postgres, template="template0") as url:
        for number, revision in enumerate(OLD, start=1):
            await migrate(url, to=revision)
            async with connected(url) as connection:
                if revision == "0001":
                    for parent in ("tasks", "events", "callbacks", "attempts"):
                        await connection.execute(f"CREATE TABLE {parent}_all PARTITION OF {parent} DEFAULT")
                await add_rows(connection, number)
        async with connected(url) as connection:
            await connection.execute("UPDATE cell SET tx_offset = 77")
            before, names = await read_all(connection), await connection.fetch(_NAMES)
        assert {table for table, rows in before.items() if len(rows) < 2} == {"cell"}

        await migrate(url, to="0007")
        async with connected(url) as connection:
            assert await read_all(connection) == renamed(before)
            remaining = " ".join(row[0] for row in await connection.fetch(_NAMES))
        assert not [word for word in (*TABLES, "carried", "sender", "word", "which") if f"{word}_" in remaining]

        await downgrade(url, "0006")
        assert await current(url) == "0006"
        async with connected(url) as connection:
            assert await read_all(connection) == {**before, "carried": []}
            assert await connection.fetch(_NAMES) == names
