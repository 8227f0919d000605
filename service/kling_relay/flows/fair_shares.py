"""Fair shares of a worker's capacity: clients take turns, and what hangs leaves room for what does not.

A share (one client's attempts at one origin) may start another attempt only while

    in flight of its client, and in flight of its origin  <  free capacity - in flight of the share

and its first attempt even while they are less than twice the free capacity; as switches divide a buffer among their
ports by dynamic thresholds. So what hangs takes a third of the capacity if it is one client's at one origin, at most
two thirds if it is one client's at many, and equal parts if it is several clients'. However many hang, there is room
for another client, for another of the client's origins, and for another client at the same origin. If nothing hangs,
attempts end before the thresholds matter.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID
from weakref import WeakValueDictionary

from kling_relay.flows.delivery_queue import DeliveryQueue
from kling_relay.flows.share import Attempt, ClientLoad, OriginLoad, Share

CAPACITY = 3
"""The capacity, as a multiple of what one share may have alone."""
RESUME_EVERY = 0.001
"""Seconds between looks at the shares that were over their threshold."""
MAX_GIVEN_UP = 20
"""Queues of a hopeless origin that are given up at once."""


@dataclass(slots=True, eq=False)
class FairShares:
    """The queues whose turn will come, by client and share. Times are the event loop's, in seconds."""

    capacity: int
    in_flight: int = 0
    _clients: deque[ClientLoad] = field(default_factory=deque)
    _held: dict[ClientLoad | Share, None] = field(default_factory=dict)
    """Over their threshold; they keep their turn."""
    _resumed_at: float = 0.0
    _broken: dict[Share, None] = field(default_factory=dict)
    """Shares with queues that wait for the breaker."""
    _client_loads: "WeakValueDictionary[UUID, ClientLoad]" = field(default_factory=WeakValueDictionary)
    _origin_loads: "WeakValueDictionary[str, OriginLoad]" = field(default_factory=WeakValueDictionary)
    _shares: "WeakValueDictionary[tuple[UUID, str], Share]" = field(default_factory=WeakValueDictionary)

    def share_of(self, client: UUID, origin: str) -> Share:
        """Return the share of a client at an origin. It lives as long as a queue or an attempt has it."""
        share = self._shares.get((client, origin))
        if share is None:
            client_load = self._client_loads.get(client)
            if client_load is None:
                client_load = self._client_loads[client] = ClientLoad()
            origin_load = self._origin_loads.get(origin)
            if origin_load is None:
                origin_load = self._origin_loads[origin] = OriginLoad()
            share = self._shares[client, origin] = Share(client_load, origin_load)
        return share

    def offer(self, queue: DeliveryQueue) -> None:
        """Let `queue` have its turn if it has ready deliveries."""
        if queue.ready and not queue.has_turn and queue.share is not None:
            queue.has_turn = True
            queue.share.queues.append(queue)
            self._give_turn(queue.share)

    def take(self, now: float) -> Attempt | None:
        """Start an attempt of the queue whose turn it is, if capacity and thresholds allow one."""
        while self.in_flight < self.capacity:
            free = self.capacity - self.in_flight
            while self._clients:
                client = self._clients.popleft()
                if client.in_flight >= 2 * free:
                    self._held[client] = None
                    continue
                attempt = self._take_from(client, free, now)
                if client.shares:
                    self._clients.append(client)
                else:
                    client.has_turn = False
                if attempt is not None:
                    return attempt
            if not self._held or now - self._resumed_at < RESUME_EVERY or not self._resume(now):
                return None
        return None

    def end(self, attempt: Attempt) -> None:
        """Count an attempt as ended, and give its share the room it leaves."""
        share = attempt.share
        attempt.queue.in_flight -= 1
        share.in_flight -= 1
        share.client.in_flight -= 1
        share.origin.in_flight -= 1
        self.in_flight -= 1
        if self._held:
            free = self.capacity - self.in_flight
            if share in self._held and share.fits(free):
                del self._held[share]
                share.has_turn = False
                self._give_turn(share)
            if share.client in self._held and share.client.in_flight < 2 * free:
                del self._held[share.client]
                self._clients.append(share.client)

    def put_back(self, attempt: Attempt) -> None:
        """Take back the start of an attempt that was not made."""
        self.end(attempt)
        attempt.queue.ready.appendleft(attempt.delivery)
        attempt.queue.trim(1)
        self.offer(attempt.queue)

    def recheck(self, loop_now: float, now: datetime) -> list[DeliveryQueue]:
        """Look again at what was held back. Return some of the queues whose origin has failed for too long."""
        if self._held:
            self._resume(loop_now)
        hopeless: list[DeliveryQueue] = []
        for share in list(self._broken):
            if not share.is_broken:
                self.release(share)
            elif share.health.is_hopeless(now):
                while share.waiting and len(hopeless) < MAX_GIVEN_UP:
                    queue = share.waiting.popleft()
                    queue.has_turn = False
                    hopeless.append(queue)
            elif share.waiting and share.may_probe(loop_now):
                self._requeue(share)
            if not share.waiting:
                self._broken.pop(share, None)
        return hopeless

    def release(self, share: Share) -> None:
        """Let all queues go that waited for a breaker, because it is closed."""
        self._broken.pop(share, None)
        while share.waiting:
            self._requeue(share)

    def _requeue(self, share: Share) -> None:
        share.queues.append(share.waiting.popleft())
        self._give_turn(share)

    def _give_turn(self, share: Share) -> None:
        if not share.has_turn:
            share.has_turn = True
            share.client.shares.append(share)
            if not share.client.has_turn:
                share.client.has_turn = True
                self._clients.append(share.client)

    def _take_from(self, client: ClientLoad, free: int, now: float) -> Attempt | None:
        shares = client.shares
        while shares:
            share = shares.popleft()
            if not share.fits(free):
                self._held[share] = None
                continue
            attempt = self._take_of(share, now)
            if share.queues:
                shares.append(share)
            else:
                share.has_turn = False
            if attempt is not None:
                return attempt
        return None

    def _take_of(self, share: Share, now: float) -> Attempt | None:
        """Take one delivery of the queue whose turn it is. A queue without capacity loses its turn."""
        queues = share.queues
        while queues:
            queue = queues.popleft()
            if queue.share is not share:  # its address has changed
                queue.has_turn = False
                self.offer(queue)
                continue
            endpoint = queue.endpoint
            if not queue.ready or endpoint is None or queue.capacity(now) <= 0:
                queue.has_turn = False
                continue
            is_origin_probe = share.holds_back(queue)
            if is_origin_probe:
                if not share.may_probe(now):
                    share.waiting.append(queue)
                    self._broken[share] = None
                    continue
                share.is_probed = True
            delivery = queue.ready.popleft()
            if queue.ready:
                queues.append(queue)
            else:
                queue.has_turn = False
            queue.in_flight += 1
            share.in_flight += 1
            share.client.in_flight += 1
            share.origin.in_flight += 1
            self.in_flight += 1
            return Attempt(queue, delivery, endpoint, share, queue.is_broken, is_origin_probe)
        return None

    def _resume(self, now: float) -> bool:
        """Give a turn to what is below its threshold again. Return whether there was any."""
        self._resumed_at = now
        free, is_any = self.capacity - self.in_flight, False
        for load in list(self._held):
            if isinstance(load, ClientLoad):
                if load.in_flight < 2 * free:
                    del self._held[load]
                    self._clients.append(load)
                    is_any = True
            elif load.fits(free):
                del self._held[load]
                load.has_turn = False
                self._give_turn(load)
                is_any = True
        return is_any
