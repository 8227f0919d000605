"""Reads what reconciliation compares: ledger sums by task, the provider's callbacks, and the total spent."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from kling_relay.core.discrepancy import TaskAccount
from kling_relay.core.ids import lower_bound
from kling_relay.core.task import Status
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Row, Statement

PAGE = 200
MAX_CALLBACKS = 20
"""Callbacks read of one task, the newest ones."""

_SQL = load_sql(__name__)
_TASK_ACCOUNTS = Statement(_SQL["task_accounts"])
_ACCEPTED_CALLBACKS = Statement(_SQL["accepted_callbacks"])
_TOTAL_SPENT = Statement(_SQL["total_spent"])


async def task_accounts(database: Database, since: datetime, until: datetime) -> AsyncIterator[list[TaskAccount]]:
    """Yield the accounts of all tasks recorded in [since, until), a page at a time, oldest first."""
    after = UUID(int=0)
    while True:
        rows = await _TASK_ACCOUNTS.rows(
            database.pool, lowest=lower_bound(since), below=lower_bound(until), after=after, limit=PAGE
        )
        if not rows:
            return
        yield [_task_account(row) for row in rows]
        after = rows[-1]["id"]


async def accepted_callbacks(database: Database, tasks: Sequence[UUID]) -> dict[UUID, list[bytes]]:
    """Return by task the bodies of its newest accepted callbacks (outcome moved or stale), oldest first."""
    bodies: dict[UUID, list[bytes]] = {}
    for row in await _ACCEPTED_CALLBACKS.rows(database.pool, tasks=list(tasks), limit=MAX_CALLBACKS):
        bodies.setdefault(row["task"], []).append(row["body"])
    return bodies


async def total_spent(database: Database, currency: str) -> Decimal:
    """Return what all clients have charged and reserved together, ever."""
    total: Decimal = await _TOTAL_SPENT.scalar(database.pool, currency=currency)
    return total


def _task_account(row: Row) -> TaskAccount:
    return TaskAccount(
        task=row["id"],
        client=row["name"] or "",
        kind=row["kind"],
        status=Status(row["status"]),
        quote=row["quote"],
        reserved=row["reserved"],
        charged=row["charged"],
        entries=tuple(row["entries"]),
        is_unknown=row["state"] in {"unknown", "sending"},
        provider_task_id=row["provider_task_id"],
    )
