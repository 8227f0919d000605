"""The outbox: deliveries still to be made, read by the worker that owns their shard, and settled in batches.

Claiming writes nothing. An owner reads on from a cursor in order of due time, holds in memory what it has read, and
every so often walks over all subscriptions that have something (`discover`), which is part of being correct: it finds
what a cursor passed over. Settling is fenced by the attempt number, so that an owner of yesterday changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    REAL,
    Boolean,
    ColumnElement,
    Integer,
    Interval,
    LargeBinary,
    SmallInteger,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from kling_relay.core.event import Event
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Columns, Row, Statement, columns_of, unnested
from kling_relay.store.tables import Time, attempts, events, pending_deliveries

INFINITY: ColumnElement[datetime] = literal_column("'infinity'::timestamptz")


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingSubscription:
    """A subscription with pending deliveries; `due_in` is seconds until the earliest of it (0: due)."""

    subscription: UUID
    shard: int
    due_at: datetime
    due_in: float


def _discover() -> Statement:
    """A loose index scan: one step per subscription, however many deliveries each has."""
    owned = unnested("owned", shard=SmallInteger)
    first = (
        select(pending_deliveries.c.shard, pending_deliveries.c.subscription, pending_deliveries.c.due_at)
        .where(pending_deliveries.c.shard == owned.c.shard)
        .order_by(pending_deliveries.c.subscription, pending_deliveries.c.due_at)
        .limit(1)
        .lateral("first")
    )
    walk = (
        select(first.c.shard, first.c.subscription, first.c.due_at)
        .select_from(owned.join(first, true()))
        .cte("walk", recursive=True)
    )
    following = (
        select(pending_deliveries.c.shard, pending_deliveries.c.subscription, pending_deliveries.c.due_at)
        .where(pending_deliveries.c.shard == walk.c.shard, pending_deliveries.c.subscription > walk.c.subscription)
        .order_by(pending_deliveries.c.subscription, pending_deliveries.c.due_at)
        .limit(1)
        .lateral("following")
    )
    walk = walk.union_all(
        select(following.c.shard, following.c.subscription, following.c.due_at).select_from(
            walk.join(following, true())
        )
    )
    due_in = func.extract("epoch", func.greatest(walk.c.due_at - func.now(), literal_column("interval '0'")))
    return Statement(
        select(walk.c.shard, walk.c.subscription, walk.c.due_at, due_in.cast(REAL).label("due_in")).where(
            walk.c.due_at < INFINITY
        )
    )


_DISCOVER = _discover()


async def discover(database: Database, shards: Sequence[int]) -> list[PendingSubscription]:
    """Return every subscription of these shards with pending deliveries, with its earliest due time."""
    rows = await _DISCOVER.rows(database.settle, owned_shard=list(shards))
    return [PendingSubscription(**dict(row.items())) for row in rows]


_FRESH = Statement(
    select(pending_deliveries.c.subscription, pending_deliveries.c.shard)
    .where(
        pending_deliveries.c.attempt == literal_column("0"),
        pending_deliveries.c.due_at > func.now() - bindparam("since", type_=Interval),
        pending_deliveries.c.due_at <= func.now(),
        pending_deliveries.c.shard == any_(bindparam("shards", type_=ARRAY(SmallInteger))),
    )
    .distinct()
)


async def fresh(database: Database, shards: Sequence[int], since: float) -> list[tuple[UUID, int]]:
    """Return the subscriptions (and their shards) that got something new in the last `since` seconds."""
    rows = await _FRESH.rows(database.settle, shards=list(shards), since=timedelta(seconds=since))
    return [(row["subscription"], row["shard"]) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class DueQuery:
    """How much of a subscription's queue to read: up to `limit` due deliveries from `cursor` (None: the front) on."""

    subscription: UUID
    shard: int
    cursor: datetime | None
    limit: int
    ordered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDelivery:
    """A due delivery with its event; `attempt` counts the attempts already made."""

    subscription: UUID
    attempt: int
    due_at: datetime
    event: Event
    trace: str | None = None

    @property
    def key(self) -> tuple[UUID, int]:
        return (self.event.subject, self.event.sequence)


_WANTED: Columns = {"subscription": Uuid, "shard": SmallInteger, "cursor": Time, "limit": Integer, "ordered": Boolean}


def _read() -> Statement:
    want = unnested("want", **_WANTED)
    earlier = pending_deliveries.alias("earlier")
    blocked = (
        select(earlier.c.subject)
        .where(
            earlier.c.subject == pending_deliveries.c.subject,
            earlier.c.subscription == pending_deliveries.c.subscription,
            earlier.c.sequence < pending_deliveries.c.sequence,
            earlier.c.due_at < INFINITY,
        )
        .exists()
    )
    due = (
        select(
            pending_deliveries.c.subject,
            pending_deliveries.c.sequence,
            pending_deliveries.c.attempt,
            pending_deliveries.c.due_at,
        )
        .where(
            pending_deliveries.c.shard == want.c.shard,
            pending_deliveries.c.subscription == want.c.subscription,
            pending_deliveries.c.due_at >= want.c.cursor,
            pending_deliveries.c.due_at <= func.now(),
            or_(~want.c.ordered, ~blocked),
        )
        .order_by(pending_deliveries.c.due_at)
        .limit(want.c.limit)
        .lateral("due")
    )
    return Statement(
        select(
            want.c.subscription,
            due.c.attempt,
            due.c.due_at,
            due.c.subject,
            due.c.sequence,
            events.c.client,
            events.c.at,
            events.c.type,
            events.c.body,
            events.c.trace,
        ).select_from(
            want.join(due, true()).join(
                events, and_(events.c.subject == due.c.subject, events.c.sequence == due.c.sequence)
            )
        )
    )


_READ = _read()
_START = datetime(2000, 1, 1, tzinfo=UTC)


async def read(database: Database, wanted: Sequence[DueQuery]) -> list[DueDelivery]:
    """Return the due deliveries of these subscriptions, each in order of due time."""
    rows = [(each.subscription, each.shard, each.cursor or _START, each.limit, each.ordered) for each in wanted]
    found = await _READ.rows(database.settle, **columns_of("want", list(_WANTED), rows))
    return [_claim(row) for row in found]


def _claim(row: Row) -> DueDelivery:
    event = Event(
        subject=row["subject"],
        sequence=row["sequence"],
        client=row["client"],
        type=row["type"],
        at=row["at"],
        body=row["body"],
    )
    return DueDelivery(
        subscription=row["subscription"],
        attempt=row["attempt"],
        due_at=row["due_at"],
        event=event,
        trace=row["trace"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledAttempt:
    """An attempt that was made, and what becomes of its delivery.

    `outcome` is delivered, failed (tried again in `wait` seconds), exhausted or gone; `attempt` counts from 1.
    """

    subscription: UUID
    subject: UUID
    sequence: int
    attempt: int
    outcome: str
    wait: float
    at: datetime
    latency: float
    status: int | None
    error: str | None
    answer: bytes | None


_SETTLED: Columns = {
    "subscription": Uuid,
    "subject": Uuid,
    "sequence": SmallInteger,
    "attempt": SmallInteger,
    "outcome": Text,
    "wait": Interval,
    "at": Time,
    "latency": REAL,
    "status": SmallInteger,
    "error": Text,
    "answer": LargeBinary,
}
_LOGGED = [key for key in _SETTLED if key != "wait"]


def _settle() -> Statement:
    done = unnested("done", **_SETTLED)
    this = and_(
        pending_deliveries.c.subject == done.c.subject,
        pending_deliveries.c.sequence == done.c.sequence,
        pending_deliveries.c.subscription == done.c.subscription,
        pending_deliveries.c.attempt == done.c.attempt - literal_column("1"),
    )
    ended = delete(pending_deliveries).where(this, done.c.outcome == literal_column("'delivered'")).cte("ended")
    rest = case((done.c.outcome == literal_column("'exhausted'"), INFINITY), else_=func.now() + done.c.wait)
    again = (
        update(pending_deliveries)
        .values(attempt=done.c.attempt, due_at=rest)
        .where(this, done.c.outcome != literal_column("'delivered'"))
        .cte("again")
    )
    logged = upsert(attempts).from_select(_LOGGED, select(*(done.c[key] for key in _LOGGED))).on_conflict_do_nothing()
    return Statement(logged.add_cte(ended, again))


_SETTLE = _settle()


async def settle(database: Database, settled: Sequence[SettledAttempt]) -> None:
    """Write attempts down and let their deliveries go away, wait or rest; one transaction, any number."""
    rows = [
        (
            each.subscription,
            each.subject,
            each.sequence,
            each.attempt,
            each.outcome,
            timedelta(seconds=each.wait),
            each.at,
            each.latency,
            each.status,
            each.error,
            each.answer,
        )
        for each in sorted(settled, key=lambda each: (each.subject, each.sequence, each.subscription))
    ]
    await _SETTLE.run(database.settle, **columns_of("done", list(_SETTLED), rows))
