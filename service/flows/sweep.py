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

from service.core.errors import NotFound as TaskNotFound
from service.core.kind import Kind, door_of
from service.core.submission import Finding, NotFound, Silent
from service.core.task import FINAL, News, Signal
from service.flows.bell import Bell
from service.flows.coalesce import OverloadedError
from service.flows.ingest import Ingest, Word
from service.flows.send import Parcel, Send
from service.store import partitions, submissions
from service.store.database import Database
from service.store.statement import StoreError, translated
from service.store.submissions import Submission

BATCH = 50
"""Tasks that are asked about in one pass: never all at once."""
AT_ONCE = 8
"""Questions in flight at the provider."""
CLAIMED_FOR = 120.0
LONGEST_PAUSE = 3600.0
HOUSEKEEPING_EVERY = 3600.0
Act = Callable[[], Awaitable[None]]
AGAIN_AFTER = 1.0
LEAST_PAUSE = 0.05
ASKED_IN_VAIN = 5
"""Times that a provider which surely knows our ids says "no such task" until an unknown order was surely not taken."""
GRACE = 0.25
"""Share of the deadline for which a task of a provider that does not answer is kept beyond it."""


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
        new_id: Callable[[datetime], UUID],
        sweep_after: timedelta,
        deadline: timedelta,
        retention: timedelta,
        every: float = 1.0,
        moved: Bell | None = None,
        swept: Callable[[Pass, float], None] = lambda _passed, _seconds: None,
        log: Callable[[str, str], None] = lambda _task, _event: None,
    ) -> None:
        """`every` is in seconds; `moved` rings when a slot may be free; `swept` hears of each pass and its seconds."""
        self._database = database
        self._provider = provider
        self._ingest = ingest
        self._send = send
        self._now = now
        self._chance = chance
        self._new_id = new_id
        self._after = sweep_after
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

    async def sweep(self) -> Pass:
        """Look after one batch of each kind that is due."""
        passed = Pass()
        await self._send_due(passed)
        await self._ask_due(passed)
        return passed

    async def _again_and_again(
        self, act: Callable[[], Awaitable[None]], every: float, bell: Bell | None = None
    ) -> None:
        while True:
            wait = every
            try:
                await act()
            except (StoreError, OverloadedError) as error:
                self._log("sweep", f"the database failed: {error}")
                wait = min(every, AGAIN_AFTER)
            if bell is None:
                await asyncio.sleep(wait)
            elif await bell.heard(wait):
                await asyncio.sleep(LEAST_PAUSE)

    async def _sending_pass(self) -> None:
        await self._timed(self._send_due)

    async def _asking_pass(self) -> None:
        await self._timed(self._ask_due)

    async def _timed(self, act: Callable[[Pass], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        begun, passed = loop.time(), Pass()
        await act(passed)
        self._swept(passed, loop.time() - begun)

    async def _send_due(self, passed: Pass) -> None:
        if self._send.slots_limit is None:
            await self._each_due("recorded", self._unsent, passed)
        else:  # recorded orders stand in line for `admit` alone
            passed.sent += len(await self._send.admit())
            await self._end_overdue(passed)

    async def _ask_due(self, passed: Pass) -> None:
        await self._each_due("sending", self._abandoned, passed)
        await self._each_due("unknown", self._ask, passed)
        await self._each_due("accepted", self._ask, passed)

    async def _each_due(self, state: str, act: Callable[[Submission, Pass], Awaitable[None]], passed: Pass) -> None:
        due = await submissions.claim_due(self._database, state, BATCH, CLAIMED_FOR)
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(each: Submission) -> None:
            async with gate:
                try:
                    await act(each, passed)
                except (StoreError, OverloadedError, TaskNotFound) as error:  # it comes due again
                    self._log(str(each.task), f"could not be looked after: {error}")

        await asyncio.gather(*(one(each) for each in due))

    async def keep_house(self) -> None:
        """Make partitions ahead, and drop those whose time is over; where they are not ours, that is said and left."""
        now = self._now()
        with translated():
            connection = await self._database.pool.acquire()
        try:
            made = await partitions.ensure(connection, now, self._retention)
            dropped = await partitions.drop_old(connection, now, self._retention)
        except partitions.NotOurTablesError as error:
            self._log("partitions", str(error))
            return
        finally:
            await self._database.pool.release(connection)
        if made or dropped:
            self._log("partitions", f"made {made}, dropped {len(dropped)}")

    async def _unsent(self, due: Submission, passed: Pass) -> None:
        """A recorded order without the mark was surely not sent: send it, where it is not too late."""
        if due.payload is None:
            return
        if self._is_overdue(due.created_at):
            await self._end(due.task, passed, self._given_up("recorded"))
            return
        passed.sent += 1
        parcel = Parcel(task=due.task, kind=Kind(due.kind), payload=due.payload, attempt=due.attempt, trace=due.trace)
        await asyncio.wait([self._send(parcel)])

    async def _end_overdue(self, passed: Pass) -> None:
        """End the orders that stood in line for too long; marked first, so that nobody sends them meanwhile."""
        mark = self._new_id(self._now())
        for task in await submissions.take_overdue(self._database, self._now() - self._deadline, BATCH, mark):
            await self._end(task, passed, self._given_up("recorded"))

    async def _abandoned(self, due: Submission, passed: Pass) -> None:
        """Who marked it is gone, and nobody knows whether the POST left."""
        if due.sender is not None:
            reason = "the sender stopped before it had an answer"
            await submissions.set_abandoned(self._database, due.task, due.sender, reason)
        passed.postponed += 1

    async def _ask(self, due: Submission, passed: Pass) -> None:
        quiet = self._now() - due.updated_at
        if due.state == "accepted" and due.attempt == 0 and quiet < self._after:
            await submissions.postpone(self._database, [(due.task, (self._after - quiet).total_seconds(), 0)])
            passed.postponed += 1
            return
        passed.asked += 1
        finding = await self._provider.ask(door_of(Kind(due.kind)), due.provider_task_id, due.task, self._now())
        if isinstance(finding, NotFound) and due.provider_task_id is not None:
            # a callback may have brought an id that is not the provider's own: ask by ours too
            finding = await self._provider.ask(door_of(Kind(due.kind)), None, due.task, self._now())
        match finding:
            case Signal():
                passed.answered += 1
                told = await self._ingest.hear(Word(task=due.task, signal=finding, source="query", at=self._now()))
                if told.standing.task.status in FINAL:
                    return
            case NotFound() | Silent():  # a question in vain says nothing of the task
                pass
            case _:
                assert_never(finding)
        if reason := self._hopeless(due, finding):
            await self._end(due.task, passed, reason)
        else:
            await submissions.postpone(self._database, [(due.task, self._pause(due.attempt), due.attempt + 1)])

    def _hopeless(self, due: Submission, finding: Finding) -> str | None:
        """Return why a task is given up after this answer, None where it is not.

        A provider that cannot be asked gets some time beyond the deadline, lest its bad hour cost a good task.
        """
        is_unknown = due.state == "unknown" and due.provider_task_id is None
        if is_unknown and isinstance(finding, NotFound) and due.attempt + 1 >= ASKED_IN_VAIN:
            return f"the provider was asked {due.attempt + 1} times and has no such order; it was not charged"
        silent_beyond = self._deadline * GRACE if isinstance(finding, Silent) and not is_unknown else timedelta()
        if self._is_overdue(due.created_at + silent_beyond):
            return self._given_up(due.state)
        return None

    def _pause(self, attempt: int) -> float:
        """Return seconds until the next question: `sweep_after`, growing by half each time up to an hour, jittered."""
        base = min(self._after.total_seconds() * 1.5 ** min(attempt, 30), LONGEST_PAUSE)
        return base * (0.75 + self._chance() / 2)

    def _is_overdue(self, created_at: datetime) -> bool:
        return self._now() - created_at > self._deadline

    def _given_up(self, state: str) -> str:
        return f"given up after {self._deadline.total_seconds() / 3600:g} h: {_KNOWN[state]}"

    async def _end(self, task: UUID, passed: Pass, reason: str) -> None:
        """Give a task up; a success that is heard of later still counts."""
        passed.expired += 1
        signal = Signal(news=News.EXPIRED, reason=reason)
        await self._ingest.hear(Word(task=task, signal=signal, source="clock", at=self._now()))


_KNOWN = {
    "recorded": "the order never reached the provider and was not charged",
    "unknown": "it is not known whether the provider took the order; its answer was lost",
    "accepted": "the provider took the order and never said how it ended",
}
