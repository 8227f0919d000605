"""Deliver: the worker that owns a subscription's shard POSTs its due deliveries and settles them.

A fixed number of runners take turns over the queues, one delivery of each at a time. So a subscription with a million
pending deliveries gets no more runners than its neighbour. A subscriber that hangs holds at most its own
`max_in_flight` runners, and one that keeps failing holds one, for a probe. `fetch` fills the queues.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

from kling_relay.core import signature
from kling_relay.core.delivery import (
    HEALTHY,
    Delivered,
    Exhausted,
    Gone,
    Retry,
    SubscriberResponse,
    SubscriptionHealth,
    Verdict,
    verdict_on,
)
from kling_relay.core.event import CONTENT_TYPE, render, webhook_id
from kling_relay.core.schedule import Schedule
from kling_relay.flows.clients import SubscriberClient
from kling_relay.flows.delivery_queue import DeliveryQueue, SubscriberEndpoint
from kling_relay.flows.observer import Observer
from kling_relay.flows.settlement import Settlement
from kling_relay.store.deliveries.outbox import DueDelivery, SettledAttempt
from kling_relay.store.postgres.database import Database

MAX_RESPONSE = 16_384
"""Bytes of a subscriber's response that are kept."""
OUTCOME: dict[type[Verdict], str] = {
    Delivered: "delivered",
    Retry: "failed",
    Exhausted: "exhausted",
    Gone: "gone",
}


class HealthChange(NamedTuple):
    """A queue whose subscription began or stopped failing, has another probe, is gone, or failed for too long."""

    queue: DeliveryQueue
    verdict: Verdict


@dataclass(slots=True)
class _Round:
    """The queues whose turn will come, and the runners that wait because no queue has a turn."""

    queues: deque[DeliveryQueue] = field(default_factory=deque)
    parked: "deque[asyncio.Future[None]]" = field(default_factory=deque)
    in_flight: int = 0
    is_stopping: bool = False

    def unpark(self) -> None:
        while self.parked:
            parked = self.parked.popleft()
            if not parked.done():
                parked.set_result(None)
                return


@dataclass(frozen=True, eq=False)
class Deliver:
    """The runners and the queues. `source` is our public URL; `random_fraction` returns a random number in [0, 1)."""

    database: Database
    client: SubscriberClient
    _: KW_ONLY
    schedule: Schedule
    now: Callable[[], datetime]
    random_fraction: Callable[[], float]
    source: str
    concurrency: int
    observer: Observer = field(default_factory=Observer)
    queues: dict[UUID, DeliveryQueue] = field(init=False, default_factory=dict)
    needs_refill: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    """Set when a queue runs low."""
    health_changes: dict[UUID, HealthChange] = field(init=False, default_factory=dict)
    """By subscription; `fetch` takes them out and writes them to the database."""
    _round: _Round = field(init=False, default_factory=_Round)

    @cached_property
    def settlement(self) -> Settlement:
        return Settlement(self.database, self._release)

    @property
    def in_flight(self) -> int:
        return self._round.in_flight

    async def run(self) -> None:
        """Run until `stop`, then finish the attempts in flight and settle them."""
        async with asyncio.TaskGroup() as runners:
            for _ in range(self.concurrency):
                runners.create_task(self._run_attempts())
        await self.settlement.drain()

    def stop(self) -> None:
        """Start no more attempts."""
        self._round.is_stopping = True
        while self._round.parked:
            self._round.unpark()

    def offer(self, queue: DeliveryQueue) -> None:
        """Let runners take from `queue` if it has ready deliveries."""
        if queue.ready and not queue.has_turn:
            queue.has_turn = True
            self._round.queues.append(queue)
        for _ in range(min(len(queue.ready), len(self._round.parked))):
            self._round.unpark()

    async def _run_attempts(self) -> None:
        loop, turns = asyncio.get_running_loop(), self._round
        while not turns.is_stopping:
            task = self._next(loop.time())
            if task is None:
                parked = loop.create_future()
                turns.parked.append(parked)
                await parked
                continue
            await self._attempt(*task)

    def _next(self, now: float) -> tuple[DeliveryQueue, DueDelivery, SubscriberEndpoint] | None:
        """Take one delivery of the queue whose turn it is. A queue without capacity leaves the round."""
        queues = self._round.queues
        while queues:
            queue = queues.popleft()
            if queue.ready and queue.endpoint and queue.capacity(now) > 0:
                claim = queue.ready.popleft()
                queue.in_flight += 1
                self._round.in_flight += 1
                if queue.ready:
                    queues.append(queue)
                else:
                    queue.has_turn = False
                return queue, claim, queue.endpoint
            queue.has_turn = False
        return None

    async def _attempt(self, queue: DeliveryQueue, claim: DueDelivery, endpoint: SubscriberEndpoint) -> None:
        now = self.now()
        try:
            response = await self._post(claim, endpoint, now)
        except Exception as error:  # noqa: BLE001 - a bug with one delivery must not stop all others; it is recorded
            response = SubscriberResponse(
                status=None, error=f"internal: {type(error).__name__}", retry_after=None, body=b"", latency=0
            )
        finally:
            queue.in_flight -= 1
            self._round.in_flight -= 1
        self._settle(queue, claim, response, now)

    async def _post(self, claim: DueDelivery, endpoint: SubscriberEndpoint, now: datetime) -> SubscriberResponse:
        event = claim.event
        name = webhook_id(event.subject, event.sequence)
        body = render(event, endpoint.format, self.source)
        until = endpoint.secrets_until
        secrets = endpoint.secrets[:1] if until is not None and now >= until else endpoint.secrets
        headers = {
            **endpoint.headers,
            "Content-Type": CONTENT_TYPE[endpoint.format],
            "webhook-id": name,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signature.sign(secrets, name, now, body),
        }
        if claim.trace:
            headers["traceparent"] = claim.trace
        return await self.client.post(endpoint.url, headers, body, now)

    def _settle(self, queue: DeliveryQueue, claim: DueDelivery, response: SubscriberResponse, now: datetime) -> None:
        attempt = claim.attempt + 1
        verdict = verdict_on(attempt, response, self.schedule, self.random_fraction())
        outcome = OUTCOME[type(verdict)]
        self.observer.attempt_made(outcome, response)
        previous_health, queue.health = queue.health, queue.health.after(verdict, now)
        if wait := queue.health.probe_wait():
            queue.probe_at = asyncio.get_running_loop().time() + wait
            queue.wake_at = min(queue.wake_at, queue.probe_at)
        if queue.health is not HEALTHY or previous_health is not HEALTHY:
            self._track_health(queue, previous_health, verdict, now)
        self.settlement.add(
            SettledAttempt(
                subscription=queue.id,
                subject=claim.event.subject,
                sequence=claim.event.sequence,
                attempt=attempt,
                outcome=outcome,
                wait=verdict.wait if isinstance(verdict, Retry) else 0.0,
                at=now,
                latency=response.latency,
                status=response.status,
                error=response.error,
                answer=response.body[:MAX_RESPONSE] or None,
            )
        )
        self.offer(queue)
        if queue.may_have_more and len(queue.ready) < queue.low_water:
            self.needs_refill.set()

    def _track_health(
        self, queue: DeliveryQueue, previous_health: SubscriptionHealth, verdict: Verdict, now: datetime
    ) -> None:
        was_healthy = previous_health.failing_since is None
        is_healthy = queue.health.failing_since is None
        is_broken = queue.health.probe_wait() is not None  # each probe has its time, which clients are shown
        if was_healthy != is_healthy or is_broken or isinstance(verdict, Gone) or queue.health.is_hopeless(now):
            self.health_changes[queue.id] = HealthChange(queue, verdict)

    def _release(self, batch: Sequence[SettledAttempt]) -> None:
        """Release the claims on attempts that are on disk, and wake their queues when the retries are due."""
        self.observer.attempts_settled(batch)
        loop_now = asyncio.get_running_loop().time()
        for attempt in batch:
            queue = self.queues.get(attempt.subscription)
            if queue is None:
                continue
            queue.release((attempt.subject, attempt.sequence), attempt.attempt)
            if attempt.outcome == OUTCOME[Retry]:  # its wait began when it was written
                queue.wake_at = min(queue.wake_at, loop_now + attempt.wait)
            if queue.is_ordered:
                queue.may_have_more = True
                self.needs_refill.set()
