"""A delivery queue: one subscription's due deliveries in the memory of the worker that owns its shard.

All of it can be lost and read again.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from kling_relay.core.delivery import HEALTHY, MAX_ENDPOINT_AGE, SubscriptionHealth
from kling_relay.core.event import BodyFormat
from kling_relay.core.subscription import Ordering
from kling_relay.store.deliveries.outbox import DueDelivery, DueQuery
from kling_relay.store.deliveries.recipients import Recipient

MAX_READY = 200
"""Deliveries of one subscription that are held in memory, besides those in flight."""

READ_SIZE = 100
"""Deliveries of one subscription that are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberEndpoint:
    """Where and how to POST: a recipient with its secrets and headers decrypted."""

    url: str
    headers: dict[str, str] = field(repr=False)
    format: BodyFormat
    secrets: tuple[str, ...] = field(repr=False)
    secrets_until: datetime | None


@dataclass(slots=True)
class DeliveryQueue:
    """The queue of one subscription. Times are the event loop's, in seconds."""

    id: UUID
    shard: int
    may_have_more: bool = True
    """Whether the database may hold due deliveries that are not here."""
    ready: deque[DueDelivery] = field(default_factory=deque)
    claimed: set[tuple[UUID, int]] = field(default_factory=set)
    """Deliveries that are ready, in flight or not yet settled."""
    settled_during_read: dict[tuple[UUID, int], int] | None = None
    """During a read: the deliveries that were settled meanwhile, each with the number of its attempt."""
    in_flight: int = 0
    cursor: datetime | None = None
    recipient: Recipient | None = None
    endpoint: SubscriberEndpoint | None = None
    refreshed_at: float = float("-inf")
    """When the read of `recipient` and `endpoint` began."""
    health: SubscriptionHealth = HEALTHY
    probe_at: float = 0.0
    """When a broken subscription may be tried again."""
    wake_at: float = float("inf")
    """When something becomes due here: a retry, or the next probe."""
    idle_since: float = 0.0
    has_turn: bool = False
    """Whether it stands in the round. Not kept by id: a forgotten queue may still stand there beside its successor."""

    @property
    def is_ordered(self) -> bool:
        return self.recipient is not None and self.recipient.ordering == Ordering.TASK

    def capacity(self, now: float) -> int:
        """Return how many more attempts may be in flight.

        A broken subscription is only probed, one at a time, and one that was not read for a while waits for that.
        """
        if self.recipient is None or not self.recipient.is_open or self.refreshed_at < now - MAX_ENDPOINT_AGE:
            return 0
        if self.health.probe_wait() is not None:
            return int(self.in_flight == 0 and now >= self.probe_at)
        return self.recipient.max_in_flight - self.in_flight

    def next_read(self, now: float, late_from: datetime) -> DueQuery | None:
        """Return what to read for this queue, or None if nothing has to be read.

        The cursor does not pass `late_from`: the transactions that wrote rows due after it may not have committed. An
        ordered queue reads from the front, because a delivery that was blocked there may have become free.
        """
        if not self.may_have_more or len(self.ready) >= self.low_water or self.capacity(now) <= 0:
            return None
        return DueQuery(
            subscription=self.id,
            shard=self.shard,
            cursor=None if self.is_ordered or not self.cursor else min(self.cursor, late_from),
            limit=READ_SIZE + len(self.claimed),
            ordered=self.is_ordered,
        )

    def release(self, key: tuple[UUID, int], attempt: int) -> None:
        """Give up the claim on a delivery, now that its attempt with this number is on disk."""
        self.claimed.discard(key)
        if self.settled_during_read is not None:
            self.settled_during_read[key] = attempt

    def start_read(self) -> None:
        """Track what changes from now on, because the read will not see it."""
        self.may_have_more = False
        self.settled_during_read = {}

    def abort_read(self) -> None:
        """Have the read repeated, because it failed."""
        self.may_have_more = True
        self.settled_during_read = None

    def finish_read(self, query: DueQuery, deliveries: list[DueDelivery]) -> None:
        """Add the deliveries that were read for `query` and are not here yet.

        The read may return a delivery as it was before it was settled meanwhile. That one must not be sent again.
        """
        settled, self.settled_during_read = self.settled_during_read or {}, None
        for delivery in deliveries:
            if delivery.key not in self.claimed and delivery.attempt >= settled.get(delivery.key, 0):
                self.claimed.add(delivery.key)
                self.ready.append(delivery)
        self.may_have_more = self.may_have_more or len(deliveries) >= query.limit
        if deliveries:
            self.cursor = deliveries[-1].due_at

    @property
    def low_water(self) -> int:
        """With fewer ready deliveries than this, more are read."""
        return MAX_READY - READ_SIZE

    def is_idle(self) -> bool:
        return not (self.ready or self.claimed or self.may_have_more or self.in_flight)
