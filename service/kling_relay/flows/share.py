"""A share: what one client's subscriptions at one origin (scheme, host and port) have in flight, with a breaker.

The breaker counts attempts without any response. Once it is open, subscriptions at this origin that were not delivered
to since their last failure are probed together, one attempt at a time. It is the client's own, so that nobody can open
it for others by subscribing with an address at their host.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from kling_relay.core.delivery import HEALTHY, SubscriptionHealth

if TYPE_CHECKING:
    from kling_relay.flows.delivery_queue import DeliveryQueue, SubscriberEndpoint
    from kling_relay.store.deliveries.outbox import DueDelivery


@dataclass(slots=True, eq=False, weakref_slot=True)
class OriginLoad:
    """What all clients have in flight at one origin."""

    in_flight: int = 0


@dataclass(slots=True, eq=False, weakref_slot=True)
class ClientLoad:
    """What one client has in flight and in memory, and its shares whose turn will come."""

    in_flight: int = 0
    event_bytes: int = 0
    shares: "deque[Share]" = field(default_factory=deque)
    has_turn: bool = False


@dataclass(slots=True, eq=False, weakref_slot=True)
class Share:
    """One client's attempts at one origin. Times are the event loop's, in seconds."""

    client: ClientLoad
    origin: OriginLoad
    in_flight: int = 0
    queues: "deque[DeliveryQueue]" = field(default_factory=deque)
    """Those whose turn will come."""
    waiting: "deque[DeliveryQueue]" = field(default_factory=deque)
    """Those that wait until the breaker closes, or for their probe of the origin."""
    has_turn: bool = False
    health: SubscriptionHealth = HEALTHY
    probe_at: float = 0.0
    is_probed: bool = False
    is_known: bool = False
    """Whether an attempt failed or recovered here since this worker knows the origin."""

    def fits(self, free: int) -> bool:
        """Return whether another attempt may start while `free` more may be in flight in all (see `fair_shares`)."""
        bound = free - self.in_flight if self.in_flight else 2 * free
        return self.client.in_flight < bound and self.origin.in_flight < bound

    @property
    def is_broken(self) -> bool:
        return self.health is not HEALTHY and self.health.probe_wait() is not None

    def holds_back(self, queue: "DeliveryQueue") -> bool:
        """Return whether `queue` is only probed, because no response came from its origin lately."""
        return self.is_broken and not queue.is_proven

    def may_probe(self, now: float) -> bool:
        return not self.is_probed and now >= self.probe_at

    def learn(self, failing_since: datetime | None) -> None:
        """Note since when a subscription at this origin has failed, as an earlier worker wrote it down."""
        if failing_since is not None and self.health.failures == 0 and not self.is_known:
            since = min(failing_since, self.health.failing_since or failing_since)
            self.health = SubscriptionHealth(0, since)

    def note(self, *, has_response: bool, is_origin_probe: bool, at: datetime, loop_now: float) -> None:
        """Count an attempt that ended. Those that began before the breaker opened do not put off the next probe."""
        self.is_known = True
        if is_origin_probe:
            self.is_probed = False
        if has_response:
            self.health = HEALTHY
        elif is_origin_probe or not self.is_broken:
            self.health = SubscriptionHealth(self.health.failures + 1, self.health.failing_since or at)
            self.probe_at = loop_now + (self.health.probe_wait() or 0.0)


class Attempt(NamedTuple):
    """An attempt in flight, and whether it tests a broken subscription or a broken origin."""

    queue: "DeliveryQueue"
    delivery: "DueDelivery"
    endpoint: "SubscriberEndpoint"
    share: Share
    is_probe: bool
    is_origin_probe: bool
