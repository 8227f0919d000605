"""The backlog as a whole: what is pending, by the state of its subscription and for how long it is due.

Subscriptions that have something are found by a loose index scan, of each at most so many deliveries are counted from
the index alone: a backlog of millions costs what one of two hundred thousand does.
"""

from datetime import datetime, timedelta

from sqlalchemy import BigInteger, ColumnElement, Double, and_, case, cast, func, literal_column, or_, select, true

from kling_relay.core.subscription import SHARDS
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Row, Statement
from kling_relay.store.stats.readings import AGES, EVERY_AGE, EXHAUSTED, LATER, OLDEST, Queue
from kling_relay.store.tables import INFINITY, pending_deliveries, subscriptions

MAX_SUBSCRIPTIONS = 40
"""Subscriptions looked at in each shard: ten thousand in all."""
MAX_OF_ONE = 10_000
MAX_DELIVERIES = 200_000
STATES = ("healthy", "failing", "closed")
_NOTHING = Queue(subscriptions=0, by_age=dict.fromkeys(EVERY_AGE, 0), oldest_due=0.0)


def seconds_since(since: ColumnElement[datetime]) -> ColumnElement[float]:
    """Return in SQL how many seconds have passed since; 0 where `since` is null or in the future."""
    return func.coalesce(cast(func.extract("epoch", func.greatest(func.now() - since, timedelta(0))), Double), 0.0)


def _queues() -> Statement:
    """One row per state of subscription: how many of them, their oldest due delivery, and counts by age."""
    shard = select(func.generate_series(0, SHARDS - 1).label("shard")).subquery("every")
    place = (pending_deliveries.c.shard, pending_deliveries.c.subscription, pending_deliveries.c.due_at)
    first = (
        select(*place)
        .where(pending_deliveries.c.shard == shard.c.shard)
        .order_by(pending_deliveries.c.subscription, pending_deliveries.c.due_at)
        .limit(1)
        .lateral("first")
    )
    walk = (
        select(first.c.shard, first.c.subscription, first.c.due_at, literal_column("1").label("place"))
        .select_from(shard.join(first, true()))
        .cte("walk", recursive=True)
    )
    following = (
        select(*place)
        .where(pending_deliveries.c.shard == walk.c.shard, pending_deliveries.c.subscription > walk.c.subscription)
        .order_by(pending_deliveries.c.subscription, pending_deliveries.c.due_at)
        .limit(1)
        .lateral("following")
    )
    walk = walk.union_all(
        select(following.c.shard, following.c.subscription, following.c.due_at, walk.c.place + 1)
        .select_from(walk.join(following, true()))
        .where(walk.c.place < MAX_SUBSCRIPTIONS)
    )
    some = (
        select(pending_deliveries.c.due_at)
        .where(pending_deliveries.c.shard == walk.c.shard, pending_deliveries.c.subscription == walk.c.subscription)
        .order_by(pending_deliveries.c.due_at)
        .limit(MAX_OF_ONE)
        .lateral("some")
    )
    looked_at = select(walk.c.subscription, some.c.due_at).select_from(walk.join(some, true())).limit(MAX_DELIVERIES)
    each = looked_at.subquery("each")
    of_one = (
        select(each.c.subscription, *(func.count().filter(when).label(age) for age, when in _ages(each.c.due_at)))
        .group_by(each.c.subscription)
        .cte("of_one")
    )
    state = case(
        (or_(subscriptions.c.paused_at.is_not(None), subscriptions.c.disabled_at.is_not(None)), "closed"),
        (subscriptions.c.failing_since.is_not(None), "failing"),
        else_="healthy",
    )
    return Statement(
        select(
            state.label("state"),
            func.count().label("subscriptions"),
            seconds_since(func.min(walk.c.due_at).filter(walk.c.due_at <= func.now())).label("oldest_due"),
            *(
                cast(func.coalesce(func.sum(of_one.c[age]), 0), BigInteger).label(age)
                for age, _ in _ages(each.c.due_at)
            ),
        )
        .select_from(
            walk.join(subscriptions, subscriptions.c.id == walk.c.subscription).join(
                of_one, of_one.c.subscription == walk.c.subscription, isouter=True
            )
        )
        .group_by(state)
    )


def _ages(due_at: ColumnElement[datetime]) -> list[tuple[str, ColumnElement[bool]]]:
    """Return each age's name and what is true of a delivery of that age."""
    now = func.now()
    found: list[tuple[str, ColumnElement[bool]]] = [(LATER, and_(due_at > now, due_at < INFINITY))]
    begins: ColumnElement[datetime] = now
    for name, seconds in AGES:
        ends = now - timedelta(seconds=seconds)
        found.append((name, and_(due_at <= begins, due_at > ends)))
        begins = ends
    return [*found, (OLDEST, due_at <= begins), (EXHAUSTED, due_at == INFINITY)]


STATEMENT = _queues()


async def read(database: Database) -> dict[str, Queue]:
    """Return the backlog by STATES of subscriptions."""
    found = {row["state"]: _queue(row) for row in await STATEMENT.rows(database.pool)}
    return {state: found.get(state, _NOTHING) for state in STATES}


def _queue(row: Row) -> Queue:
    return Queue(
        subscriptions=row["subscriptions"],
        by_age={age: row[age] for age in EVERY_AGE},
        oldest_due=row["oldest_due"],
    )
