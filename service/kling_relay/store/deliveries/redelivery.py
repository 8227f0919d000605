"""Deliveries made again at a person's wish: one retried, a time's worth replayed, and a test event for one
subscription alone. Attempts go on being counted, so that the log of attempts tells the whole story.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    SmallInteger,
    Text,
    Uuid,
    any_,
    bindparam,
    func,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql

from kling_relay.core.delivery import Delivery
from kling_relay.core.event import Event
from kling_relay.core.ids import lower_bound
from kling_relay.core.subscription import shard_of as shard_number
from kling_relay.store.deliveries.outbox import INFINITY
from kling_relay.store.deliveries.shards import shard_of
from kling_relay.store.deliveries.subscriptions import Subscription
from kling_relay.store.events.log import START, Cursor, head_tx, this_tx
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Statement, columns_of, unnested
from kling_relay.store.tables import Time, attempts, events, pending_deliveries, tasks

MAX_LIFE = timedelta(days=7)
"""Tasks older than this at the beginning of a replay's time are taken to have ended before it."""
_BATCH = 2000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_OF = bindparam("of", type_=Uuid)
_OUTSTANDING = ["subject", "sequence", "subscription", "shard", "attempt", "due_at"]


def _put_back() -> Statement:
    """Insert what is gone with its attempts counted, and make due what is there."""
    key = unnested("key", subject=Uuid, sequence=SmallInteger)
    made: ColumnElement[int] = (
        select(func.coalesce(func.max(attempts.c.attempt), literal_column("0")))
        .where(
            attempts.c.subscription == _OF,
            attempts.c.subject == key.c.subject,
            attempts.c.sequence == key.c.sequence,
        )
        .scalar_subquery()
    )
    rows = select(key.c.subject, key.c.sequence, _OF, shard_of(_OF), made, func.now())
    put = postgresql.insert(pending_deliveries).from_select(_OUTSTANDING, rows)
    return Statement(
        put.on_conflict_do_update(
            index_elements=[
                pending_deliveries.c.subject,
                pending_deliveries.c.sequence,
                pending_deliveries.c.subscription,
            ],
            set_={"due_at": func.now()},
        )
    )


def _failed() -> Statement:
    """Make due what is exhausted or waits for another attempt, of events of a time."""
    event = (
        select(literal_column("1"))
        .where(
            events.c.subject == pending_deliveries.c.subject,
            events.c.sequence == pending_deliveries.c.sequence,
            events.c.at >= bindparam("since", type_=Time),
            events.c.at < bindparam("until", type_=Time),
        )
        .exists()
    )
    some = (
        select(pending_deliveries.c.subject, pending_deliveries.c.sequence)
        .where(
            pending_deliveries.c.shard == bindparam("shard", type_=SmallInteger),
            pending_deliveries.c.subscription == _OF,
            or_(pending_deliveries.c.due_at == INFINITY, pending_deliveries.c.attempt > literal_column("0")),
            pending_deliveries.c.due_at > func.now(),
            event,
        )
        .limit(bindparam("limit", type_=BigInteger))
        .subquery("some")
    )
    return Statement(
        update(pending_deliveries)
        .values(due_at=func.now())
        .where(
            pending_deliveries.c.subject == some.c.subject,
            pending_deliveries.c.sequence == some.c.sequence,
            pending_deliveries.c.subscription == _OF,
        )
    )


def _matching() -> Statement:
    named = select(literal_column("1")).where(tasks.c.id == events.c.subject, tasks.c.hook == _OF).exists()
    place = tuple_(events.c.tx, events.c.subject, events.c.sequence)
    after = tuple_(
        bindparam("tx", type_=BigInteger), bindparam("subject", type_=Uuid), bindparam("sequence", type_=SmallInteger)
    )
    return Statement(
        select(events.c.tx, events.c.subject, events.c.sequence)
        .where(
            events.c.client == bindparam("client", type_=Uuid),
            place > after,
            events.c.tx < head_tx(),
            events.c.subject >= bindparam("low", type_=Uuid),
            events.c.subject < bindparam("high", type_=Uuid),
            events.c.at >= bindparam("since", type_=Time),
            events.c.at < bindparam("until", type_=Time),
            events.c.type == any_(bindparam("types", type_=ARRAY(Text))),
            or_(~bindparam("is_hook", type_=Boolean), named),
        )
        .order_by(events.c.tx, events.c.subject, events.c.sequence)
        .limit(bindparam("limit", type_=BigInteger))
    )


def _announce() -> Statement:
    told = (
        insert(events)
        .values(
            subject=bindparam("event_subject", type_=Uuid),
            sequence=literal_column("1"),
            client=bindparam("event_client", type_=Uuid),
            tx=this_tx(),
            at=bindparam("event_at", type_=Time),
            type=bindparam("event_type", type_=Text),
            body=bindparam("event_body"),
        )
        .returning(events.c.subject, events.c.sequence)
        .cte("told")
    )
    rows = select(told.c.subject, told.c.sequence, _OF, shard_of(_OF), literal_column("0"), func.now())
    return Statement(insert(pending_deliveries).from_select(_OUTSTANDING, rows))


_PUT_BACK = _put_back()
_FAILED = _failed()
_MATCHING = _matching()
_ANNOUNCE = _announce()


async def retry(database: Database, keys: Sequence[Delivery]) -> None:
    """Make these deliveries, all of one subscription, due now; what was delivered before is delivered again."""
    rows = [(key.subject, key.sequence) for key in keys]
    await _PUT_BACK.run(database.pool, of=keys[0].subscription, **columns_of("key", ["subject", "sequence"], rows))


async def replay_failed(database: Database, subscription: UUID, since: datetime, until: datetime) -> int:
    """Make due all that failed of events in [since, until), and return how many."""
    count = 0
    while True:
        made = await _FAILED.run(
            database.settle,
            of=subscription,
            shard=shard_number(subscription.int),
            since=since,
            until=until,
            limit=_BATCH,
        )
        count += made
        if made < _BATCH:
            return count


async def replay_all(
    database: Database, subscription: Subscription, types: Sequence[str], since: datetime, until: datetime
) -> int:
    """Deliver every event of these types in [since, until) to the subscription, again or at last; return how many."""
    count, at = 0, START
    while True:
        rows = await _MATCHING.rows(
            database.settle,
            client=subscription.client,
            of=subscription.id,
            is_hook=subscription.hook,
            tx=at.tx,
            subject=at.subject,
            sequence=at.sequence,
            tx_offset=database.tx_offset,
            low=lower_bound(max(since, _EPOCH + MAX_LIFE) - MAX_LIFE),
            high=lower_bound(until),
            since=since,
            until=until,
            types=list(types),
            limit=_BATCH,
        )
        if rows:
            keys = [(row["subject"], row["sequence"]) for row in rows]
            await _PUT_BACK.run(database.settle, of=subscription.id, **columns_of("key", ["subject", "sequence"], keys))
            at = Cursor(rows[-1]["tx"], rows[-1]["subject"], rows[-1]["sequence"])
        count += len(rows)
        if len(rows) < _BATCH:
            return count


async def publish_to(database: Database, event: Event, subscription: UUID) -> Delivery:
    """Write an event of its own subject and its delivery to one subscription alone."""
    await _ANNOUNCE.run(
        database.pool,
        of=subscription,
        event_subject=event.subject,
        event_client=event.client,
        event_at=event.at,
        event_type=event.type,
        event_body=event.body,
        tx_offset=database.tx_offset,
    )
    return Delivery(subject=event.subject, sequence=event.sequence, subscription=subscription, attempt=0)
