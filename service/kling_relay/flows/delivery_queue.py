"""A lane: one subscription's queue in the memory of the worker that owns it. All of it can be lost and read again."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from kling_relay.core.delivery import HEALTHY, SubscriptionHealth
from kling_relay.core.event import BodyFormat
from kling_relay.core.subscription import Ordering
from kling_relay.store.deliveries.outbox import DueDelivery, DueQuery
from kling_relay.store.deliveries.recipients import Recipient

ROOM = 200
"""Deliveries of one subscription that are held in memory at once, besides those in flight."""

BATCH = 100
"""Deliveries of one subscription that are read in one go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberEndpoint:
    """What a target comes to once its secrets and headers are opened."""

    url: str
    headers: dict[str, str] = field(repr=False)
    format: BodyFormat
    secrets: tuple[str, ...] = field(repr=False)
    secrets_until: datetime | None


@dataclass(slots=True)
class DeliveryQueue:
    """`more`: the database may have due deliveries that are not here. Times are the event loop's, in seconds."""

    id: UUID
    shard: int
    more: bool = True
    ready: deque[DueDelivery] = field(default_factory=deque)
    held: set[tuple[UUID, int]] = field(default_factory=set)
    let_go: dict[tuple[UUID, int], int] | None = None
    """While a read is under way: what was settled meanwhile, and after which attempt."""
    in_flight: int = 0
    cursor: datetime | None = None
    target: Recipient | None = None
    address: SubscriberEndpoint | None = None
    health: SubscriptionHealth = HEALTHY
    probe_at: float = 0.0
    wake_at: float = float("inf")
    idle_since: float = 0.0
    is_in_turn: bool = False
    """Whether it stands in the round. Not kept by id: a forgotten queue may still stand there beside its successor."""

    @property
    def is_ordered(self) -> bool:
        return self.target is not None and self.target.ordering == Ordering.TASK

    def room(self, now: float) -> int:
        """Return how many more attempts may be in flight; a broken subscription is only probed, one at a time."""
        if self.target is None or not self.target.is_open:
            return 0
        if self.health.probe_wait() is not None:
            return int(self.in_flight == 0 and now >= self.probe_at)
        return self.target.max_in_flight - self.in_flight

    def wants(self, now: float, late_from: datetime) -> DueQuery | None:
        """Return what to read for this lane, or None where there is no need.

        Rows that were due after `late_from` may yet appear, since who wrote them may not have committed; the cursor
        does not pass it. An ordered lane reads from the front, because what was blocked there may no longer be.
        """
        if not self.more or len(self.ready) >= self.low_water or self.room(now) <= 0:
            return None
        return DueQuery(
            subscription=self.id,
            shard=self.shard,
            cursor=None if self.is_ordered or not self.cursor else min(self.cursor, late_from),
            limit=BATCH + len(self.held),
            ordered=self.is_ordered,
        )

    def let_go_of(self, key: tuple[UUID, int], attempt: int) -> None:
        """Hold a delivery no longer, now that its attempt of this number is on disk."""
        self.held.discard(key)
        if self.let_go is not None:
            self.let_go[key] = attempt

    def begin_read(self) -> None:
        """Take note of what changes from now on, since what is being read will not know of it."""
        self.more = False
        self.let_go = {}

    def give_up_read(self) -> None:
        """Read again: nothing came of it."""
        self.more = True
        self.let_go = None

    def take_in(self, wanted: DueQuery, claims: list[DueDelivery]) -> None:
        """Hold what was read for `wanted` and is not held yet.

        What was settled while it was being read may be among it as it was before: that must not be made again.
        """
        let_go, self.let_go = self.let_go or {}, None
        for claim in claims:
            if claim.key not in self.held and claim.attempt >= let_go.get(claim.key, 0):
                self.held.add(claim.key)
                self.ready.append(claim)
        self.more = self.more or len(claims) >= wanted.limit
        if claims:
            self.cursor = claims[-1].due_at

    @property
    def low_water(self) -> int:
        """Below so many ready deliveries more are read."""
        return ROOM - BATCH

    def is_idle(self) -> bool:
        return not (self.ready or self.held or self.more or self.in_flight)
