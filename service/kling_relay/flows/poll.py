"""Polls the provider for one silent task, and ends tasks that are overdue.

A poll without an answer changes nothing. Only the clock may end a task, with a reason that says what is known.

A success without a file is asked about a few more times, then the task ends as a success whose result is missing.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timedelta
from typing import assert_never
from uuid import UUID

from kling_relay.core.operation import operation_of
from kling_relay.core.submission import NoAnswer, NoSuchTask, PollResult
from kling_relay.core.task import FINAL, Signal, SignalKind
from kling_relay.flows.clients import ProviderClient
from kling_relay.flows.ingest import WITHOUT_FILE, Ingest, Observation
from kling_relay.store.postgres.database import Database
from kling_relay.store.tasks import due_submissions, submissions
from kling_relay.store.tasks.due_submissions import DueSubmission


@dataclass(frozen=True, slots=True, kw_only=True)
class PollTunables:
    """When to poll again, and when to stop."""

    max_pause: float = 3600.0
    """Seconds between polls of one task at most."""
    max_not_found: int = 5
    """After this many "no such task" answers, the provider certainly did not accept the task: it knows our ids."""
    max_incomplete: int = 5
    """How often the provider is polled for a file after it said success without one."""
    grace: float = 0.25
    """Fraction of the deadline that a task gets in addition if the provider does not answer."""


@dataclass(slots=True)
class SweepCounts:
    """What one pass of the sweep did."""

    sent: int = 0
    polled: int = 0
    answered: int = 0
    expired: int = 0
    postponed: int = 0


@dataclass(frozen=True, eq=False)
class Poll:
    """Polls a submission that is submission. `random_fraction` returns a random number in [0, 1)."""

    database: Database
    provider: ProviderClient
    ingest: Ingest
    _: KW_ONLY
    now: Callable[[], datetime]
    random_fraction: Callable[[], float]
    sweep_after: timedelta
    deadline: timedelta
    tunables: PollTunables = PollTunables()

    async def __call__(self, submission: DueSubmission, counts: SweepCounts) -> None:
        """Poll a task that is accepted or unknown. One that is not silent yet is postponed."""
        quiet = self.now() - submission.updated_at
        if (
            submission.state == "accepted"
            and submission.attempt == 0
            and not submission.incomplete
            and quiet < self.sweep_after
        ):
            wait = (self.sweep_after - quiet).total_seconds()
            await due_submissions.postpone(self.database, [(submission.task, wait, 0)])
            counts.postponed += 1
            return
        counts.polled += 1
        result = await self._ask_by_both_ids(submission)
        match result:
            case Signal(kind=SignalKind.INCOMPLETE):
                counts.answered += 1
                await self._ask_for_result(submission, result)
                return
            case NoSuchTask() if submission.incomplete:  # it forgot the task, or cannot be asked
                await self._ask_for_result(submission, Signal(kind=SignalKind.INCOMPLETE))
                return
            case Signal():
                counts.answered += 1
                observation = Observation(task=submission.task, signal=result, source="query", at=self.now())
                outcome = await self.ingest.apply(observation)
                if outcome.task.status in FINAL:
                    return
            case NoSuchTask() | NoAnswer():  # says nothing about the task
                pass
            case _:
                assert_never(result)
        await self._end_or_postpone(submission, result, counts)

    async def _end_or_postpone(self, submission: DueSubmission, result: PollResult, counts: SweepCounts) -> None:
        if reason := self._reason_to_end(submission, result):
            if submission.incomplete:
                await self._end_without_result(submission, Signal(kind=SignalKind.INCOMPLETE))
            elif submission.state != "unknown" or await self._close(submission):
                await self.end(submission.task, counts, reason)
        else:
            await due_submissions.postpone(
                self.database, [(submission.task, self._pause(submission.attempt), submission.attempt + 1)]
            )

    async def _close(self, submission: DueSubmission) -> bool:
        """Return whether the submission is still unknown. If so, nobody sends it any more, and its task may end."""
        return await submissions.close_unknown(self.database, submission.task, submission.claim_id)

    async def abandon(self, submission: DueSubmission, counts: SweepCounts) -> None:
        """Note that the process that claimed the order is gone, so it is unknown whether the order was sent."""
        if submission.claim_id is not None:
            reason = "the process that was sending the order stopped before the provider answered"
            await submissions.set_abandoned(self.database, submission.task, submission.claim_id, reason)
        counts.postponed += 1

    async def end_unsent(self, task: UUID, counts: SweepCounts) -> None:
        """End a task whose order was certainly never sent."""
        await self.end(task, counts, self._deadline_reason("recorded"))

    async def end(self, task: UUID, counts: SweepCounts, reason: str) -> None:
        """End a task. If it turns out later that it succeeded, that still counts."""
        counts.expired += 1
        signal = Signal(kind=SignalKind.EXPIRED, reason=reason)
        await self.ingest.apply(Observation(task=task, signal=signal, source="clock", at=self.now()))

    async def _ask_for_result(self, submission: DueSubmission, signal: Signal) -> None:
        """Poll again later, or end the task without its result if the provider was asked often enough."""
        if submission.incomplete >= self.tunables.max_incomplete:
            await self._end_without_result(submission, signal)
            return
        await self.ingest.apply(self._incomplete(submission, signal))
        pause = self._pause(max(submission.incomplete - 1, 0))
        await due_submissions.ask_for_result(
            self.database, submission.task, pause, submission.incomplete + 1, WITHOUT_FILE
        )

    async def _end_without_result(self, submission: DueSubmission, signal: Signal) -> None:
        """End a task that the provider calls a success. If it names a file later, that still counts."""
        await self.ingest.apply(self._incomplete(submission, signal._replace(kind=SignalKind.RESULT_MISSING)))

    def _incomplete(self, submission: DueSubmission, signal: Signal) -> Observation:
        return Observation(task=submission.task, signal=signal, source="query", at=self.now(), outcome="incomplete")

    def is_overdue(self, created_at: datetime) -> bool:
        return self.now() - created_at > self.deadline

    async def _ask_by_both_ids(self, submission: DueSubmission) -> PollResult:
        result = await self._ask(submission, submission.provider_task_id)
        if not isinstance(result, NoSuchTask) or submission.provider_task_id is None:
            return result
        # a callback may have brought an id that is not the provider's own: ask by ours, too
        by_own_id = await self._ask(submission, None)
        return result if submission.incomplete and isinstance(by_own_id, NoAnswer) else by_own_id

    async def _ask(self, submission: DueSubmission, provider_task_id: str | None) -> PollResult:
        operation = operation_of(submission.kind)
        return await self.provider.poll(operation, provider_task_id, submission.task, self.now(), submission.trace)

    def _reason_to_end(self, submission: DueSubmission, result: PollResult) -> str | None:
        """Return why the task ends after this result, or None if it goes on.

        If the provider does not answer, the task gets some time beyond the deadline, so that an outage costs no task.
        """
        is_unknown = submission.state == "unknown" and submission.provider_task_id is None
        polls = submission.attempt + 1
        if is_unknown and isinstance(result, NoSuchTask) and polls >= self.tunables.max_not_found:
            return f"the provider was polled {polls} times and does not know the order, so it was not charged"
        no_answer = isinstance(result, NoAnswer) and not is_unknown
        grace = self.deadline * self.tunables.grace if no_answer else timedelta()
        if self.is_overdue(submission.created_at + grace):
            return self._deadline_reason(submission.state)
        return None

    def _pause(self, attempt: int) -> float:
        """Return seconds until the next poll: `sweep_after`, growing by half each time up to an hour, with jitter."""
        base = min(self.sweep_after.total_seconds() * 1.5 ** min(attempt, 30), self.tunables.max_pause)
        return base * (0.75 + self.random_fraction() / 2)

    def _deadline_reason(self, state: str) -> str:
        return f"gave up after {self.deadline.total_seconds() / 3600:g} h: {_KNOWN[state]}"


_KNOWN = {
    "recorded": "the order never reached the provider and was not charged",
    "unknown": "the provider's answer was lost, so it is unknown whether it accepted the order",
    "accepted": "the provider accepted the order but never reported a result",
}
