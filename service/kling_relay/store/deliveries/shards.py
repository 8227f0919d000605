"""Shards: which worker delivers which subscriptions. Leases in a table, so that it works behind any pooler.

A worker renews its leases every few seconds and stops delivering when it could not; a dead worker's shards are free
when their leases have run out. Shares follow from how many workers were seen of late: nobody is configured.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    Interval,
    SmallInteger,
    Uuid,
    any_,
    bindparam,
    delete,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from kling_relay.core.subscription import SHARDS
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Statement, transaction
from kling_relay.store.tables import shards, workers

_me = bindparam("me", type_=Uuid)
_lease = bindparam("lease", type_=Interval)

_SEEN = Statement(
    upsert(workers)
    .values(id=_me, seen_at=func.now())
    .on_conflict_do_update(index_elements=[workers.c.id], set_={"seen_at": func.now()})
)
_FORGET = Statement(delete(workers).where(workers.c.seen_at < func.now() - _lease))
_COUNT = Statement(select(func.count()).select_from(workers))
_RENEW = Statement(
    update(shards).values(leased_until=func.now() + _lease).where(shards.c.owner == _me).returning(shards.c.shard)
)
_free = (
    select(shards.c.shard)
    .where(or_(shards.c.owner.is_(None), shards.c.leased_until < func.now()))
    .order_by(shards.c.shard)
    .limit(bindparam("limit", type_=Integer))
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
_TAKE = Statement(
    update(shards)
    .values(owner=_me, leased_until=func.now() + _lease)
    .where(shards.c.shard.in_(_free))
    .returning(shards.c.shard)
)
_GIVE = Statement(
    update(shards)
    .values(owner=null(), leased_until=null())
    .where(shards.c.owner == _me, shards.c.shard == any_(bindparam("given", type_=ARRAY(SmallInteger))))
)
_LEAVE = Statement(update(shards).values(owner=null(), leased_until=null()).where(shards.c.owner == _me))
_GONE = Statement(delete(workers).where(workers.c.id == _me))


async def hold(database: Database, worker: UUID, lease: float) -> tuple[set[int], int]:
    """Renew this worker's leases for `lease` seconds, and take free shards up to its fair share.

    Returns the shards it holds and its share; holding more, it gives some away when nothing of them is in flight.
    """
    span = timedelta(seconds=lease)
    async with transaction(database.pool) as connection:
        await _SEEN.run(connection, me=worker)
        await _FORGET.run(connection, lease=span)
        share = -(-SHARDS // max(1, await _COUNT.scalar(connection)))
        held = {row["shard"] for row in await _RENEW.rows(connection, me=worker, lease=span)}
        if len(held) < share:
            taken = await _TAKE.rows(connection, me=worker, lease=span, limit=share - len(held))
            held |= {row["shard"] for row in taken}
    return held, share


async def give(database: Database, worker: UUID, given: set[int]) -> None:
    """Let other workers have these shards."""
    await _GIVE.run(database.pool, me=worker, given=sorted(given))


async def leave(database: Database, worker: UUID) -> None:
    """Let other workers have everything at once: a clean stop."""
    async with transaction(database.pool) as connection:
        await _LEAVE.run(connection, me=worker)
        await _GONE.run(connection, me=worker)


def shard_of(subscription: ColumnElement[UUID]) -> ColumnElement[int]:
    """Return the shard of a subscription in SQL: the last byte of its id (`core.subscription.shard_of`)."""
    return func.get_byte(func.uuid_send(subscription), 15)
