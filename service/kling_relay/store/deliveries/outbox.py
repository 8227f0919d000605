"""The outbox: pending deliveries, read by the worker that owns their shard, and settled in batches.

Reading claims nothing. A worker reads on from a cursor in order of due time, remembers what it has read, and every so
often walks over all subscriptions with pending deliveries (`discover`). Correctness rests on that walk: it finds
whatever a cursor passed over. Settling is fenced by the attempt number, so a former owner changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

from kling_relay.core.event import Event
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Row, Statement, columns_of

_SQL = load_sql(__name__)
_DISCOVER = Statement(_SQL["discover"])
_FRESH = Statement(_SQL["list_fresh"])
_READ = Statement(_SQL["read_due"])
_SETTLE = Statement(_SQL["settle"])


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingSubscription:
    """A subscription with pending deliveries; `due_in` is seconds until the earliest of them (0: due)."""

    subscription: UUID
    shard: int
    due_at: datetime
    due_in: float


async def discover(database: Database, shards: Sequence[int]) -> list[PendingSubscription]:
    """Return every subscription of these shards with pending deliveries, with its earliest due time."""
    rows = await _DISCOVER.rows(database.settle, owned_shard=list(shards))
    return [PendingSubscription(**dict(row.items())) for row in rows]


async def fresh(database: Database, shards: Sequence[int], since: float) -> list[tuple[UUID, int]]:
    """Return the subscriptions (and their shards) that got something new in the last `since` seconds."""
    rows = await _FRESH.rows(database.settle, shards=list(shards), since=timedelta(seconds=since))
    return [(row["subscription"], row["shard"]) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class DueQuery:
    """How much of a subscription's queue to read: due deliveries from `cursor` (None: the front) on.

    There are at most `limit` of them, up to the first whose `size` is above `max_size`.
    """

    subscription: UUID
    shard: int
    cursor: datetime | None
    limit: int
    max_size: int
    ordered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDelivery:
    """A due delivery with its event; `attempt` counts the attempts already made.

    `size` is what it takes in memory: the bytes of the event's body, and 1 KiB for the rest.
    """

    subscription: UUID
    attempt: int
    due_at: datetime
    event: Event
    size: int
    trace: str | None = None

    @property
    def key(self) -> tuple[UUID, int]:
        return (self.event.subject, self.event.sequence)


_QUEUE = ("subscription", "shard", "cursor", "limit", "max_size", "ordered")
_START = datetime(2000, 1, 1, tzinfo=UTC)


class DueRead(NamedTuple):
    """What was read, by subscription and in order of due time, up to a too large event; and the size of that."""

    deliveries: dict[UUID, list[DueDelivery]]
    large_events: dict[UUID, int]


async def read(database: Database, queries: Sequence[DueQuery]) -> DueRead:
    """Return the due deliveries of these subscriptions. Those of the same event share its bytes."""
    queues = [
        (query.subscription, query.shard, query.cursor or _START, query.limit, query.max_size, query.ordered)
        for query in queries
    ]
    rows = await _READ.rows(database.settle, **columns_of("queue", _QUEUE, queues))
    deliveries: dict[UUID, list[DueDelivery]] = {}
    large_events: dict[UUID, int] = {}
    events: dict[tuple[UUID, int], Event] = {}
    for row in rows:
        if row["body"] is None:
            large_events.setdefault(row["subscription"], row["size"])
        if large_events and row["subscription"] in large_events:
            continue
        delivery = _due_delivery(row, events)
        deliveries.setdefault(delivery.subscription, []).append(delivery)
    return DueRead(deliveries, large_events)


def _due_delivery(row: Row, events: dict[tuple[UUID, int], Event]) -> DueDelivery:
    key = (row["subject"], row["sequence"])
    event = events.get(key)
    if event is None:
        event = events[key] = Event(
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
        size=row["size"],
        trace=row["trace"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledAttempt:
    """An attempt that was made, and what becomes of its delivery.

    `outcome` is delivered, failed (due again in `wait` seconds), exhausted or gone; `attempt` counts from 1.
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


_DONE = (
    "subscription",
    "subject",
    "sequence",
    "attempt",
    "outcome",
    "wait",
    "at",
    "latency",
    "status",
    "error",
    "answer",
)
_LOCK_ORDER = attrgetter("subject", "sequence", "subscription")


async def settle(database: Database, attempts: Sequence[SettledAttempt]) -> None:
    """Log attempts, and delete their deliveries, make them due again or exhausted; one transaction for all."""
    rows = [
        (
            attempt.subscription,
            attempt.subject,
            attempt.sequence,
            attempt.attempt,
            attempt.outcome,
            timedelta(seconds=attempt.wait),
            attempt.at,
            attempt.latency,
            attempt.status,
            attempt.error,
            attempt.answer,
        )
        for attempt in sorted(attempts, key=_LOCK_ORDER)
    ]
    await _SETTLE.run(database.settle, **columns_of("done", _DONE, rows))
