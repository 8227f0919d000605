"""Feed: keeps the lanes of the shards that this worker owns filled, with a few statements however many lanes there are.

What is new is heard of by the bell (same process), by a hint, or by a look at the tail every few dozen milliseconds;
the walk over everything pending finds what all of these missed. Nothing here needs to survive.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from kling_relay.core.delivery import HEALTHY, Delivered, Gone, SubscriptionHealth, Verdict
from kling_relay.core.event import BodyFormat, EventType, make_event
from kling_relay.flows.deliver import Deliver
from kling_relay.flows.delivery_queue import DeliveryQueue, SubscriberEndpoint
from kling_relay.flows.wakeup import Wakeup
from kling_relay.store.access.encryption import DecryptionError
from kling_relay.store.deliveries import outbox, recipients, shards
from kling_relay.store.deliveries.recipients import Recipient
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import StoreError

LEASE = 10.0
HEARTBEAT = 2.5
WALK_EVERY = 1.0
"""Seconds between walks; more where a walk itself takes long, so that it costs a twentieth of the time at most."""
TARGETS_EVERY = 1.0
LATE = timedelta(seconds=2)
"""How long a transaction that made a delivery may take to commit without the cursor passing it over."""
TAIL = 0.3
"""Seconds of tail looked at on every look; what was written longer ago and missed waits for the walk."""
MAX_QUEUES = 256
"""Lanes read in one statement."""
FORGET_AFTER = 60.0


class Fetch:
    """The flow: `run` until cancelled or `stop`; `open_secrets` gives what signs for a target, and its headers."""

    def __init__(
        self,
        database: Database,
        deliver: Deliver,
        *,
        worker: UUID,
        wakeup: Wakeup,
        now: Callable[[], datetime],
        new_id: Callable[[datetime], UUID],
        open_secrets: Callable[[Recipient], tuple[tuple[str, ...], dict[str, str]]],
        look_every: float = 0.03,
        log: Callable[[str, str], None] = lambda _subscription, _event: None,
    ) -> None:
        """`look_every` is in seconds."""
        self._database = database
        self._deliver = deliver
        deliver.changed = self.turned
        self._worker = worker
        self._wakeup = wakeup
        self._now = now
        self._new_id = new_id
        self._open_secrets = open_secrets
        self._look_every = look_every
        self._log = log
        self.shards: set[int] = set()
        self._held_until = 0.0
        self._stopping = False
        self._turned: dict[UUID, tuple[DeliveryQueue, SubscriptionHealth, Verdict]] = {}
        self._last_look = 0.0

    def turned(self, queue: DeliveryQueue, before: SubscriptionHealth, verdict: Verdict) -> None:
        """Hear of a lane whose health turned (`Deliver.changed`); written down by the next round."""
        was_healthy = before.failing_since is None
        is_healthy = queue.health.failing_since is None
        if was_healthy != is_healthy or isinstance(verdict, Gone) or queue.health.is_hopeless(self._now()):
            self._turned[queue.id] = (queue, before, verdict)

    async def run(self) -> None:
        """Own, walk and look until `stop`; an absent database only makes it wait."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._every(HEARTBEAT, self._own))
                tasks.create_task(self._walks())
                tasks.create_task(self._every(TARGETS_EVERY, self._refresh))
                tasks.create_task(self._looks())
        finally:
            self.shards = set()

    def stop(self) -> None:
        """Feed nothing more."""
        self._stopping = True
        self._wakeup.ring()

    async def leave(self) -> None:
        """Let other workers have the shards at once."""
        await shards.release_all(self._database, self._worker)

    async def _every(self, seconds: float, act: Callable[[], object]) -> None:
        while not self._stopping:
            try:
                await act()  # type: ignore[misc]  # every act is a coroutine function
            except StoreError as error:
                self._log("feed", f"the database failed: {error}")
            await asyncio.sleep(seconds)

    async def _own(self) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        held, share = await shards.hold(self._database, self._worker, LEASE)
        self._held_until = begun + LEASE * 0.8
        surplus = len(held) - share
        if surplus > 0:
            busy = {queue.shard for queue in self._deliver.queues.values() if queue.in_flight or queue.held}
            given = set(sorted(held, key=lambda shard: (shard in busy, shard))[:surplus])
            held -= given
            self._forget(lambda queue: queue.shard in given)
            # what is in flight there is settled first, so that its next owner does not send it again
            await self._deliver.settlement.drain()
            await shards.release(self._database, self._worker, given)
        lost = self.shards - held
        self._forget(lambda queue: queue.shard in lost)
        if new := held - self.shards:
            self.shards = held
            await self._take_found(await outbox.discover(self._database, sorted(new)))
        self.shards = held

    def _forget(self, which: Callable[[DeliveryQueue], bool]) -> None:
        for queue in [queue for queue in self._deliver.queues.values() if which(queue)]:
            queue.ready.clear()
            queue.more = False
            del self._deliver.queues[queue.id]

    async def _walks(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            begun = loop.time()
            try:
                if self.shards:
                    await self._take_found(await outbox.discover(self._database, sorted(self.shards)))
            except StoreError as error:
                self._log("feed", f"the database failed: {error}")
            await asyncio.sleep(max(WALK_EVERY, 20 * (loop.time() - begun)))

    async def _take_found(self, found: Sequence[outbox.PendingSubscription]) -> None:
        loop_now = asyncio.get_running_loop().time()
        for each in found:
            queue = self._queue(each.subscription, each.shard)
            if each.due_in <= 0:
                queue.more = True
                # not from the very front: what was delivered there may not be cleaned away yet
                queue.cursor = min(queue.cursor, each.due_at) if queue.cursor else each.due_at
                self._deliver.offer(queue)
            else:
                queue.wake_at = min(queue.wake_at, loop_now + each.due_in)
        await self._refresh()
        self._deliver.hungry.set()

    def _queue(self, subscription: UUID, shard: int) -> DeliveryQueue:
        queue = self._deliver.queues.get(subscription)
        if queue is None:
            queue = self._deliver.queues[subscription] = DeliveryQueue(id=subscription, shard=shard)
        return queue

    async def _refresh(self) -> None:
        """Read the targets of all lanes again, so that a pause or a new secret holds within a second or two."""
        queues = list(self._deliver.queues.values())
        for start in range(0, len(queues), MAX_QUEUES * 4):
            part = queues[start : start + MAX_QUEUES * 4]
            known = await recipients.read(self._database, [queue.id for queue in part])
            for queue in part:
                self._aim(queue, known.get(queue.id))
        loop_now = asyncio.get_running_loop().time()
        for queue in queues:
            if not queue.is_idle() or queue.wake_at < float("inf") or queue.health is not HEALTHY:
                queue.idle_since = loop_now
        self._forget(lambda queue: loop_now - queue.idle_since > FORGET_AFTER)

    def _aim(self, queue: DeliveryQueue, target: Recipient | None) -> None:
        if target is None or target == queue.target:
            queue.target = target
            return
        if target.failing_since != queue.health.failing_since and (
            queue.target is None or target.failing_since is None
        ):
            queue.health = SubscriptionHealth(0, target.failing_since)
        was_open = queue.target is not None and queue.target.is_open
        queue.target = target
        try:
            secrets, headers = self._open_secrets(target)
        except DecryptionError as error:  # its key was removed from RELAY_SIGNING_KEYS: nothing can be signed
            queue.address = None
            self._log(str(queue.id), f"its secret or headers cannot be decrypted: {error}")
            return
        queue.address = SubscriberEndpoint(
            url=target.url,
            headers=headers,
            format=BodyFormat(target.format),
            secrets=secrets,
            secrets_until=target.old_secrets_until,
        )
        if target.is_open and not was_open:
            queue.more = True
            queue.cursor = None
            self._deliver.offer(queue)

    async def _looks(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            rung = await self._next_look()
            try:
                if loop.time() > self._held_until:
                    continue
                await self._look(rung=rung)
                await self._write_turned()
            except StoreError as error:
                self._log("feed", f"the database failed: {error}")
                await asyncio.sleep(0.5)

    async def _next_look(self) -> bool:
        """Wait for the bell, for a lane that runs dry, or for the next look; return whether something may be new."""
        wakeup = asyncio.ensure_future(self._wakeup.heard(self._look_every))
        hungry = asyncio.ensure_future(self._deliver.hungry.wait())
        await asyncio.wait({wakeup, hungry}, return_when=asyncio.FIRST_COMPLETED)
        was_hungry = hungry.done()
        hungry.cancel()
        self._deliver.hungry.clear()
        if not wakeup.done():
            wakeup.cancel()
            return False
        return wakeup.result() or not was_hungry

    async def _look(self, *, rung: bool) -> None:
        loop_now = asyncio.get_running_loop().time()
        if rung or loop_now - self._last_look >= self._look_every:
            since = min(max(TAIL, loop_now - self._last_look + TAIL), LEASE)
            self._last_look = loop_now
            new = False
            for subscription, shard in await outbox.fresh(self._database, sorted(self.shards), since):
                queue = self._queue(subscription, shard)
                queue.more = True
                new = new or queue.target is None
            if new:
                await self._refresh()
        for queue in self._deliver.queues.values():
            if queue.wake_at <= loop_now:
                # woken early for a retry, a broken queue still has to be woken for its next probe
                queue.wake_at = queue.probe_at if queue.probe_at > loop_now else float("inf")
                queue.more = True
                self._deliver.offer(queue)
        await self._fill(loop_now)

    async def _fill(self, loop_now: float) -> None:
        pairs = self._hungry(loop_now)
        if not pairs:
            return
        for queue, _ in pairs:
            queue.begin_read()
        claims: dict[UUID, list[outbox.DueDelivery]] = {}
        try:
            found = await outbox.read(self._database, [wanted for _, wanted in pairs])
        except BaseException:
            for queue, _ in pairs:
                queue.give_up_read()
            raise
        for claim in found:
            claims.setdefault(claim.subscription, []).append(claim)
        for queue, wanted in pairs:
            if self._deliver.queues.get(queue.id) is queue:
                queue.take_in(wanted, claims.get(queue.id, []))
                self._deliver.offer(queue)

    def _hungry(self, loop_now: float) -> list[tuple[DeliveryQueue, outbox.DueQuery]]:
        """Return the lanes to read for; those of a full list go behind all that did not come to their turn."""
        late_from = self._now() - LATE
        queues = self._deliver.queues
        pairs = []
        for queue in queues.values():
            wanted = queue.wants(loop_now, late_from)
            if wanted is not None:
                pairs.append((queue, wanted))
                if len(pairs) == MAX_QUEUES:
                    break
        if len(pairs) == MAX_QUEUES:
            for queue, _ in pairs:
                queues[queue.id] = queues.pop(queue.id)
        return pairs

    async def _write_turned(self) -> None:
        while self._turned:
            _, (queue, _, verdict) = self._turned.popitem()
            if isinstance(verdict, Gone):
                await self._disable(queue, "the subscriber answered 410 Gone")
            elif queue.health.is_hopeless(self._now()):
                await self._disable(queue, "five days of nothing but failures")
            else:
                since = None if isinstance(verdict, Delivered) else queue.health.failing_since
                await recipients.set_failing(self._database, queue.id, since)

    async def _disable(self, queue: DeliveryQueue, reason: str) -> None:
        if queue.target is None:
            return
        now = self._now()
        event = make_event(
            subject=self._new_id(now),
            sequence=1,
            client=queue.target.client,
            kind=EventType.SUBSCRIPTION_DISABLED,
            at=now,
            content={"subscription_id": str(queue.id), "url": queue.target.url, "reason": reason},
        )
        if await recipients.disable(self._database, queue.id, reason, event):
            self._log(str(queue.id), f"subscription disabled: {reason}")
            self._wakeup.ring()
        await self._refresh()
