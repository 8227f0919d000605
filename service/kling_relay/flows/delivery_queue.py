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
from kling_relay.flows.event_memory import MAX_READ, EventMemory
from kling_relay.flows.share import Share
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
    memory: EventMemory
    may_have_more: bool = True
    """Whether the database may hold due deliveries that are not here."""
    ready: deque[DueDelivery] = field(default_factory=deque)
    claimed: dict[tuple[UUID, int], int] = field(default_factory=dict)
    """Deliveries that are ready, in flight or not yet settled, each with the bytes of its event."""
    claimed_bytes: int = 0
    reserved_bytes: int = 0
    """During a read: the most that it returns."""
    event_size: int = 0
    """The size of the largest event of the last read, if many of that size were too much for one read."""
    settled_during_read: dict[tuple[UUID, int], int] | None = None
    """During a read: the deliveries that were settled meanwhile, each with the number of its attempt."""
    in_flight: int = 0
    cursor: datetime | None = None
    recipient: Recipient | None = None
    endpoint: SubscriberEndpoint | None = None
    share: Share | None = None
    """Known as soon as the recipient is."""
    refreshed_at: float = float("-inf")
    """When the read of `recipient` and `endpoint` began."""
    health: SubscriptionHealth = HEALTHY
    is_proven: bool = False
    """Whether the last attempt succeeded."""
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

    @property
    def is_broken(self) -> bool:
        return self.health is not HEALTHY and self.health.probe_wait() is not None

    @property
    def is_only_probed(self) -> bool:
        """Whether the subscription or its origin is broken. Such a queue holds one delivery, for the probe."""
        return self.is_broken or (self.share is not None and self.share.holds_back(self))

    def is_hopeless(self, now: datetime) -> bool:
        """Return whether only failures came for DISABLE_AFTER, from the subscription or from its client's origin."""
        is_failing = self.health.failures > 0 and self.health.is_hopeless(now)
        return is_failing or (self.share is not None and self.share.is_broken and self.share.health.is_hopeless(now))

    def capacity(self, now: float) -> int:
        """Return how many more attempts may be in flight.

        A broken subscription is only probed, one at a time, and one that was not read for a while waits for that.
        """
        if self.recipient is None or not self.recipient.is_open or self.refreshed_at < now - MAX_ENDPOINT_AGE:
            return 0
        if self.is_broken:
            return int(self.in_flight == 0 and now >= self.probe_at)
        return self.recipient.max_in_flight - self.in_flight

    def next_read(self, now: float, late_from: datetime) -> DueQuery | None:
        """Return what to read for this queue, or None if nothing has to be read or there is no room for it.

        The cursor does not pass `late_from`: the transactions that wrote rows due after it may not have committed. An
        ordered queue reads from the front, because a delivery that was blocked there may have become free.
        """
        if not self.may_have_more or len(self.ready) >= self.low_water or self.capacity(now) <= 0 or not self.share:
            return None
        read_bytes = self.memory.read_size()
        size = max(1, min(READ_SIZE, read_bytes // self.event_size)) if self.event_size else READ_SIZE
        if self.is_only_probed:
            if self.ready:
                return None
            size = 1
        limit = size + len(self.claimed)  # what is claimed may be read again
        max_size = max(self.event_size, read_bytes // size)
        if not self.memory.admits(self.share.client, limit * max_size):
            return None
        return DueQuery(
            subscription=self.id,
            shard=self.shard,
            cursor=None if self.is_ordered or not self.cursor else min(self.cursor, late_from),
            limit=limit,
            max_size=max_size,
            ordered=self.is_ordered,
        )

    def release(self, key: tuple[UUID, int], attempt: int) -> None:
        """Give up the claim on a delivery, now that its attempt with this number is on disk."""
        self._unclaim(key)
        if self.settled_during_read is not None:
            self.settled_during_read[key] = attempt

    def start_read(self, query: DueQuery) -> None:
        """Reserve the room, and track what changes from now on, because the read will not see it."""
        self.may_have_more = False
        self.settled_during_read = {}
        self.reserved_bytes = query.limit * query.max_size
        self._hold(self.reserved_bytes)

    def abort_read(self) -> None:
        """Have the read repeated, because it failed."""
        self.may_have_more = True
        self.settled_during_read = None
        self._hold(-self.reserved_bytes)
        self.reserved_bytes = 0

    def finish_read(self, query: DueQuery, deliveries: list[DueDelivery], large_event: int = 0) -> None:
        """Add the deliveries that were read for `query` and are not here yet.

        The read may return a delivery as it was before it was settled meanwhile. That one must not be sent again.
        `large_event` is the size of the next event, if it was too large for this read.
        """
        settled, self.settled_during_read = self.settled_during_read or {}, None
        total, largest = -self.reserved_bytes, large_event
        self.reserved_bytes = 0
        for delivery in deliveries:
            key, size = delivery.key, delivery.size
            if key not in self.claimed and delivery.attempt >= settled.get(key, 0):
                self.claimed[key] = size
                self.claimed_bytes += size
                total += size
                largest = max(largest, size)
                self.ready.append(delivery)
        self._hold(total)
        self.event_size = largest if largest > MAX_READ // READ_SIZE else 0
        self.may_have_more = self.may_have_more or large_event > 0 or len(deliveries) >= query.limit
        if deliveries:
            self.cursor = deliveries[-1].due_at
        if self.is_only_probed:
            self.trim(1)

    def trim(self, size: int) -> None:
        """Forget all but `size` ready deliveries; they are read again when they are needed."""
        while len(self.ready) > size:
            delivery = self.ready.pop()
            self._unclaim(delivery.key)
            self.may_have_more = True
            self.cursor = min(self.cursor or delivery.due_at, delivery.due_at)

    def forget(self) -> None:
        """Give up everything, because the subscription is another worker's now, or idle."""
        self.ready.clear()
        self.may_have_more = False
        self.claimed.clear()
        self._hold(-self.claimed_bytes)
        self.claimed_bytes = 0

    def _unclaim(self, key: tuple[UUID, int]) -> None:
        size = self.claimed.pop(key, 0)
        self.claimed_bytes -= size
        self._hold(-size)

    def _hold(self, size: int) -> None:
        if self.share is not None:
            self.memory.hold(self.share.client, size)

    @property
    def low_water(self) -> int:
        """With fewer ready deliveries than this, more are read."""
        return MAX_READY - READ_SIZE

    def is_idle(self) -> bool:
        return not (self.ready or self.claimed or self.may_have_more or self.in_flight)
