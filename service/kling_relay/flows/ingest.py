"""Turns observations into steps, and writes each step with its event and deliveries exactly once.

Everything that waits goes into one write: read the tasks, ask the state machine, write the steps. An observation that
lost a race is applied again to the new state. The provider's callback is stored unchanged, even if nothing moved.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

from kling_relay.core import callback, ledger, signature
from kling_relay.core.errors import NotFound
from kling_relay.core.event import make_task_event
from kling_relay.core.task import FINAL, Signal, SignalKind, Step, Task, advance
from kling_relay.core.untrusted import UnreadableError, to_utf8
from kling_relay.flows import log_context
from kling_relay.flows.coalesce import Coalescer
from kling_relay.flows.observer import Observer
from kling_relay.flows.wakeup import Wakeup
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import StoreUnavailableError
from kling_relay.store.tasks import due_submissions, steps

WITHOUT_FILE = "the provider says that it succeeded, but names no file; it is asked again"
"""Why a task waits that is a success at the provider."""
_ENDS = frozenset({SignalKind.SUCCEED, SignalKind.INCOMPLETE, SignalKind.FAILED})


class Observation(NamedTuple):
    """Something learned about a task, as it came. `signal` is None if it is unreadable or must not be believed.

    `source` is callback, query, submit or clock. `outcome` is why nothing moved, or `incomplete`; anything but `stale`
    makes us poll the provider. `before` is the expected task, which saves a read; if it is outdated, the task is read.
    """

    task: UUID
    signal: Signal | None
    source: str
    at: datetime
    body: bytes = b""
    outcome: str = "stale"
    before: steps.TaskState | None = None


class Outcome(NamedTuple):
    """What an observation did: the step (None if nothing moved), the task before it, and the step as it is written."""

    observation: Observation
    before: steps.TaskState
    step: Step | None
    move: steps.Move | None

    @property
    def task(self) -> Task:
        """The task as it is now."""
        return self.step.task if self.step else self.before.task

    def raw_callback(self) -> steps.RawCallback:
        """Return what the provider sent, as it is stored."""
        observation = self.observation
        outcome = "moved" if self.step and observation.outcome == "stale" else observation.outcome
        return steps.RawCallback(observation.task, observation.at, observation.source, outcome, observation.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestTunables:
    """`max_batch`: observations in one transaction. `max_reads`: how often a task is read if others keep moving it."""

    max_batch: int = 64
    max_reads: int = 20


@dataclass(frozen=True, eq=False)
class Ingest:
    """`apply` is for flows that have a signal already, `callback` for the provider's own calls.

    `poll_after`: seconds of silence until a task is polled. `secrets` verify callbacks. With `confirm`, the provider
    is polled before an unsigned callback ends a task.
    """

    database: Database
    _: KW_ONLY
    wakeups: Sequence[Wakeup]
    poll_after: float
    secrets: Sequence[str] = field(default=(), repr=False)
    confirm: bool = False
    json_depth: int = 32
    max_waiting: int = 2000
    observer: Observer = field(default_factory=Observer)
    tunables: IngestTunables = IngestTunables()

    @cached_property
    def _apply(self) -> Coalescer[Observation, Outcome]:
        return Coalescer(
            self._apply_batch,
            lambda observation: observation.task,
            max_waiting=self.max_waiting,
            max_items=self.tunables.max_batch,
            name="ingest",
            observer=self.observer,
        )

    async def callback(
        self, task: UUID, body: bytes, headers: Mapping[str, str], now: datetime, *, is_decoded: bool = True
    ) -> None:
        """Record a callback whose token was valid; return once it is on disk.

        Late, repeated and contradicting callbacks move nothing. One that is unreadable (as one whose Content-Encoding
        could not be decoded), must not be believed or says success without a file is kept, and the provider is polled.
        Raises NotFound, OverloadedError, StoreUnavailableError.
        """
        if is_decoded:
            observation = self._read(task, body, headers, now)
        else:
            observation = Observation(
                task=task,
                signal=None,
                source="callback",
                at=now,
                body=body[: steps.MAX_STORED_CALLBACK],
                outcome="unreadable",
            )
        log_context.add(task=task)
        result = await self.apply(observation)
        outcome = "moved" if result.step and observation.outcome != "incomplete" else observation.outcome
        log_context.add(outcome=outcome, task_status=result.task.status.value, trace=result.before.trace)
        if observation.outcome == "incomplete":
            await due_submissions.note_incomplete(self.database, task, WITHOUT_FILE)
        elif observation.outcome != "stale":
            await due_submissions.poll_now(self.database, task)

    def apply(self, observation: Observation) -> "asyncio.Future[Outcome]":
        """Let an observation move its task. The future raises NotFound, StoreUnavailableError.

        Raises OverloadedError.
        """
        return self._apply(observation)

    async def drain(self) -> None:
        """Wait until everything is written."""
        await self._apply.drain()

    @property
    def waiting(self) -> int:
        """How many observations wait to be written."""
        return self._apply.waiting

    def _read(self, task: UUID, body: bytes, headers: Mapping[str, str], now: datetime) -> Observation:
        is_signed = bool(self.secrets) and signature.verify(
            self.secrets,
            headers.get("webhook-id", ""),
            headers.get("webhook-timestamp", ""),
            headers.get("webhook-signature", ""),
            body,
            now=now,
        )
        content, body = body, body[: steps.MAX_STORED_CALLBACK]  # thousands may wait for the database
        if self.secrets and not is_signed:
            return Observation(task=task, signal=None, source="callback", at=now, body=body, outcome="unsigned")
        try:
            signal = callback.read(to_utf8(content, headers.get("Content-Type")), self.json_depth)
        except UnreadableError:
            return Observation(task=task, signal=None, source="callback", at=now, body=body, outcome="unreadable")
        if self.confirm and not is_signed and signal.kind in _ENDS:
            # record that the provider has the task, as with any callback, but poll for how it ended
            signal = Signal(kind=SignalKind.SUBMITTED, provider_task_id=signal.provider_task_id)
            return Observation(task=task, signal=signal, source="callback", at=now, body=body, outcome="unconfirmed")
        if signal.kind is SignalKind.INCOMPLETE:
            return Observation(task=task, signal=signal, source="callback", at=now, body=body, outcome="incomplete")
        return Observation(task=task, signal=signal, source="callback", at=now, body=body)

    async def _apply_batch(self, observations: Sequence[Observation]) -> list[Outcome | BaseException]:
        """Write a batch with at most one observation per task. The result for an unknown task is NotFound."""
        results: dict[UUID, Outcome | BaseException] = {}
        open_observations = list(observations)
        for round_number in range(self.tunables.max_reads):
            tasks = (
                {observation.task: observation.before for observation in open_observations if observation.before}
                if round_number == 0
                else {}
            )
            if tasks_to_read := [
                observation.task for observation in open_observations if observation.task not in tasks
            ]:
                tasks |= await steps.read(self.database, tasks_to_read)
            outcomes = [
                _decide(observation, tasks[observation.task])
                for observation in open_observations
                if observation.task in tasks
            ]
            moved_tasks = await self._write(outcomes, is_first=round_number == 0)
            results.update(
                {observation.task: NotFound() for observation in open_observations if observation.task not in tasks}
            )
            for outcome in outcomes:
                observation = outcome.observation
                if outcome.move is None or observation.task in moved_tasks:
                    results[observation.task] = outcome
                    self.observer.observation_applied(
                        observation.source, "moved" if outcome.move else observation.outcome
                    )
            open_observations = [observation for observation in open_observations if observation.task not in results]
            if not open_observations:
                break
        else:
            results.update(
                {
                    observation.task: StoreUnavailableError("the task kept changing while this observation was applied")
                    for observation in open_observations
                }
            )
        return [results[observation.task] for observation in observations]

    async def _write(self, outcomes: Sequence[Outcome], *, is_first: bool) -> set[UUID]:
        moves = [outcome.move for outcome in outcomes if outcome.move]
        raw = [outcome.raw_callback() for outcome in outcomes if outcome.observation.body] if is_first else []
        acceptances = [
            _acceptance(outcome.observation, outcome.observation.signal)
            for outcome in outcomes
            if outcome.observation.signal and outcome.task.status not in FINAL
        ]
        if not (moves or raw or acceptances):
            return set()
        moved_tasks = await steps.write(self.database, moves, raw, acceptances, ask_in=self.poll_after)
        if moved_tasks:
            for wakeup in self.wakeups:
                wakeup.notify()
            for outcome in outcomes:
                if outcome.step and outcome.observation.task in moved_tasks:
                    self.observer.task_moved(outcome.step, outcome.observation.source)
        return moved_tasks


def _decide(observation: Observation, before: steps.TaskState) -> Outcome:
    step = advance(before.task, observation.signal, observation.at) if observation.signal else None
    if step is None:
        return Outcome(observation, before, None, None)
    entry = ledger.on_step(before.task.status, step.task.status, before.quote, step.signal.charge)
    event = make_task_event(before.identity, step.task, step.signal)
    return Outcome(observation, before, step, steps.move(before.task, step, event, entry))


def _acceptance(observation: Observation, signal: Signal) -> steps.Acceptance:
    name = signal.provider_task_id
    return steps.Acceptance(observation.task, name, is_own_id=observation.source == "submit" and name is not None)
