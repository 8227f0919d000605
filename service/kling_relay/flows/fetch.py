"""Owns shards, fills their delivery queues from the database, and disables subscriptions that only fail.

Fetch learns of new deliveries from a wakeup (same process) and from a check of the newest rows every few dozen
milliseconds, or four times a second once nothing has happened for a while. The scan of everything pending finds what
both missed. Nothing here needs to survive a crash.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from kling_relay.core.delivery import HEALTHY, MAX_ENDPOINT_AGE, Delivered, Gone, Retry, SubscriptionHealth
from kling_relay.core.event import BodyFormat, EventType, make_event
from kling_relay.core.subscription import origin_of
from kling_relay.flows.deliver import Deliver, HealthChange
from kling_relay.flows.delivery_queue import DeliveryQueue, SubscriberEndpoint
from kling_relay.flows.observer import Observer
from kling_relay.flows.wakeup import Wakeup
from kling_relay.store.access.encryption import DecryptionError
from kling_relay.store.deliveries import outbox, recipients, shards
from kling_relay.store.deliveries.recipients import Recipient
from kling_relay.store.postgres.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchTunables:
    """Intervals and limits; times in seconds."""

    lease: float = 10.0
    heartbeat: float = 2.5
    """Between renewals of the lease."""
    check_every: float = 0.03
    """Between checks of the newest rows."""
    idle_check_every: float = 0.25
    """The same once nothing was found or due for `idle_after`: a check costs half a millisecond of CPU. With an
    embedded database, whose events come from this process, it is a second."""
    idle_after: float = 10.0
    tail: float = 0.3
    """How far back a check looks. The scan finds older rows that a check missed."""
    late: timedelta = timedelta(seconds=2)
    """How long a transaction that wrote a delivery may take to commit before the cursor passes it."""
    scan_every: float = 1.0
    """Between scans; more if a scan itself takes long, so that it costs at most a twentieth of the time."""
    refresh_every: float = 1.0
    """Between reads of the recipients."""
    max_queues: int = 256
    """Queues that are read in one statement."""
    forget_after: float = 60.0
    """How long an idle queue is kept."""


@dataclass(slots=True)
class _Progress:
    """Until when the shards are ours, when the newest rows were last checked, and whether to stop.

    From `idle_from` on checks are rare; `next_wake` is when the first queue has to be woken.
    """

    owned_until: float = 0.0
    last_check: float = 0.0
    idle_from: float = 0.0
    next_wake: float = float("inf")
    is_stopping: bool = False


@dataclass(frozen=True, eq=False)
class Fetch:
    """Runs until cancelled or `stop`. `decrypt` returns a recipient's signing secrets and its headers."""

    database: Database
    deliver: Deliver
    _: KW_ONLY
    worker: UUID
    wakeup: Wakeup
    now: Callable[[], datetime]
    new_id: Callable[[datetime], UUID]
    decrypt: Callable[[Recipient], tuple[tuple[str, ...], dict[str, str]]]
    observer: Observer = field(default_factory=Observer)
    tunables: FetchTunables = FetchTunables()
    shards: set[int] = field(init=False, default_factory=set)
    """The shards that this worker owns."""
    _progress: _Progress = field(init=False, default_factory=_Progress)

    async def run(self) -> None:
        """Own shards, scan and check until `stop`. While the database is unavailable, try again."""
        tunables = self.tunables
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._repeat(tunables.heartbeat, self._renew_lease))
                tasks.create_task(self._run_scans())
                tasks.create_task(self._repeat(tunables.refresh_every, self._refresh))
                tasks.create_task(self._run_checks())
        finally:
            self.shards.clear()

    def stop(self) -> None:
        """Read nothing more."""
        self._progress.is_stopping = True
        self.wakeup.notify()

    async def leave(self) -> None:
        """Give the shards to other workers at once."""
        await shards.release_all(self.database, self.worker)

    async def _repeat(self, seconds: float, act: Callable[[], object]) -> None:
        while not self._progress.is_stopping:
            try:
                await act()  # type: ignore[misc]  # every act is a coroutine function
            except Exception as error:  # noqa: BLE001 - the worker depends on this loop
                self.observer.database_failed("fetch", error)
            await asyncio.sleep(seconds)

    async def _renew_lease(self) -> None:
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        owned_shards, share = await shards.hold(self.database, self.worker, self.tunables.lease)
        self._progress.owned_until = started_at + self.tunables.lease * 0.8
        surplus = len(owned_shards) - share
        if surplus > 0:
            busy_shards = {queue.shard for queue in self.deliver.queues.values() if queue.in_flight or queue.claimed}
            released_shards = set(sorted(owned_shards, key=lambda shard: (shard in busy_shards, shard))[:surplus])
            owned_shards -= released_shards
            self._forget(lambda queue: queue.shard in released_shards)
            # settle what is in flight there first, so that the next owner does not send it again
            await self.deliver.settlement.drain()
            await shards.release(self.database, self.worker, released_shards)
        lost_shards = self.shards - owned_shards
        self._forget(lambda queue: queue.shard in lost_shards)
        new_shards = owned_shards - self.shards
        self.shards.clear()
        self.shards.update(owned_shards)
        if new_shards:
            await self._add_pending(await outbox.discover(self.database, sorted(new_shards)))

    def _forget(self, is_forgotten: Callable[[DeliveryQueue], bool]) -> None:
        for queue in [queue for queue in self.deliver.queues.values() if is_forgotten(queue)]:
            queue.forget()
            del self.deliver.queues[queue.id]

    async def _run_scans(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._progress.is_stopping:
            started_at = loop.time()
            try:
                if self.shards:
                    await self._add_pending(await outbox.discover(self.database, sorted(self.shards)))
            except Exception as error:  # noqa: BLE001 - the worker depends on this loop
                self.observer.database_failed("fetch", error)
            await asyncio.sleep(max(self.tunables.scan_every, 20 * (loop.time() - started_at)))

    async def _add_pending(self, pending: Sequence[outbox.PendingSubscription]) -> None:
        loop_now = asyncio.get_running_loop().time()
        for subscription in pending:
            queue = self._queue(subscription.subscription, subscription.shard)
            if subscription.due_in <= 0:
                queue.may_have_more = True
                # not from the very front: deliveries that were made there may not be vacuumed yet
                queue.cursor = min(queue.cursor, subscription.due_at) if queue.cursor else subscription.due_at
                self.deliver.offer(queue)
            else:
                queue.wake_at = min(queue.wake_at, loop_now + subscription.due_in)
        await self._refresh()
        if pending:
            self.deliver.needs_refill.set()

    def _queue(self, subscription: UUID, shard: int) -> DeliveryQueue:
        queue = self.deliver.queues.get(subscription)
        if queue is None:
            queue = self.deliver.queues[subscription] = DeliveryQueue(
                id=subscription, shard=shard, memory=self.deliver.memory
            )
        return queue

    async def _refresh(self) -> None:
        """Read the recipients of all queues again, so that a pause or a new secret takes effect in a second or two."""
        queues = list(self.deliver.queues.values())
        size = self.tunables.max_queues * 4
        for start in range(0, len(queues), size):
            part = queues[start : start + size]
            began_at = asyncio.get_running_loop().time()
            recipients_by_id = await recipients.read(self.database, [queue.id for queue in part])
            for queue in part:
                if queue.refreshed_at <= began_at:  # else a read that began later has ended already
                    was_stale = queue.refreshed_at < began_at - MAX_ENDPOINT_AGE
                    queue.refreshed_at = began_at
                    self._set_recipient(queue, recipients_by_id.get(queue.id))
                    if was_stale:
                        self.deliver.offer(queue)
        loop_now = asyncio.get_running_loop().time()
        for queue in queues:
            if not queue.is_idle() or queue.wake_at < float("inf") or queue.health is not HEALTHY:
                queue.idle_since = loop_now
        self._forget(lambda queue: loop_now - queue.idle_since > self.tunables.forget_after)

    def _set_recipient(self, queue: DeliveryQueue, recipient: Recipient | None) -> None:
        if recipient is None or recipient == queue.recipient:
            queue.recipient = recipient
            return
        if recipient.failing_since != queue.health.failing_since and (
            queue.recipient is None or recipient.failing_since is None
        ):
            queue.health = SubscriptionHealth(0, recipient.failing_since)
            if recipient.probe_at is not None:  # a former worker's: this one sends until it knows better
                self.deliver.health_changes[queue.id] = HealthChange(queue, Retry(0))
        was_open = queue.recipient is not None and queue.recipient.is_open
        queue.recipient = recipient
        queue.share = self.deliver.shares.share_of(recipient.client, origin_of(recipient.url))
        queue.share.learn(recipient.failing_since)
        if not recipient.is_open:
            queue.trim(0)
        try:
            secrets, headers = self.decrypt(recipient)
        except DecryptionError as error:  # its key was removed from RELAY_SIGNING_KEYS: nothing can be signed
            queue.endpoint = None
            self.observer.secrets_unreadable(queue.id, error)
            return
        queue.endpoint = SubscriberEndpoint(
            url=recipient.url,
            headers=headers,
            format=BodyFormat(recipient.format),
            secrets=secrets,
            secrets_until=recipient.old_secrets_until,
        )
        if recipient.is_open and not was_open:
            queue.may_have_more = True
            queue.cursor = None
            self.deliver.offer(queue)

    async def _run_checks(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._progress.is_stopping:
            is_woken = await self._wait_for_work()
            try:
                if loop.time() > self._progress.owned_until:
                    continue
                await self._check(is_woken=is_woken)
                await self._write_health_changes()
            except Exception as error:  # noqa: BLE001 - the worker depends on this loop
                self.observer.database_failed("fetch", error)
                await asyncio.sleep(0.5)

    async def _wait_for_work(self) -> bool:
        """Wait for a wakeup, a queue that runs low, or the next check. Return whether there may be new deliveries."""
        wakeup_wait = asyncio.ensure_future(self.wakeup.wait(self._time_to_check()))
        refill_wait = asyncio.ensure_future(self.deliver.needs_refill.wait())
        await asyncio.wait({wakeup_wait, refill_wait}, return_when=asyncio.FIRST_COMPLETED)
        is_refill_needed = refill_wait.done()
        refill_wait.cancel()
        self.deliver.needs_refill.clear()
        if not wakeup_wait.done():
            wakeup_wait.cancel()
            return False
        if wakeup_wait.result():
            self._note_work()
            return True
        return not is_refill_needed

    def _time_to_check(self) -> float:
        """Return the seconds until the next check, if nothing wakes this flow before."""
        loop_now, tunables = asyncio.get_running_loop().time(), self.tunables
        if loop_now < self._progress.idle_from:
            return tunables.check_every
        return max(tunables.check_every, min(tunables.idle_check_every, self._progress.next_wake - loop_now))

    def _note_work(self) -> None:
        self._progress.idle_from = asyncio.get_running_loop().time() + self.tunables.idle_after

    async def _check(self, *, is_woken: bool) -> None:
        loop_now = asyncio.get_running_loop().time()
        if is_woken or loop_now - self._progress.last_check >= self.tunables.check_every:
            await self._check_newest(loop_now)
        for queue in self.deliver.queues.values():
            if queue.wake_at <= loop_now:
                # a retry may have woken a broken queue early: it still has to be woken for its next probe
                queue.wake_at = queue.probe_at if queue.probe_at > loop_now else float("inf")
                queue.may_have_more = True
                self.deliver.offer(queue)
        self.deliver.recheck()
        self._progress.next_wake = min((queue.wake_at for queue in self.deliver.queues.values()), default=float("inf"))
        await self._fill(loop_now)

    async def _check_newest(self, loop_now: float) -> None:
        tail, progress = self.tunables.tail, self._progress
        since = min(max(tail, loop_now - progress.last_check + tail), self.tunables.lease)
        progress.last_check = loop_now
        is_new = False
        for subscription, shard in await outbox.fresh(self.database, sorted(self.shards), since):
            queue = self._queue(subscription, shard)
            queue.may_have_more = True
            self._note_work()
            is_new = is_new or queue.recipient is None
        if is_new:
            await self._refresh()

    async def _fill(self, loop_now: float) -> None:
        reads = self._next_reads(loop_now)
        if not reads:
            return
        self._note_work()
        try:
            deliveries, large_events = await outbox.read(self.database, [query for _, query in reads])
        except BaseException:
            for queue, _ in reads:
                queue.abort_read()
            raise
        for queue, query in reads:
            if self.deliver.queues.get(queue.id) is queue:
                queue.finish_read(query, deliveries.get(queue.id, []), large_events.get(queue.id, 0))
                self.deliver.offer(queue)
            else:
                queue.abort_read()

    def _next_reads(self, loop_now: float) -> list[tuple[DeliveryQueue, outbox.DueQuery]]:
        """Begin the reads of queues to fill. If there are too many, the returned queues go to the end of the order."""
        late_from = self.now() - self.tunables.late
        queues, max_queues = self.deliver.queues, self.tunables.max_queues
        reads = []
        for queue in queues.values():
            query = queue.next_read(loop_now, late_from)
            if query is not None:
                queue.start_read(query)
                reads.append((queue, query))
                if len(reads) == max_queues:
                    break
        if len(reads) == max_queues:
            for queue, _ in reads:
                queues[queue.id] = queues.pop(queue.id)
        return reads

    async def _write_health_changes(self) -> None:
        changes = self.deliver.health_changes
        loop = asyncio.get_running_loop()
        while changes:
            _, (queue, verdict) = changes.popitem()
            if isinstance(verdict, Gone):
                await self._disable(queue, "the subscriber answered 410 Gone")
            elif queue.is_hopeless(self.now()):
                await self._disable(queue, "no delivery succeeded for five days")
            else:
                since = None if isinstance(verdict, Delivered) else queue.health.failing_since
                probe_at = None
                if queue.health.probe_wait() is not None:
                    probe_at = self.now() + timedelta(seconds=queue.probe_at - loop.time())
                await recipients.set_failing(self.database, queue.id, since, probe_at)

    async def _disable(self, queue: DeliveryQueue, reason: str) -> None:
        if queue.recipient is None:
            return
        now = self.now()
        event = make_event(
            subject=self.new_id(now),
            sequence=1,
            client=queue.recipient.client,
            event_type=EventType.SUBSCRIPTION_DISABLED,
            at=now,
            content={"subscription_id": str(queue.id), "url": queue.recipient.url, "reason": reason},
        )
        if await recipients.disable(self.database, queue.id, reason, event):
            self.observer.subscription_disabled(queue.id, reason)
            self.wakeup.notify()
        await self._refresh()
