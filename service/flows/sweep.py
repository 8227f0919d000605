"""Sweep: looks after what nobody else does: silent tasks, unknown submissions, orders that wait, old partitions.

Each pass claims a batch of due submissions, so that several workers share the work and a dead one's come due again.
A question that brings nothing changes nothing; only the clock may end a task, and says what is known when it does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, assert_never
from uuid import UUID

from service.core.kind import Kind, door_of
from service.core.submission import Finding, NotFound, Silent
from service.core.task import News, Signal
from service.flows.coalesce import OverloadedError
from service.flows.ingest import Ingest, Word
from service.flows.send import Parcel, Send
from service.store import partitions, submissions
from service.store.database import Database
from service.store.statement import StoreError
from service.store.submissions import Submission

BATCH = 50
"""Tasks that are asked about in one pass: never all at once."""
AT_ONCE = 8
"""Questions in flight at the provider."""
CLAIMED_FOR = 60.0
LONGEST_PAUSE = 3600.0
HOUSEKEEPING_EVERY = 3600.0


class Asks(Protocol):
    """The provider, as far as questions go."""

    async def ask(self, door_path: str, provider_task_id: str | None, task: UUID, now: datetime) -> Finding: ...


@dataclass(slots=True)
class Pass:
    """What one pass did."""

    sent: int = 0
    asked: int = 0
    answered: int = 0
    expired: int = 0
    postponed: int = 0

    @property
    def is_idle(self) -> bool:
        return not (self.sent or self.asked or self.expired or self.postponed)


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
        sweep_after: timedelta,
        deadline: timedelta,
        retention: timedelta,
        every: float = 1.0,
        swept: Callable[[Pass, float], None] = lambda _passed, _seconds: None,
        log: Callable[[str, str], None] = lambda _task, _event: None,
    ) -> None:
        """`every` is in seconds; `swept` hears of each pass and how long it took."""
        self._database = database
        self._provider = provider
        self._ingest = ingest
        self._send = send
        self._now = now
        self._chance = chance
        self._after = sweep_after
        self._deadline = deadline
        self._retention = retention
        self._every = every
        self._swept = swept
        self._log = log
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Pass after pass; an absent database only makes it wait."""
        loop = asyncio.get_running_loop()
        housekeeping_at = loop.time()
        while True:
            begun = loop.time()
            try:
                passed = await self.sweep()
                self._swept(passed, loop.time() - begun)
                if loop.time() >= housekeeping_at:
                    await self.keep_house()
                    housekeeping_at = loop.time() + HOUSEKEEPING_EVERY
            except* (StoreError, OverloadedError) as errors:
                self._log("sweep", f"the database failed: {errors.exceptions[0]}")
            await asyncio.sleep(self._every)

    async def sweep(self) -> Pass:
        """Look after one batch of each kind that is due."""
        passed = Pass()
        passed.sent += len(await self._send.admit())
        for state, act in self._acts():
            due = await submissions.claim_due(self._database, state, BATCH, CLAIMED_FOR)
            async with asyncio.TaskGroup() as group:
                for each in due:
                    group.create_task(self._one(act, each, passed))
        return passed

    async def keep_house(self) -> None:
        """Make partitions ahead, and drop those whose time is over."""
        now = self._now()
        async with self._database.pool.acquire() as connection:
            made = await partitions.ensure(connection, now, self._retention)
            dropped = await partitions.drop_old(connection, now, self._retention)
        if made or dropped:
            self._log("partitions", f"made {made}, dropped {len(dropped)}")

    def _acts(self) -> list[tuple[str, Callable[[Submission, Pass], Awaitable[None]]]]:
        acts: list[tuple[str, Callable[[Submission, Pass], Awaitable[None]]]] = [
            ("sending", self._abandoned),
            ("unknown", self._ask),
            ("accepted", self._ask),
        ]
        # with slots, recorded orders stand in line for `admit` alone
        return acts if self._send.slots_limit is not None else [("recorded", self._unsent), *acts]

    async def _one(self, act: Callable[[Submission, Pass], Awaitable[None]], due: Submission, passed: Pass) -> None:
        async with self._gate:
            if due.status == "recorded" and self._now() - due.created_at > self._deadline:
                await self._expire(due, passed)
            else:
                await act(due, passed)

    async def _unsent(self, due: Submission, passed: Pass) -> None:
        """A recorded order without the mark was surely not sent: send it."""
        if due.payload is None:
            return
        passed.sent += 1
        parcel = Parcel(task=due.task, kind=Kind(due.kind), payload=due.payload, attempt=due.attempt)
        await asyncio.wait([self._send(parcel)])

    async def _abandoned(self, due: Submission, passed: Pass) -> None:
        """Who marked it is gone, and nobody knows whether the POST left."""
        await submissions.set_unknown(self._database, due.task, "the sender stopped before it had an answer", 0.0)
        passed.postponed += 1

    async def _ask(self, due: Submission, passed: Pass) -> None:
        quiet = self._now() - due.updated_at
        if due.state == "accepted" and due.attempt == 0 and quiet < self._after:
            await submissions.postpone(self._database, [(due.task, (self._after - quiet).total_seconds(), 0)])
            passed.postponed += 1
            return
        if self._now() - due.created_at > self._deadline:
            await self._expire(due, passed)
            return
        passed.asked += 1
        door = door_of(Kind(due.kind))
        finding = await self._provider.ask(door, due.provider_task_id, due.task, self._now())
        match finding:
            case Signal():
                passed.answered += 1
                await self._ingest.hear(Word(task=due.task, signal=finding, source="query", at=self._now()))
            case NotFound() | Silent():  # a question in vain says nothing of the task
                pass
            case _:
                assert_never(finding)
        await submissions.postpone(self._database, [(due.task, self._pause(due.attempt), due.attempt + 1)])

    def _pause(self, attempt: int) -> float:
        """Return seconds until the next question: `sweep_after`, growing by half each time up to an hour, jittered."""
        base = min(self._after.total_seconds() * 1.5 ** min(attempt, 30), LONGEST_PAUSE)
        return base * (0.75 + self._chance() / 2)

    async def _expire(self, due: Submission, passed: Pass) -> None:
        """Give a task up, asking once more before; what the provider then knows counts."""
        door = door_of(Kind(due.kind))
        last = await self._provider.ask(door, due.provider_task_id, due.task, self._now())
        known = last if isinstance(last, Signal) else None
        if known is not None and known.news in {News.SUCCEED, News.FAILED}:
            await self._ingest.hear(Word(task=due.task, signal=known, source="query", at=self._now()))
            return
        passed.expired += 1
        hours = self._deadline.total_seconds() / 3600
        reason = f"given up after {hours:g} h: {_KNOWN[due.state]}"
        signal = Signal(news=News.EXPIRED, reason=reason)
        await self._ingest.hear(Word(task=due.task, signal=signal, source="clock", at=self._now()))


_KNOWN = {
    "recorded": "the order never reached the provider and was not charged",
    "sending": "it is not known whether the provider took the order",
    "unknown": "it is not known whether the provider took the order; its answer was lost",
    "accepted": "the provider took the order and never said how it ended",
}
