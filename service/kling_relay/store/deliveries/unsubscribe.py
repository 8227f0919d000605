"""A subscription is deleted with its pending deliveries: in batches, so that nobody waits for a million rows.

It is marked as deleted first: every statement that starts then writes nothing for it. Those that started before may yet
commit deliveries (a callback's fan-out, a replay, a test event), so their end is awaited before the rows are deleted,
and the subscription last. What a crash or a transaction that does not end leaves marked, housekeeping deletes later.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Runner, Statement
from kling_relay.store.postgres.writers import MAX_WAIT, wait_for_writers

_BATCH = 5000
_HOOKS = 1000
"""Hooks that are removed at once."""
_TABLE = "pending_deliveries"

_SQL = load_sql(__name__)
_CLOSE = Statement(_SQL["close"])
_CLOSE_UNUSED_HOOKS = Statement(_SQL["close_unused_hooks"])
_LIST_CLOSED = Statement(_SQL["list_closed"])
_DELETE_PENDING = Statement(_SQL["delete_pending"])
_DELETE_CLOSED = Statement(_SQL["delete_closed"])


async def remove(
    database: Database, client: UUID, identifier: UUID, now: datetime, *, max_wait: float = MAX_WAIT
) -> bool:
    """Delete a subscription and its pending deliveries; return whether it existed.

    If a transaction that may write for it does not end within `max_wait` seconds, housekeeping deletes the rest.
    """
    if await _CLOSE.scalar(database.pool, id=identifier, client=client, now=now) is None:
        return False
    await _delete(database.settle, [identifier], max_wait)
    return True


async def remove_unused_hooks(runner: Runner, now: datetime, unused_since: datetime) -> int:
    """Delete the hooks that no order has named since then, and what is marked as deleted; return how many hooks."""
    total = 0
    while True:
        rows = await _CLOSE_UNUSED_HOOKS.rows(runner, now=now, unused_since=unused_since, limit=_HOOKS)
        total += len(rows)
        closed = [row["id"] for row in await _LIST_CLOSED.rows(runner, limit=_HOOKS)]
        if not closed or not await _delete(runner, closed, MAX_WAIT):
            return total


async def _delete(runner: Runner, subscriptions: Sequence[UUID], max_wait: float) -> bool:
    """Delete subscriptions that are marked; False if a transaction that may write for them does not end."""
    if not await wait_for_writers(runner, _TABLE, max_wait):
        return False
    while await _DELETE_PENDING.scalar(runner, ids=list(subscriptions), limit=_BATCH):
        pass
    await _DELETE_CLOSED.run(runner, ids=list(subscriptions))
    return True
