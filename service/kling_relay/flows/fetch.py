"""Feed: keeps the lanes of the shards that this worker owns filled, with a few statements however many lanes there are.

What is new is heard of by the bell (same process), by a hint, or by a look at the tail every few dozen milliseconds;
the walk over everything outstanding finds what all of these missed. Nothing here needs to survive.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from kling_relay.core.delivery import HEALTHY, Delivered, Gone, Health, Verdict
from kling_relay.core.event import Format, Type, tell
from kling_relay.flows.deliver import Deliver
from kling_relay.flows.delivery_queue import Address, Lane
from kling_relay.flows.wakeup import Bell
from kling_relay.store.access.encryption import SealError
from kling_relay.store.deliveries import outbox, recipients, shards
from kling_relay.store.deliveries.recipients import Target
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
MOST_LANES = 256
"""Lanes read in one statement."""
FORGET_AFTER = 60.0


class Feed:
    """The flow: `run` until cancelled or `stop`; `open_secrets` gives what signs for a target, and its headers."""

    def __init__(
        self,
        database: Database,
        deliver: Deliver,
        *,
        worker: UUID,
        bell: Bell,
        now: Callable[[], datetime],
        new_id: Callable[[datetime], UUID],
        open_secrets: Callable[[Target], tuple[tuple[str, ...], dict[str, str]]],
        look_every: float = 0.03,
        log: Callable[[str, str], None] = lambda _subscription, _event: None,
    ) -> None:
        """`look_every` is in seconds."""
        self._database = database
        self._deliver = deliver
        deliver.changed = self.turned
        self._worker = worker
        self._bell = bell
        self._now = now
        self._new_id = new_id
        self._open_secrets = open_secrets
        self._look_every = look_every
        self._log = log
        self.shards: set[int] = set()
        self._held_until = 0.0
        self._stopping = False
        self._turned: dict[UUID, tuple[Lane, Health, Verdict]] = {}
        self._last_look = 0.0

    def turned(self, lane: Lane, before: Health, verdict: Verdict) -> None:
        """Hear of a lane whose health turned (`Deliver.changed`); written down by the next round."""
        was_healthy = before.failing_since is None
        is_healthy = lane.health.failing_since is None
        if was_healthy != is_healthy or isinstance(verdict, Gone) or lane.health.is_hopeless(self._now()):
            self._turned[lane.id] = (lane, before, verdict)

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
        self._bell.ring()

    async def leave(self) -> None:
        """Let other workers have the shards at once."""
        await shards.leave(self._database, self._worker)

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
            busy = {lane.shard for lane in self._deliver.lanes.values() if lane.in_flight or lane.held}
            given = set(sorted(held, key=lambda shard: (shard in busy, shard))[:surplus])
            held -= given
            self._forget(lambda lane: lane.shard in given)
            # what is in flight there is settled first, so that its next owner does not send it again
            await self._deliver.settlement.drain()
            await shards.give(self._database, self._worker, given)
        lost = self.shards - held
        self._forget(lambda lane: lane.shard in lost)
        if new := held - self.shards:
            self.shards = held
            await self._take_found(await outbox.discover(self._database, sorted(new)))
        self.shards = held

    def _forget(self, which: Callable[[Lane], bool]) -> None:
        for lane in [lane for lane in self._deliver.lanes.values() if which(lane)]:
            lane.ready.clear()
            lane.more = False
            del self._deliver.lanes[lane.id]

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

    async def _take_found(self, found: Sequence[outbox.Found]) -> None:
        loop_now = asyncio.get_running_loop().time()
        for each in found:
            lane = self._lane(each.subscription, each.shard)
            if each.due_in <= 0:
                lane.more = True
                # not from the very front: what was delivered there may not be cleaned away yet
                lane.cursor = min(lane.cursor, each.due_at) if lane.cursor else each.due_at
            else:
                lane.wake_at = min(lane.wake_at, loop_now + each.due_in)
        await self._refresh()
        self._deliver.hungry.set()

    def _lane(self, subscription: UUID, shard: int) -> Lane:
        lane = self._deliver.lanes.get(subscription)
        if lane is None:
            lane = self._deliver.lanes[subscription] = Lane(id=subscription, shard=shard)
        return lane

    async def _refresh(self) -> None:
        """Read the targets of all lanes again, so that a pause or a new secret holds within a second or two."""
        lanes = list(self._deliver.lanes.values())
        for start in range(0, len(lanes), MOST_LANES * 4):
            part = lanes[start : start + MOST_LANES * 4]
            known = await recipients.targets(self._database, [lane.id for lane in part])
            for lane in part:
                self._aim(lane, known.get(lane.id))
        loop_now = asyncio.get_running_loop().time()
        for lane in lanes:
            if not lane.is_idle() or lane.wake_at < float("inf") or lane.health is not HEALTHY:
                lane.idle_since = loop_now
        self._forget(lambda lane: loop_now - lane.idle_since > FORGET_AFTER)

    def _aim(self, lane: Lane, target: Target | None) -> None:
        if target is None or target == lane.target:
            lane.target = target
            return
        if target.failing_since != lane.health.failing_since and (lane.target is None or target.failing_since is None):
            lane.health = Health(0, target.failing_since)
        was_open = lane.target is not None and lane.target.is_open
        lane.target = target
        try:
            secrets, headers = self._open_secrets(target)
        except SealError as error:  # sealed under a key that is no longer given: nothing can be signed
            lane.address = None
            self._log(str(lane.id), f"its secret or headers cannot be opened: {error}")
            return
        lane.address = Address(
            url=target.url,
            headers=headers,
            format=Format(target.format),
            secrets=secrets,
            secrets_until=target.old_secrets_until,
        )
        if target.is_open and not was_open:
            lane.more = True
            lane.cursor = None
            self._deliver.offer(lane)

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
        bell = asyncio.ensure_future(self._bell.heard(self._look_every))
        hungry = asyncio.ensure_future(self._deliver.hungry.wait())
        await asyncio.wait({bell, hungry}, return_when=asyncio.FIRST_COMPLETED)
        was_hungry = hungry.done()
        hungry.cancel()
        self._deliver.hungry.clear()
        if not bell.done():
            bell.cancel()
            return False
        return bell.result() or not was_hungry

    async def _look(self, *, rung: bool) -> None:
        loop_now = asyncio.get_running_loop().time()
        if rung or loop_now - self._last_look >= self._look_every:
            since = min(max(TAIL, loop_now - self._last_look + TAIL), LEASE)
            self._last_look = loop_now
            new = False
            for subscription, shard in await outbox.fresh(self._database, sorted(self.shards), since):
                lane = self._lane(subscription, shard)
                lane.more = True
                new = new or lane.target is None
            if new:
                await self._refresh()
        for lane in self._deliver.lanes.values():
            if lane.wake_at <= loop_now:
                lane.wake_at = float("inf")
                lane.more = True
                self._deliver.offer(lane)
        await self._fill(loop_now)

    async def _fill(self, loop_now: float) -> None:
        pairs = self._hungry(loop_now)
        if not pairs:
            return
        for lane, _ in pairs:
            lane.begin_read()
        claims: dict[UUID, list[outbox.Claim]] = {}
        try:
            found = await outbox.read(self._database, [wanted for _, wanted in pairs])
        except BaseException:
            for lane, _ in pairs:
                lane.give_up_read()
            raise
        for claim in found:
            claims.setdefault(claim.subscription, []).append(claim)
        for lane, wanted in pairs:
            if self._deliver.lanes.get(lane.id) is lane:
                lane.take_in(wanted, claims.get(lane.id, []))
                self._deliver.offer(lane)

    def _hungry(self, loop_now: float) -> list[tuple[Lane, outbox.Wanted]]:
        """Return the lanes to read for; those of a full list go behind all that did not come to their turn."""
        late_from = self._now() - LATE
        lanes = self._deliver.lanes
        pairs = []
        for lane in lanes.values():
            wanted = lane.wants(loop_now, late_from)
            if wanted is not None:
                pairs.append((lane, wanted))
                if len(pairs) == MOST_LANES:
                    break
        if len(pairs) == MOST_LANES:
            for lane, _ in pairs:
                lanes[lane.id] = lanes.pop(lane.id)
        return pairs

    async def _write_turned(self) -> None:
        while self._turned:
            _, (lane, _, verdict) = self._turned.popitem()
            if isinstance(verdict, Gone):
                await self._disable(lane, "the subscriber answered 410 Gone")
            elif lane.health.is_hopeless(self._now()):
                await self._disable(lane, "five days of nothing but failures")
            else:
                since = None if isinstance(verdict, Delivered) else lane.health.failing_since
                await recipients.set_failing(self._database, lane.id, since)

    async def _disable(self, lane: Lane, reason: str) -> None:
        if lane.target is None:
            return
        now = self._now()
        event = tell(
            subject=self._new_id(now),
            sequence=1,
            client=lane.target.client,
            kind=Type.SUBSCRIPTION_DISABLED,
            at=now,
            content={"subscription_id": str(lane.id), "url": lane.target.url, "reason": reason},
        )
        if await recipients.disable(self._database, lane.id, reason, event):
            self._log(str(lane.id), f"subscription disabled: {reason}")
            self._bell.ring()
        await self._refresh()
