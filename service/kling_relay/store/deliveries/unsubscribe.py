"""A subscription is deleted with its pending deliveries: in batches, so that nobody waits for a million rows.

It is disabled first, so that no more is fanned out to it, and deleted last. A crash in between leaves a disabled
subscription that can be deleted again.
"""

from datetime import datetime
from uuid import UUID

from kling_relay.core.subscription import shard_of
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Statement

_BATCH = 5000

_SQL = load_sql(__name__)
_CLOSE = Statement(_SQL["close"])
_DELETE = Statement(_SQL["delete_subscription"])
_DELETE_PENDING = Statement(_SQL["delete_pending"])


async def remove(database: Database, client: UUID, identifier: UUID, now: datetime) -> bool:
    """Delete a subscription and its pending deliveries; return whether it existed."""
    if await _CLOSE.scalar(database.pool, id=identifier, client=client, now=now) is None:
        return False
    await _delete_pending(database, identifier)
    await _DELETE.run(database.pool, id=identifier, client=client)
    await _delete_pending(database, identifier)
    return True


async def _delete_pending(database: Database, subscription: UUID) -> None:
    shard = shard_of(subscription.int)
    while True:
        count = await _DELETE_PENDING.run(database.settle, shard=shard, id=subscription, limit=_BATCH)
        if count < _BATCH:
            return
