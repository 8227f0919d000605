"""Deliver: the worker that owns a subscription's shard POSTs its due deliveries and settles them.

Clients take turns, then each client's shares, then the queues of a share, one delivery at a time: a subscription with a
million pending deliveries gets no more than its neighbour, and what hangs no more than its fair share (`fair_shares`).
One that keeps failing is only probed. `fetch` fills the queues. A runner is a task that makes attempts as long as there
are any; there are never more of them than attempts in flight.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

from kling_relay.core import signature
from kling_relay.core.delivery import (
    HEALTHY,
    MAX_ATTEMPT,
    Delivered,
    Exhausted,
    Gone,
    Retry,
    SubscriberResponse,
    Verdict,
    verdict_on,
)
from kling_relay.core.event import CONTENT_TYPE, render, webhook_id
from kling_relay.core.schedule import Schedule
from kling_relay.flows.clients import SubscriberClient
from kling_relay.flows.delivery_queue import DeliveryQueue, SubscriberEndpoint
from kling_relay.flows.event_memory import EventMemory
from kling_relay.flows.fair_shares import CAPACITY, FairShares
from kling_relay.flows.observer import Observer
from kling_relay.flows.settlement import Settlement
from kling_relay.flows.share import Attempt
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
class _Runners:
    """The group of the running runners; none outside `run`."""

    group: asyncio.TaskGroup | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, eq=False)
class Deliver:
    """The queues and the runners. `source` is our public URL; `random_fraction` returns a random number in [0, 1).

    `concurrency` bounds the attempts of one client at one origin, `CAPACITY` times as much those of all; `memory` the
    bytes of events that are held.
    """

    database: Database
    client: SubscriberClient
    _: KW_ONLY
    schedule: Schedule
    now: Callable[[], datetime]
    random_fraction: Callable[[], float]
    source: str
    concurrency: int
    memory: EventMemory = field(default_factory=EventMemory)
    observer: Observer = field(default_factory=Observer)
    queues: dict[UUID, DeliveryQueue] = field(init=False, default_factory=dict)
    needs_refill: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    """Set when a queue runs low."""
    health_changes: dict[UUID, HealthChange] = field(init=False, default_factory=dict)
    """By subscription; `fetch` takes them out and writes them to the database."""
    _runners: _Runners = field(init=False, default_factory=_Runners)

    @cached_property
    def settlement(self) -> Settlement:
        return Settlement(self.database, self._release)

    @cached_property
    def shares(self) -> FairShares:
        return FairShares(CAPACITY * self.concurrency)

    @property
    def in_flight(self) -> int:
        return self.shares.in_flight

    async def run(self) -> None:
        """Run until `stop`, then finish the attempts in flight and settle them."""
        runners = self._runners
        async with asyncio.TaskGroup() as runners.group:
            self._start_attempts()
            await runners.stopped.wait()
        runners.group = None
        await self.settlement.drain()

    def stop(self) -> None:
        """Start no more attempts."""
        self._runners.stopped.set()

    def offer(self, queue: DeliveryQueue) -> None:
        """Make attempts of `queue` if it has ready deliveries, as soon as it has its turn."""
        self.shares.offer(queue)
        self._start_attempts()

    def recheck(self) -> None:
        """Look again at what was over its share or waits for a probe of its origin."""
        now = self.now()
        for queue in self.shares.recheck(asyncio.get_running_loop().time(), now):
            self.health_changes[queue.id] = HealthChange(queue, Exhausted())
        self._start_attempts()

    def _start_attempts(self) -> None:
        group = self._runners.group
        if group is None:
            return
        loop_now = asyncio.get_running_loop().time()
        while (attempt := self._take(loop_now)) is not None:
            group.create_task(self._run_attempts(attempt))

    async def _run_attempts(self, first: Attempt) -> None:
        loop, attempt = asyncio.get_running_loop(), first
        if attempt.queue.is_only_probed and not (attempt.is_probe or attempt.is_origin_probe):  # since it was taken
            self.shares.put_back(attempt)
            self._start_attempts()
            return
        while True:
            await self._attempt(attempt)
            following = self._take(loop.time())
            if following is None:
                return
            attempt = following

    def _take(self, loop_now: float) -> Attempt | None:
        return None if self._runners.stopped.is_set() else self.shares.take(loop_now)

    async def _attempt(self, attempt: Attempt) -> None:
        now = self.now()
        try:
            response = await self._post(attempt.delivery, attempt.endpoint, now)
        except Exception as error:  # noqa: BLE001 - a bug with one delivery must not stop all others; it is recorded
            response = SubscriberResponse(
                status=None, error=f"internal: {type(error).__name__}", retry_after=None, body=b"", latency=0
            )
        finally:
            self.shares.end(attempt)
        self._settle(attempt, response, now)

    async def _post(self, delivery: DueDelivery, endpoint: SubscriberEndpoint, now: datetime) -> SubscriberResponse:
        event = delivery.event
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
        if delivery.trace:
            headers["traceparent"] = delivery.trace
        return await self.client.post(endpoint.url, headers, body, now)

    def _settle(self, attempt: Attempt, response: SubscriberResponse, now: datetime) -> None:
        queue, delivery = attempt.queue, attempt.delivery
        number = min(delivery.attempt + 1, MAX_ATTEMPT)
        verdict = verdict_on(number, response, self.schedule, self.random_fraction())
        outcome = OUTCOME[type(verdict)]
        self.observer.attempt_made(outcome, response)
        queue.is_proven = outcome == "delivered"
        if attempt.share.health is not HEALTHY or response.status is None:
            self._note_origin(attempt, has_response=response.status is not None, now=now)
        if queue.health is not HEALTHY or not queue.is_proven:
            self._note_health(attempt, verdict, now)
        self.settlement.add(
            SettledAttempt(
                subscription=queue.id,
                subject=delivery.event.subject,
                sequence=delivery.event.sequence,
                attempt=number,
                outcome=outcome,
                wait=verdict.wait if isinstance(verdict, Retry) else 0.0,
                at=now,
                latency=response.latency,
                status=response.status,
                error=response.error,
                answer=response.body[:MAX_RESPONSE] or None,
            )
        )
        self.shares.offer(queue)  # the runner takes the next one
        if queue.may_have_more and len(queue.ready) < queue.low_water:
            self.needs_refill.set()

    def _note_origin(self, attempt: Attempt, *, has_response: bool, now: datetime) -> None:
        share, was_broken = attempt.share, attempt.share.is_broken
        loop_now = asyncio.get_running_loop().time()
        share.note(has_response=has_response, is_origin_probe=attempt.is_origin_probe, at=now, loop_now=loop_now)
        if was_broken and not share.is_broken:
            self.shares.release(share)
            self._start_attempts()
        elif share.is_broken and not was_broken:
            for queue in (*share.queues, *share.waiting):
                if queue.is_only_probed:
                    queue.trim(1)

    def _note_health(self, attempt: Attempt, verdict: Verdict, now: datetime) -> None:
        queue, previous = attempt.queue, attempt.queue.health
        if isinstance(verdict, Delivered) or attempt.is_probe or not queue.is_broken:
            queue.health = previous.after(verdict, now)  # what began before it was broken does not put off the probe
        if wait := queue.health.probe_wait():
            queue.probe_at = asyncio.get_running_loop().time() + wait
            queue.wake_at = min(queue.wake_at, queue.probe_at)
            queue.trim(1)
        was_healthy = previous.failing_since is None
        is_healthy = queue.health.failing_since is None
        is_hopeless = queue.health.is_hopeless(now) or attempt.share.health.is_hopeless(now)
        # each probe has its time, which clients are shown
        if was_healthy != is_healthy or wait is not None or isinstance(verdict, Gone) or is_hopeless:
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
