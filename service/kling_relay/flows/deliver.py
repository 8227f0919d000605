"""Deliver: the worker that owns a subscription's shard reads its due deliveries, POSTs them, and settles them.

A fixed number of runners take turns over the lanes, one delivery of each at a time, so that a subscription with a
million pending deliveries has no more of them than its neighbour. A subscriber that hangs holds at most its own
`max_in_flight` runners, and one that fails again and again only a probe's.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol
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
    settle,
)
from kling_relay.core.event import CONTENT_TYPE, render, webhook_id
from kling_relay.core.schedule import Schedule
from kling_relay.flows.delivery_queue import DeliveryQueue, SubscriberEndpoint
from kling_relay.flows.settle import Settlement
from kling_relay.store.deliveries.outbox import DueDelivery, SettledAttempt
from kling_relay.store.postgres.database import Database

ANSWER_KEPT = 16_384
OUTCOME: dict[type[Verdict], str] = {
    Delivered: "delivered",
    Retry: "failed",
    Exhausted: "exhausted",
    Gone: "gone",
}


class Posts(Protocol):
    """How a subscriber is reached; never raises for what a subscriber does."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, now: datetime) -> SubscriberResponse: ...


class Deliver:
    """The runners and their lanes; who feeds the lanes is `flows.feed`."""

    def __init__(
        self,
        database: Database,
        endpoint: Posts,
        *,
        schedule: Schedule,
        now: Callable[[], datetime],
        chance: Callable[[], float],
        source: str,
        concurrency: int,
        observe: Callable[[str, SubscriberResponse], None] = lambda _outcome, _answer: None,
        observe_batch: Callable[[Sequence[SettledAttempt]], None] = lambda _batch: None,
    ) -> None:
        """`source` is our public URL."""
        self._endpoint = endpoint
        self._schedule = schedule
        self._now = now
        self._chance = chance
        self._source = source
        self._observe = observe
        self._observe_batch = observe_batch
        self.changed: Callable[[DeliveryQueue, SubscriptionHealth, Verdict], None] = lambda _queue, _before, _verdict: (
            None
        )
        """Hears of a lane that failed or came back; the feed's to set."""
        self.settlement = Settlement(database, self._settled)
        self.queues: dict[UUID, DeliveryQueue] = {}
        self.hungry = asyncio.Event()
        self._turn: deque[DeliveryQueue] = deque()
        self._parked: deque[asyncio.Future[None]] = deque()
        self._concurrency = concurrency
        self._stopping = False
        self.in_flight = 0

    async def run(self) -> None:
        """Run until `stop`, then finish the attempts in flight and settle them."""
        async with asyncio.TaskGroup() as runners:
            for _ in range(self._concurrency):
                runners.create_task(self._runner())
        await self.settlement.drain()

    def stop(self) -> None:
        """Take nothing new."""
        self._stopping = True
        while self._parked:
            self._wake_one()

    def offer(self, queue: DeliveryQueue) -> None:
        """Let runners take from `queue`, where it has something ready and room for it."""
        if queue.ready and not queue.is_in_turn:
            queue.is_in_turn = True
            self._turn.append(queue)
        for _ in range(min(len(queue.ready), len(self._parked))):
            self._wake_one()

    def _wake_one(self) -> None:
        while self._parked:
            parked = self._parked.popleft()
            if not parked.done():
                parked.set_result(None)
                return

    async def _runner(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            taken = self._next(loop.time())
            if taken is None:
                parked = loop.create_future()
                self._parked.append(parked)
                await parked
                continue
            queue, claim, address = taken
            await self._attempt(queue, claim, address)

    def _next(self, now: float) -> tuple[DeliveryQueue, DueDelivery, SubscriberEndpoint] | None:
        """Take one delivery of the lane whose turn it is; a lane without room leaves the round until it has some."""
        while self._turn:
            queue = self._turn.popleft()
            if queue.ready and queue.address and queue.room(now) > 0:
                claim = queue.ready.popleft()
                queue.in_flight += 1
                self.in_flight += 1
                if queue.ready:
                    self._turn.append(queue)
                else:
                    queue.is_in_turn = False
                return queue, claim, queue.address
            queue.is_in_turn = False
        return None

    async def _attempt(self, queue: DeliveryQueue, claim: DueDelivery, address: SubscriberEndpoint) -> None:
        now = self._now()
        try:
            answer = await self._post(claim, address, now)
        except Exception as error:  # noqa: BLE001 - what one delivery trips over must not end all others; it is told
            answer = SubscriberResponse(
                status=None, error=f"internal: {type(error).__name__}", retry_after=None, body=b"", latency=0
            )
        finally:
            queue.in_flight -= 1
            self.in_flight -= 1
        self._judge(queue, claim, answer, now)

    async def _post(self, claim: DueDelivery, address: SubscriberEndpoint, now: datetime) -> SubscriberResponse:
        event = claim.event
        name = webhook_id(event.subject, event.sequence)
        body = render(event, address.format, self._source)
        until = address.secrets_until
        secrets = address.secrets[:1] if until is not None and now >= until else address.secrets
        headers = {
            **address.headers,
            "Content-Type": CONTENT_TYPE[address.format],
            "webhook-id": name,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signature.sign(secrets, name, now, body),
        }
        if claim.trace:
            headers["traceparent"] = claim.trace
        return await self._endpoint.post(address.url, headers, body, now)

    def _judge(self, queue: DeliveryQueue, claim: DueDelivery, answer: SubscriberResponse, now: datetime) -> None:
        attempt = claim.attempt + 1
        verdict = settle(attempt, answer, self._schedule, self._chance())
        outcome = OUTCOME[type(verdict)]
        self._observe(outcome, answer)
        before, queue.health = queue.health, queue.health.after(verdict, now)
        loop_now = asyncio.get_running_loop().time()
        if wait := queue.health.probe_wait():
            queue.probe_at = loop_now + wait
            queue.wake_at = min(queue.wake_at, queue.probe_at)
        if queue.health is not HEALTHY or before is not HEALTHY:
            self.changed(queue, before, verdict)
        self.settlement.put(
            SettledAttempt(
                subscription=queue.id,
                subject=claim.event.subject,
                sequence=claim.event.sequence,
                attempt=attempt,
                outcome=outcome,
                wait=verdict.wait if isinstance(verdict, Retry) else 0.0,
                at=now,
                latency=answer.latency,
                status=answer.status,
                error=answer.error,
                answer=answer.body[:ANSWER_KEPT] or None,
            )
        )
        self.offer(queue)
        if queue.more and len(queue.ready) < queue.low_water:
            self.hungry.set()

    def _settled(self, batch: Sequence[SettledAttempt]) -> None:
        self._observe_batch(batch)
        loop_now = asyncio.get_running_loop().time()
        for one in batch:
            queue = self.queues.get(one.subscription)
            if queue is None:
                continue
            queue.let_go_of((one.subject, one.sequence), one.attempt)
            if one.outcome == OUTCOME[Retry]:  # its wait began as it was written down
                queue.wake_at = min(queue.wake_at, loop_now + one.wait)
            if queue.is_ordered:
                queue.more = True
                self.hungry.set()
