"""Deliveries as their client sees them, newest first: pending ones, and delivered ones from the attempts table.

A list first finds the subscriptions that can have something on the page, then reads the newest of each by its index, so
that another subscription's million rows are never in the way.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from kling_relay.core.delivery import Delivery
from kling_relay.core.ids import MAX_ID
from kling_relay.store.deliveries.delivery_filter import (
    PENDING_WINDOW,
    WINDOW,
    DeliveryFilter,
    subscriptions_to_list,
)
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Runner, Statement

_MAX_SEQUENCE = 2**15 - 1

_SQL = load_sql(__name__)
_LIST = Statement(_SQL["list_deliveries"])
_ATTEMPTS = Statement(_SQL["list_attempts"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDelivery:
    """A delivery with its last attempt; `status` is pending, delivered or exhausted, `attempt` counts the attempts.

    `held` is why it waits although it may be due: its subscription is broken and waits for its probe (at `due_at`),
    paused or disabled.
    """

    subject: UUID
    sequence: int
    subscription: UUID
    status: str
    attempt: int
    held: str | None
    due_at: datetime | None
    type: str | None
    last_at: datetime | None
    last_status: int | None
    last_error: str | None

    @property
    def key(self) -> Delivery:
        return Delivery(
            subject=self.subject, sequence=self.sequence, subscription=self.subscription, attempt=self.attempt
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One attempt, from the log; `latency` in seconds."""

    attempt: int
    at: datetime
    latency: float
    status: int | None
    outcome: str
    error: str | None
    answer: bytes | None


@dataclass(frozen=True, slots=True)
class DeliveryListing:
    """Some deliveries; `after` is where the next page begins, None on the last."""

    deliveries: list[ListedDelivery]
    after: Delivery | None


async def list_deliveries(
    database: Database,
    client: UUID,
    delivery_filter: DeliveryFilter,
    before: Delivery | None,
    limit: int,
    *,
    window: int = WINDOW,
    pending_window: int = PENDING_WINDOW,
) -> DeliveryListing:
    """Return up to `limit` of the client's deliveries, newest task first, starting after `before`.

    If little matches, a page may be short or even empty; its `after` says where to go on.
    """
    return await _list(database.reports, client, delivery_filter, before, limit, window, pending_window)


async def _list(
    runner: Runner,
    client: UUID,
    delivery_filter: DeliveryFilter,
    before: Delivery | None,
    limit: int,
    window: int = WINDOW,
    pending_window: int = PENDING_WINDOW,
) -> DeliveryListing:
    start = before or _last_of(delivery_filter.subject or MAX_ID)
    ids, oldest_subject, is_end = await subscriptions_to_list(
        runner, client, delivery_filter, start.subject, window=window, pending_window=pending_window
    )
    rows = await _LIST.rows(
        runner,
        mine_id=ids,
        subject=start.subject,
        sequence=start.sequence,
        before=start.subscription,
        low=oldest_subject,
        only=delivery_filter.sequence,
        pending=delivery_filter.status in {None, "pending"},
        exhausted=delivery_filter.status in {None, "exhausted"},
        delivered=delivery_filter.status in {None, "delivered"},
        limit=limit + 1,
    )
    deliveries = [ListedDelivery(**row) for row in rows[:limit]]
    if len(rows) > limit:
        return DeliveryListing(deliveries, deliveries[-1].key)
    # nothing below the window's end was looked at: the next page begins with that task
    return DeliveryListing(deliveries, None if is_end else _last_of(UUID(int=oldest_subject.int - 1)))


def _last_of(subject: UUID) -> Delivery:
    """Return the last delivery that a subject can have, in the order of pages."""
    return Delivery(subject=subject, sequence=_MAX_SEQUENCE, subscription=MAX_ID, attempt=0)


async def attempts_of(database: Database, key: Delivery) -> list[AttemptRow]:
    """Return the attempts of a delivery, oldest first. The caller has checked that the delivery is its client's."""
    rows = await _ATTEMPTS.rows(
        database.pool, subscription=key.subscription, subject=key.subject, sequence=key.sequence
    )
    return [AttemptRow(**row) for row in rows]


async def find_delivery(database: Database, client: UUID, key: Delivery) -> ListedDelivery | None:
    """Return the client's delivery of this id, or None."""
    delivery_filter = DeliveryFilter(subscription=key.subscription, subject=key.subject, sequence=key.sequence)
    listing = await _list(database.pool, client, delivery_filter, None, 1)
    return listing.deliveries[0] if listing.deliveries else None
