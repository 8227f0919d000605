"""Shards: which worker delivers to which subscriptions. Leases are rows, so they work behind any pooler.

A worker renews its leases every few seconds, and stops delivering if it could not. A dead worker's shards are free once
its leases have run out. Shares follow from how many workers were seen lately, so nothing has to be configured.
"""

from datetime import timedelta
from uuid import UUID

from kling_relay.core.subscription import SHARDS
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Statement, transaction

_SQL = load_sql(__name__)
_REGISTER = Statement(_SQL["register"])
_FORGET_DEAD = Statement(_SQL["forget_dead"])
_COUNT = Statement(_SQL["count_workers"])
_RENEW = Statement(_SQL["renew"])
_TAKE_FREE = Statement(_SQL["take_free"])
_RELEASE = Statement(_SQL["release"])
_RELEASE_ALL = Statement(_SQL["release_all"])
_UNREGISTER = Statement(_SQL["unregister"])


async def hold(database: Database, worker: UUID, lease: float) -> tuple[set[int], int]:
    """Renew this worker's leases for `lease` seconds, and take free shards up to its fair share.

    Returns the shards it holds and its share. A worker that holds more than its share releases some once nothing of
    them is in flight.
    """
    span = timedelta(seconds=lease)
    async with transaction(database.pool) as connection:
        await _REGISTER.run(connection, worker=worker)
        await _FORGET_DEAD.run(connection, lease=span)
        share = -(-SHARDS // max(1, await _COUNT.scalar(connection)))
        held = {row["shard"] for row in await _RENEW.rows(connection, worker=worker, lease=span)}
        if len(held) < share:
            rows = await _TAKE_FREE.rows(connection, worker=worker, lease=span, limit=share - len(held))
            held |= {row["shard"] for row in rows}
    return held, share


async def release(database: Database, worker: UUID, shards: set[int]) -> None:
    """Let other workers take these shards."""
    await _RELEASE.run(database.pool, worker=worker, shards=sorted(shards))


async def release_all(database: Database, worker: UUID) -> None:
    """Let other workers take everything at once: a clean stop."""
    async with transaction(database.pool) as connection:
        await _RELEASE_ALL.run(connection, worker=worker)
        await _UNREGISTER.run(connection, worker=worker)
