"""The backlog of the whole database: pending deliveries, by the state of their subscription and how long they are due.

Every part of it has a limit and comes from the index alone: a backlog of millions costs what one of 200,000 does.
"""

from kling_relay.core.subscription import SHARDS
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Row, Statement
from kling_relay.store.stats.readings import AGES, BacklogReading

MAX_SUBSCRIPTIONS = 40
"""Subscriptions read of each shard: ten thousand in all."""
MAX_OF_SUBSCRIPTION = 10_000
MAX_DELIVERIES = 200_000
STATES = ("healthy", "failing", "closed")
_EMPTY = BacklogReading(subscriptions=0, by_age=dict.fromkeys(AGES, 0), oldest_due=0.0)

BACKLOG = Statement(load_sql(__name__)["backlog"])
LIMITS = {
    "shards": SHARDS,
    "max_subscriptions": MAX_SUBSCRIPTIONS,
    "max_of_subscription": MAX_OF_SUBSCRIPTION,
    "max_deliveries": MAX_DELIVERIES,
}


async def read_backlog(database: Database) -> dict[str, BacklogReading]:
    """Return the backlog of the subscriptions in each of STATES."""
    readings = {row["state"]: _reading(row) for row in await BACKLOG.rows(database.pool, **LIMITS)}
    return {state: readings.get(state, _EMPTY) for state in STATES}


def _reading(row: Row) -> BacklogReading:
    return BacklogReading(
        subscriptions=row["subscriptions"],
        by_age={age: row[age] for age in AGES},
        oldest_due=row["oldest_due"],
    )
