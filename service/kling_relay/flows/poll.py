"""Inquiry: one silent task is asked about, and what is made of the answer.

A question that brings nothing changes nothing; only the clock may end a task, and says what is known when it does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, assert_never
from uuid import UUID

from kling_relay.core.operation import Kind, operation_of
from kling_relay.core.submission import NoAnswer, NoSuchTask, PollResult
from kling_relay.core.task import FINAL, Signal, SignalKind
from kling_relay.flows.ingest import Ingest, Observation
from kling_relay.store.postgres.database import Database
from kling_relay.store.tasks import due_submissions as store
from kling_relay.store.tasks import submissions
from kling_relay.store.tasks.due_submissions import DueSubmission

MAX_PAUSE = 3600.0
ASKED_IN_VAIN = 5
"""Times that a provider which surely knows our ids says "no such task" until an unknown order was surely not taken."""
GRACE = 0.25
"""Share of the deadline for which a task of a provider that does not answer is kept beyond it."""


class Asks(Protocol):
    """The provider, as far as questions go."""

    async def poll(
        self, operation_path: str, provider_task_id: str | None, task: UUID, now: datetime, trace: str | None = None
    ) -> PollResult: ...


@dataclass(slots=True)
class SweepPass:
    """What one pass did."""

    sent: int = 0
    asked: int = 0
    answered: int = 0
    expired: int = 0
    postponed: int = 0

    @property
    def is_idle(self) -> bool:
        return not (self.sent or self.asked or self.expired or self.postponed)


class Poll:
    """The question, and the end of what is asked about in vain for too long."""

    def __init__(
        self,
        database: Database,
        provider: Asks,
        ingest: Ingest,
        *,
        now: Callable[[], datetime],
        chance: Callable[[], float],
        sweep_after: timedelta,
        deadline: timedelta,
    ) -> None:
        self._database = database
        self._provider = provider
        self._ingest = ingest
        self._now = now
        self._chance = chance
        self._after = sweep_after
        self._deadline = deadline

    async def __call__(self, due: DueSubmission, passed: SweepPass) -> None:
        """Ask about a task that was accepted, or of which nobody knows; postponed where it is not silent yet."""
        quiet = self._now() - due.updated_at
        if due.state == "accepted" and due.attempt == 0 and quiet < self._after:
            await store.postpone(self._database, [(due.task, (self._after - quiet).total_seconds(), 0)])
            passed.postponed += 1
            return
        passed.asked += 1
        finding = await self._asked(due, due.provider_task_id)
        if isinstance(finding, NoSuchTask) and due.provider_task_id is not None:
            # a callback may have brought an id that is not the provider's own: ask by ours too
            finding = await self._asked(due, None)
        match finding:
            case Signal():
                passed.answered += 1
                told = await self._ingest.hear(
                    Observation(task=due.task, signal=finding, source="query", at=self._now())
                )
                if told.task.status in FINAL:
                    return
            case NoSuchTask() | NoAnswer():  # a question in vain says nothing of the task
                pass
            case _:
                assert_never(finding)
        if reason := self._hopeless(due, finding):
            await self.end(due.task, passed, reason)
        else:
            await store.postpone(self._database, [(due.task, self._pause(due.attempt), due.attempt + 1)])

    async def abandoned(self, due: DueSubmission, passed: SweepPass) -> None:
        """Note that who marked it is gone: nobody knows whether the POST left."""
        if due.claim_id is not None:
            reason = "the sender stopped before it had an answer"
            await submissions.set_abandoned(self._database, due.task, due.claim_id, reason)
        passed.postponed += 1

    async def give_up_unsent(self, task: UUID, passed: SweepPass) -> None:
        """End a task whose order was surely never sent."""
        await self.end(task, passed, self._given_up("recorded"))

    async def end(self, task: UUID, passed: SweepPass, reason: str) -> None:
        """Give a task up; a success that is heard of later still counts."""
        passed.expired += 1
        signal = Signal(kind=SignalKind.EXPIRED, reason=reason)
        await self._ingest.hear(Observation(task=task, signal=signal, source="clock", at=self._now()))

    def is_overdue(self, created_at: datetime) -> bool:
        return self._now() - created_at > self._deadline

    async def _asked(self, due: DueSubmission, provider_task_id: str | None) -> PollResult:
        operation = operation_of(Kind(due.kind))
        return await self._provider.poll(operation, provider_task_id, due.task, self._now(), due.trace)

    def _hopeless(self, due: DueSubmission, finding: PollResult) -> str | None:
        """Return why a task is given up after this answer, None where it is not.

        A provider that cannot be asked gets some time beyond the deadline, lest its bad hour cost a good task.
        """
        is_unknown = due.state == "unknown" and due.provider_task_id is None
        if is_unknown and isinstance(finding, NoSuchTask) and due.attempt + 1 >= ASKED_IN_VAIN:
            return f"the provider was asked {due.attempt + 1} times and has no such order; it was not charged"
        silent_beyond = self._deadline * GRACE if isinstance(finding, NoAnswer) and not is_unknown else timedelta()
        if self.is_overdue(due.created_at + silent_beyond):
            return self._given_up(due.state)
        return None

    def _pause(self, attempt: int) -> float:
        """Return seconds until the next question: `sweep_after`, growing by half each time up to an hour, jittered."""
        base = min(self._after.total_seconds() * 1.5 ** min(attempt, 30), MAX_PAUSE)
        return base * (0.75 + self._chance() / 2)

    def _given_up(self, state: str) -> str:
        return f"given up after {self._deadline.total_seconds() / 3600:g} h: {_KNOWN[state]}"


_KNOWN = {
    "recorded": "the order never reached the provider and was not charged",
    "unknown": "it is not known whether the provider took the order; its answer was lost",
    "accepted": "the provider took the order and never said how it ended",
}
