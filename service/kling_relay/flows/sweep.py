"""Sweep: handles what nothing else does: silent tasks, unknown submissions, waiting orders, old partitions.

Each pass claims a batch of due submissions, so that several workers share the work and a dead worker's submissions
come due again. How a task is polled, and when it ends, is in `poll.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from uuid import UUID

from kling_relay.core.errors import NotFound
from kling_relay.flows.clients import ProviderClient
from kling_relay.flows.coalesce import OverloadedError
from kling_relay.flows.ingest import Ingest
from kling_relay.flows.memory import OVERHEAD
from kling_relay.flows.observer import Observer
from kling_relay.flows.poll import Poll, PollTunables, SweepCounts
from kling_relay.flows.send import OutgoingOrder, Send
from kling_relay.flows.wakeup import Wakeup
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import StoreError, StoreReadOnlyError, translated
from kling_relay.store.schema import partitions
from kling_relay.store.tasks import due_submissions
from kling_relay.store.tasks.due_submissions import DueSubmission


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTunables:
    """Times in seconds."""

    every: float = 1.0
    batch: int = 50
    """Submissions of one state that are handled in one pass."""
    concurrency: int = 8
    """Submissions that are handled at the same time, so that many silent tasks do not become a burst of polls."""
    claimed_for: float = 120.0
    """After this a claimed submission comes due again."""
    housekeeping_every: float = 3600.0
    retry_after: float = 1.0
    """After a failure of the database."""
    min_pause: float = 0.05
    """After a wakeup."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """`sweep` is one pass, `run` passes until cancelled. `slot_freed`, if given, wakes the passes that send."""

    database: Database
    provider: ProviderClient
    ingest: Ingest
    send: Send
    _: KW_ONLY
    now: Callable[[], datetime]
    random_fraction: Callable[[], float]
    new_id: Callable[[datetime], UUID]
    sweep_after: timedelta
    deadline: timedelta
    retention: timedelta
    slot_freed: Wakeup | None = None
    observer: Observer = field(default_factory=Observer)
    tunables: SweepTunables = SweepTunables()
    poll_tunables: PollTunables = PollTunables()

    @cached_property
    def _poll(self) -> Poll:
        return Poll(
            self.database,
            self.provider,
            self.ingest,
            now=self.now,
            random_fraction=self.random_fraction,
            sweep_after=self.sweep_after,
            deadline=self.deadline,
            tunables=self.poll_tunables,
        )

    async def run(self) -> None:
        """Pass after pass until cancelled. While the database is unavailable, try again.

        Sending and polling do not wait for each other: a provider that hangs on polls may still take orders.
        """
        every = self.tunables.every
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._repeat(lambda: self._timed(self._send_due), every, self.slot_freed))
            loops.create_task(self._repeat(lambda: self._timed(self._poll_due), every))
            loops.create_task(self._repeat(self.keep_house, self.tunables.housekeeping_every))

    async def sweep(self) -> SweepCounts:
        """Handle one batch of each kind that is due."""
        counts = SweepCounts()
        await self._send_due(counts)
        await self._poll_due(counts)
        return counts

    async def _repeat(self, act: Callable[[], Awaitable[None]], every: float, wakeup: Wakeup | None = None) -> None:
        while True:
            wait = every
            try:
                await act()
            except Exception as error:  # noqa: BLE001 - the worker depends on this loop
                self.observer.database_failed("sweep", error)
                wait = min(every, self.tunables.retry_after)
            if wakeup is None:
                await asyncio.sleep(wait)
            elif await wakeup.wait(wait):
                await asyncio.sleep(self.tunables.min_pause)

    async def _timed(self, act: Callable[[SweepCounts], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        started_at, counts = loop.time(), SweepCounts()
        await act(counts)
        self.observer.sweep_finished(counts, loop.time() - started_at)

    async def _send_due(self, counts: SweepCounts) -> None:
        if not await self._find_due("recorded"):
            return
        if self.send.slots_limit is None:
            await self._handle_due("recorded", self._send_unsent, counts)
        else:  # `admit` alone takes recorded orders out of the line
            counts.sent += len(await self.send.admit())
        await self._end_overdue(counts)

    async def _poll_due(self, counts: SweepCounts) -> None:
        states = await self._find_due("sending", "unknown", "accepted")
        for state, act in (("sending", self._poll.abandon), ("unknown", self._poll), ("accepted", self._poll)):
            if state in states:
                await self._handle_due(state, act, counts)

    async def _find_due(self, *states: str) -> set[str]:
        """Ask for all states at once, because almost always nothing is due in any of them."""
        return await due_submissions.find_due(self.database, states, self.now() - self.deadline)

    async def _handle_due(
        self, state: str, act: Callable[[DueSubmission, SweepCounts], Awaitable[None]], counts: SweepCounts
    ) -> None:
        submissions = await due_submissions.claim(self.database, state, self.tunables.batch, self.tunables.claimed_for)
        gate = asyncio.Semaphore(self.tunables.concurrency)

        async def handle(submission: DueSubmission) -> None:
            async with gate:
                try:
                    await act(submission, counts)
                except (StoreError, OverloadedError, NotFound) as error:  # it comes due again
                    self.observer.task_skipped(submission.task, error)

        await asyncio.gather(*(handle(submission) for submission in submissions))

    async def keep_house(self) -> None:
        """Create partitions ahead of time, and drop what is older than the retention, if they are ours."""
        now = self.now()
        with translated(self.database.pool):
            connection = await self.database.pool.acquire()
        try:
            created = await partitions.create_missing(connection, now, self.retention)
            result = await partitions.enforce_retention(connection, now, self.retention)
        except partitions.NotTableOwnerError as error:
            self.observer.partitions_not_owned(error)
            return
        finally:
            await self.database.pool.release(connection)
        if created or result.dropped:
            self.observer.partitions_changed(created, len(result.dropped))
        if result.expired or result.hooks:
            self.observer.retention_enforced(result.expired, result.hooks)

    async def _send_unsent(self, submission: DueSubmission, counts: SweepCounts) -> None:
        """Send a recorded order, unless it is too late. Without a claim it was certainly not sent before."""
        if submission.payload_bytes is None or self._poll.is_overdue(submission.created_at):
            return
        share = await self.send.memory.share_in_turn(OVERHEAD + submission.payload_bytes)
        counts.sent += 1
        order = OutgoingOrder(
            task=submission.task,
            kind=submission.kind,
            payload=submission.payload,
            attempt=submission.attempt,
            trace=submission.trace,
            share=share,
        )
        await asyncio.wait([self.send(order)])

    async def _end_overdue(self, counts: SweepCounts) -> None:
        """End orders that waited for too long; claim them first, so that nobody sends them meanwhile."""
        now = self.now()
        claim_id = self.new_id(now)
        try:
            overdue = await due_submissions.claim_overdue(
                self.database, now - self.deadline, self.tunables.batch, claim_id
            )
        except StoreReadOnlyError:  # surely nothing was claimed
            raise
        except StoreError:
            self.send.release(claim_id)
            raise
        for task in overdue:
            await self._poll.end_unsent(task, counts)
