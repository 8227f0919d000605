"""The plan by which a statement of the service really runs."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from kling_relay.store.postgres.statement import Pool, Statement
from tests.support.outbox import fresh_id


async def plan(pool: Pool, statement: Statement, **given: Any) -> list[dict[str, Any]]:
    """Return the nodes of the plan by which a statement ran on a connection of `pool`; its writes are rolled back."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        name = "p" + fresh_id().hex
        await connection.execute(f"PREPARE {name} AS {statement.sql}")
        values = ", ".join(_literal(value) for value in statement.arguments(given))
        explained = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {name} ({values})")
        await transaction.rollback()
    return list(_nodes(json.loads(explained)[0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", []):
        yield from _nodes(inner)


def _literal(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value)
        case list():
            words = (
                "NULL" if each is None else '"' + _text(each).replace("\\", "\\\\").replace('"', '\\"') + '"'
                for each in value
            )
            return f"'{{{', '.join(words)}}}'"
    return f"'{_text(value)}'"


def _text(value: Any) -> str:
    match value:
        case bytes():
            return f"\\x{value.hex()}"
        case timedelta():
            return f"{value.total_seconds()} s"
    return str(value)
