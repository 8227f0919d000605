"""A subscription is deleted with its pending deliveries, in batches, so that nobody waits for a million rows.

It is closed first, so that nothing more is fanned out to it, and goes last: a crash in between leaves a disabled
subscription that can be deleted again.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, SmallInteger, Uuid, and_, bindparam, delete, func, literal_column, select, update

from kling_relay.core.subscription import shard_of
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Statement
from kling_relay.store.tables import Time, pending_deliveries, subscriptions

_BATCH = 5000
_NOW = bindparam("now", type_=Time)
_OWN = and_(
    subscriptions.c.id == bindparam("of", type_=Uuid), subscriptions.c.client == bindparam("client", type_=Uuid)
)
_CLOSE = Statement(
    update(subscriptions)
    .values(disabled_at=_NOW, disabled_reason="deleted", updated_at=_NOW)
    .where(_OWN)
    .returning(subscriptions.c.id)
)
_DROP = Statement(delete(subscriptions).where(_OWN))
_DROP_OUTSTANDING = Statement(
    delete(pending_deliveries).where(
        literal_column("ctid")
        == func.any(
            func.array(
                select(literal_column("ctid"))
                .select_from(pending_deliveries)
                .where(
                    pending_deliveries.c.shard == bindparam("shard", type_=SmallInteger),
                    pending_deliveries.c.subscription == bindparam("subscription", type_=Uuid),
                )
                .limit(bindparam("limit", type_=BigInteger))
                .scalar_subquery()
            )
        )
    )
)


async def remove(database: Database, client: UUID, identifier: UUID, now: datetime) -> bool:
    """Delete a subscription and its pending deliveries; whether there was one."""
    if await _CLOSE.scalar(database.pool, of=identifier, client=client, now=now) is None:
        return False
    await _drop_outstanding(database, identifier)
    await _DROP.run(database.pool, of=identifier, client=client)
    await _drop_outstanding(database, identifier)
    return True


async def _drop_outstanding(database: Database, subscription: UUID) -> None:
    while True:
        shard = shard_of(subscription.int)
        gone = await _DROP_OUTSTANDING.run(database.settle, shard=shard, subscription=subscription, limit=_BATCH)
        if gone < _BATCH:
            return
