"""Sweep: looks after what nobody else does: silent tasks, unknown submissions, orders that wait, old partitions.

Each pass claims a batch of due submissions, so that several workers share the work and a dead one's come due again.
How one task is asked about, and when it is given up, is in `inquiry.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from uuid import UUID

from kling_relay.core.errors import NotFound as TaskNotFound
from kling_relay.core.operation import Kind
from kling_relay.flows.coalesce import OverloadedError
from kling_relay.flows.ingest import Ingest
from kling_relay.flows.poll import Asks, Poll, SweepPass
from kling_relay.flows.send import OutgoingOrder, Send
from kling_relay.flows.wakeup import Wakeup
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import StoreError, translated
from kling_relay.store.schema import partitions
from kling_relay.store.tasks import due_submissions
from kling_relay.store.tasks.due_submissions import DueSubmission

BATCH = 50
"""Tasks that are asked about in one pass: never all at once."""
AT_ONCE = 8
"""Questions in flight at the provider."""
CLAIMED_FOR = 120.0
HOUSEKEEPING_EVERY = 3600.0
Act = Callable[[], Awaitable[None]]
AGAIN_AFTER = 1.0
MIN_PAUSE = 0.05


class Sweep:
    """The flow; `sweep` is one pass, `run` passes until cancelled."""

    def __init__(
        self,
        database: Database,
        provider: Asks,
        ingest: Ingest,
        send: Send,
        *,
        now: Callable[[], datetime],
        chance: Callable[[], float],
        new_id: Callable[[datetime], UUID],
        sweep_after: timedelta,
        deadline: timedelta,
        retention: timedelta,
        every: float = 1.0,
        moved: Wakeup | None = None,
        swept: Callable[[SweepPass, float], None] = lambda _passed, _seconds: None,
        log: Callable[[str, str], None] = lambda _task, _event: None,
    ) -> None:
        """`every` is in seconds; `moved` rings when a slot may be free; `swept` hears of each pass and its seconds."""
        self._database = database
        self._send = send
        self._inquiry = Poll(
            database, provider, ingest, now=now, chance=chance, sweep_after=sweep_after, deadline=deadline
        )
        self._now = now
        self._new_id = new_id
        self._deadline = deadline
        self._retention = retention
        self._every = every
        self._moved = moved
        self._swept = swept
        self._log = log

    async def run(self) -> None:
        """Pass after pass; an absent database only makes it wait.

        Sending and asking do not wait for one another: a provider that hangs on questions may yet take orders.
        """
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._again_and_again(self._sending_pass, self._every, self._moved))
            loops.create_task(self._again_and_again(self._asking_pass, self._every))
            loops.create_task(self._again_and_again(self.keep_house, HOUSEKEEPING_EVERY))

    async def sweep(self) -> SweepPass:
        """Look after one batch of each kind that is due."""
        passed = SweepPass()
        await self._send_due(passed)
        await self._ask_due(passed)
        return passed

    async def _again_and_again(
        self, act: Callable[[], Awaitable[None]], every: float, wakeup: Wakeup | None = None
    ) -> None:
        while True:
            wait = every
            try:
                await act()
            except (StoreError, OverloadedError) as error:
                self._log("sweep", f"the database failed: {error}")
                wait = min(every, AGAIN_AFTER)
            if wakeup is None:
                await asyncio.sleep(wait)
            elif await wakeup.heard(wait):
                await asyncio.sleep(MIN_PAUSE)

    async def _sending_pass(self) -> None:
        await self._timed(self._send_due)

    async def _asking_pass(self) -> None:
        await self._timed(self._ask_due)

    async def _timed(self, act: Callable[[SweepPass], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        begun, passed = loop.time(), SweepPass()
        await act(passed)
        self._swept(passed, loop.time() - begun)

    async def _send_due(self, passed: SweepPass) -> None:
        if self._send.slots_limit is None:
            await self._each_due("recorded", self._unsent, passed)
        else:  # recorded orders stand in line for `admit` alone
            passed.sent += len(await self._send.admit())
            await self._end_overdue(passed)

    async def _ask_due(self, passed: SweepPass) -> None:
        await self._each_due("sending", self._inquiry.abandoned, passed)
        await self._each_due("unknown", self._inquiry, passed)
        await self._each_due("accepted", self._inquiry, passed)

    async def _each_due(
        self, state: str, act: Callable[[DueSubmission, SweepPass], Awaitable[None]], passed: SweepPass
    ) -> None:
        claimed = await due_submissions.claim(self._database, state, BATCH, CLAIMED_FOR)
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(each: DueSubmission) -> None:
            async with gate:
                try:
                    await act(each, passed)
                except (StoreError, OverloadedError, TaskNotFound) as error:  # it comes due again
                    self._log(str(each.task), f"could not be looked after: {error}")

        await asyncio.gather(*(one(each) for each in claimed))

    async def keep_house(self) -> None:
        """Make partitions ahead, and drop those whose time is over; where they are not ours, that is said and left."""
        now = self._now()
        with translated():
            connection = await self._database.pool.acquire()
        try:
            made = await partitions.create_missing(connection, now, self._retention)
            dropped = await partitions.drop_old(connection, now, self._retention)
        except partitions.NotTableOwnerError as error:
            self._log("partitions", str(error))
            return
        finally:
            await self._database.pool.release(connection)
        if made or dropped:
            self._log("partitions", f"made {made}, dropped {len(dropped)}")

    async def _unsent(self, order: DueSubmission, passed: SweepPass) -> None:
        """A recorded order without the mark was surely not sent: send it, where it is not too late."""
        if order.payload is None:
            return
        if self._inquiry.is_overdue(order.created_at):
            await self._inquiry.give_up_unsent(order.task, passed)
            return
        passed.sent += 1
        outgoing = OutgoingOrder(
            task=order.task, kind=Kind(order.kind), payload=order.payload, attempt=order.attempt, trace=order.trace
        )
        await asyncio.wait([self._send(outgoing)])

    async def _end_overdue(self, passed: SweepPass) -> None:
        """End the orders that stood in line for too long; marked first, so that nobody sends them meanwhile."""
        mark = self._new_id(self._now())
        for task in await due_submissions.claim_overdue(self._database, self._now() - self._deadline, BATCH, mark):
            await self._inquiry.give_up_unsent(task, passed)
