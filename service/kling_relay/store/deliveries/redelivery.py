"""Deliveries that a person asks for: one again, those of a time again, and a test event for one subscription alone.

The count of attempts goes on, so the log of attempts has all of them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from kling_relay.core.delivery import Delivery
from kling_relay.core.event import Event
from kling_relay.core.ids import lower_bound
from kling_relay.core.subscription import shard_of
from kling_relay.store.deliveries.fan_out import FAN_OUT
from kling_relay.store.deliveries.subscriptions import Subscription
from kling_relay.store.events.log import HORIZON, START, Cursor
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Runner, Statement, columns_of

MAX_LIFE = timedelta(days=7)
"""A task older than this at the beginning of a replay's time counts as ended before it."""
_BATCH = 2000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SQL = load_sql(__name__, horizon=HORIZON, fan_out=FAN_OUT)
_PUT_BACK = Statement(_SQL["put_back"])
_REPLAY_FAILED = Statement(_SQL["replay_failed"])
_FIND_EVENTS = Statement(_SQL["find_events"])
_PUBLISH_TO = Statement(_SQL["publish_to"])


async def retry(database: Database, keys: Sequence[Delivery]) -> None:
    """Make these deliveries, all of one subscription, due now; what was delivered before is delivered again."""
    await _put_back(database.pool, keys[0].subscription, [(key.subject, key.sequence) for key in keys])


async def _put_back(runner: Runner, subscription: UUID, events: Sequence[tuple[UUID, int]]) -> int:
    return await _PUT_BACK.run(
        runner,
        subscription=subscription,
        shard=shard_of(subscription.int),
        **columns_of("delivery", ["subject", "sequence"], events),
    )


async def replay_failed(database: Database, subscription: UUID, since: datetime, until: datetime) -> int:
    """Make due everything that failed of events in [since, until), and return how many deliveries that is."""
    total = 0
    while True:
        count = await _REPLAY_FAILED.run(
            database.reports,
            subscription=subscription,
            shard=shard_of(subscription.int),
            since=since,
            until=until,
            limit=_BATCH,
        )
        total += count
        if count < _BATCH:
            return total


async def replay_all(
    database: Database, subscription: Subscription, types: Sequence[str], since: datetime, until: datetime
) -> int:
    """Deliver every event of these types in [since, until) to the subscription, and return how many deliveries."""
    total, cursor = 0, START
    while True:
        rows = await _FIND_EVENTS.rows(
            database.reports,
            client=subscription.client,
            subscription=subscription.id,
            is_hook=subscription.hook,
            tx=cursor.tx,
            subject=cursor.subject,
            sequence=cursor.sequence,
            tx_offset=database.tx_offset,
            low=lower_bound(max(since, _EPOCH + MAX_LIFE) - MAX_LIFE),
            high=lower_bound(until),
            since=since,
            until=until,
            types=list(types),
            limit=_BATCH,
        )
        if rows:
            events = [(row["subject"], row["sequence"]) for row in rows]
            total += await _put_back(database.reports, subscription.id, events)
            cursor = Cursor(rows[-1]["tx"], rows[-1]["subject"], rows[-1]["sequence"])
        if len(rows) < _BATCH:
            return total


async def publish_to(database: Database, event: Event, subscription: UUID) -> Delivery | None:
    """Write an event of its own subject and its delivery to one subscription alone; None if that is deleted."""
    is_written = await _PUBLISH_TO.scalar(
        database.pool,
        subscription=subscription,
        subject=event.subject,
        client=event.client,
        at=event.at,
        type=event.type,
        body=event.body,
        tx_offset=database.tx_offset,
    )
    if not is_written:
        return None
    return Delivery(subject=event.subject, sequence=event.sequence, subscription=subscription, attempt=0)
