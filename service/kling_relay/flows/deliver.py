"""Deliver: the worker that owns a subscription's shard reads its due deliveries, POSTs them, and settles them.

A fixed number of runners take turns over the lanes, one delivery of each at a time, so that a subscription with a
million outstanding has no more of them than its neighbour. A subscriber that hangs holds at most its own
`max_in_flight` runners, and one that fails again and again only a probe's.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from kling_relay.core import signature
from kling_relay.core.delivery import HEALTHY, Answer, Delivered, Exhausted, Gone, Health, Retry, Verdict, settle
from kling_relay.core.event import CONTENT_TYPE, dress, webhook_id
from kling_relay.core.schedule import Schedule
from kling_relay.flows.delivery_queue import Address, Lane
from kling_relay.flows.settle import Settlement
from kling_relay.store.deliveries.outbox import Claim, Settled
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

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, now: datetime) -> Answer: ...


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
        observe: Callable[[str, Answer], None] = lambda _outcome, _answer: None,
        observe_batch: Callable[[Sequence[Settled]], None] = lambda _batch: None,
    ) -> None:
        """`source` is our public URL."""
        self._endpoint = endpoint
        self._schedule = schedule
        self._now = now
        self._chance = chance
        self._source = source
        self._observe = observe
        self._observe_batch = observe_batch
        self.changed: Callable[[Lane, Health, Verdict], None] = lambda _lane, _before, _verdict: None
        """Hears of a lane that failed or came back; the feed's to set."""
        self.settlement = Settlement(database, self._settled)
        self.lanes: dict[UUID, Lane] = {}
        self.hungry = asyncio.Event()
        self._turn: deque[Lane] = deque()
        self._in_turn: set[UUID] = set()
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

    def offer(self, lane: Lane) -> None:
        """Let runners take from `lane`, where it has something ready and room for it."""
        if lane.ready and lane.id not in self._in_turn:
            self._in_turn.add(lane.id)
            self._turn.append(lane)
        for _ in range(min(len(lane.ready), len(self._parked))):
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
            lane, claim, address = taken
            await self._attempt(lane, claim, address)

    def _next(self, now: float) -> tuple[Lane, Claim, Address] | None:
        """Take one delivery of the lane whose turn it is; a lane without room leaves the round until it has some."""
        while self._turn:
            lane = self._turn.popleft()
            if lane.ready and lane.address and lane.room(now) > 0:
                claim = lane.ready.popleft()
                lane.in_flight += 1
                self.in_flight += 1
                if lane.ready:
                    self._turn.append(lane)
                else:
                    self._in_turn.discard(lane.id)
                return lane, claim, lane.address
            self._in_turn.discard(lane.id)
        return None

    async def _attempt(self, lane: Lane, claim: Claim, address: Address) -> None:
        now = self._now()
        try:
            answer = await self._post(claim, address, now)
        except Exception as error:  # noqa: BLE001 - what one delivery trips over must not end all others; it is told
            answer = Answer(
                status=None, error=f"internal: {type(error).__name__}", retry_after=None, body=b"", latency=0
            )
        finally:
            lane.in_flight -= 1
            self.in_flight -= 1
        self._judge(lane, claim, answer, now)

    async def _post(self, claim: Claim, address: Address, now: datetime) -> Answer:
        event = claim.event
        name = webhook_id(event.subject, event.sequence)
        body = dress(event, address.format, self._source)
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

    def _judge(self, lane: Lane, claim: Claim, answer: Answer, now: datetime) -> None:
        attempt = claim.attempt + 1
        verdict = settle(attempt, answer, self._schedule, self._chance())
        outcome = OUTCOME[type(verdict)]
        self._observe(outcome, answer)
        before, lane.health = lane.health, lane.health.after(verdict, now)
        loop_now = asyncio.get_running_loop().time()
        if wait := lane.health.probe_wait():
            lane.probe_at = loop_now + wait
            lane.wake_at = min(lane.wake_at, lane.probe_at)
        if lane.health is not HEALTHY or before is not HEALTHY:
            self.changed(lane, before, verdict)
        self.settlement.put(
            Settled(
                subscription=lane.id,
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
        self.offer(lane)
        if lane.more and len(lane.ready) < lane.low_water:
            self.hungry.set()

    def _settled(self, batch: Sequence[Settled]) -> None:
        self._observe_batch(batch)
        loop_now = asyncio.get_running_loop().time()
        for one in batch:
            lane = self.lanes.get(one.subscription)
            if lane is None:
                continue
            lane.let_go_of((one.subject, one.sequence), one.attempt)
            if one.outcome == OUTCOME[Retry]:  # its wait began as it was written down
                lane.wake_at = min(lane.wake_at, loop_now + one.wait)
            if lane.is_ordered:
                lane.more = True
                self.hungry.set()
