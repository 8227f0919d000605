"""Ingest: whatever is heard of a task becomes at most one step of it, with its event and deliveries, exactly once.

All that is in hand goes into one write: read the tasks, ask the machine, write the steps. Who lost the race reads
again. What the provider said is kept as it came, also where it changed nothing.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from kling_relay.core import callback, ledger, signature
from kling_relay.core.errors import NotFound
from kling_relay.core.event import make_task_event
from kling_relay.core.task import FINAL, Signal, SignalKind, Step, Task, advance
from kling_relay.core.untrusted import UnreadableError
from kling_relay.flows.coalesce import Coalescer
from kling_relay.flows.log_context import note
from kling_relay.flows.wakeup import Wakeup
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import StoreUnavailableError
from kling_relay.store.tasks import due_submissions, steps

MAX_READS = 20
"""How often a task is read again when others move it meanwhile; a task has only a handful of moves."""


class Observation(NamedTuple):
    """Something heard of a task: a signal (None where it could not be read, or is not to be believed), as it came.

    `source` is callback, query, submit or clock; `outcome` says what became of it where it moved nothing; anything
    but stale has the provider asked. `before` is the task as who tells believes it to stand: it need not be read, and
    where the belief is wrong nothing moves, and it is.
    """

    task: UUID
    signal: Signal | None
    source: str
    at: datetime
    body: bytes = b""
    outcome: str = "stale"
    before: steps.TaskState | None = None


class Outcome(NamedTuple):
    """What a word did: the step it made (None: it changed nothing), and the task as it stood before.

    `move` is the step as it is written.
    """

    word: Observation
    before: steps.TaskState
    step: Step | None
    move: steps.Move | None

    @property
    def task(self) -> Task:
        """The task as it stands."""
        return self.step.task if self.step else self.before.task

    def heard(self) -> steps.RawCallback:
        """Return what the provider said, as it is kept."""
        outcome = "moved" if self.step and self.word.outcome == "stale" else self.word.outcome
        word = self.word
        return steps.RawCallback(word.task, word.at, word.source, outcome, word.body[: steps.CALLBACK_KEPT])


class Ingest:
    """The flow; `hear` is for those who have a signal already, `callback` for the provider's own calls."""

    def __init__(
        self,
        database: Database,
        *,
        wakeups: Sequence[Wakeup],
        ask_after: float,
        coalesce: bool = True,
        secrets: Sequence[str] = (),
        confirm: bool = False,
        depth: int = 32,
        max_waiting: int = 2000,
        observe: Callable[[int, float], None] | None = None,
        observe_step: Callable[[Step, str], None] = lambda _step, _source: None,
        observe_word: Callable[[str, str], None] = lambda _source, _outcome: None,
    ) -> None:
        """`ask_after`: seconds of silence; `secrets` verify callbacks; `confirm`: ask before a final one counts."""
        self._database = database
        self._wakeups = wakeups
        self._ask_after = ask_after
        self._secrets = secrets
        self._confirm = confirm
        self._depth = depth
        self._observe_step = observe_step
        self._observe_word = observe_word
        self._write = Coalescer(
            self._hear_all,
            lambda word: word.task,
            max_waiting=max_waiting,
            max_items=64 if coalesce else 1,
            observe=observe,
        )

    async def callback(self, task: UUID, body: bytes, headers: Mapping[str, str], now: datetime) -> None:
        """Record a callback whose token was good; returns once it is on disk.

        Late, doubled and contradicting ones change nothing; one that cannot be read or is not to be believed is kept,
        and the provider asked.
        Raises NotFound, OverloadedError, StoreUnavailableError.
        """
        word = self._read(task, body, headers, now)
        note(task=task)
        told = await self.hear(word)
        outcome = "moved" if told.step else word.outcome
        note(outcome=outcome, task_status=told.task.status.value, trace=told.before.trace)
        if word.outcome != "stale":
            await due_submissions.poll_now(self._database, task)

    def hear(self, word: Observation) -> "asyncio.Future[Outcome]":
        """Let `word` move its task, where it does; raises NotFound, OverloadedError, StoreUnavailableError."""
        return self._write(word)

    async def drain(self) -> None:
        """Wait until all that was heard is written."""
        await self._write.drain()

    @property
    def waiting(self) -> int:
        """How many words wait to be written."""
        return self._write.waiting

    def _read(self, task: UUID, body: bytes, headers: Mapping[str, str], now: datetime) -> Observation:
        signed = bool(self._secrets) and signature.verify(
            self._secrets,
            headers.get("webhook-id", ""),
            headers.get("webhook-timestamp", ""),
            headers.get("webhook-signature", ""),
            body,
            now=now,
        )
        if self._secrets and not signed:
            return Observation(task=task, signal=None, source="callback", at=now, body=body, outcome="unsigned")
        try:
            signal = callback.read(body, self._depth)
        except UnreadableError:
            return Observation(task=task, signal=None, source="callback", at=now, body=body, outcome="unreadable")
        if self._confirm and not signed and signal.kind in {SignalKind.SUCCEED, SignalKind.FAILED}:
            # that the provider has the task is believed, as of any callback; how it ended is asked
            begun = Signal(kind=SignalKind.SUBMITTED, provider_task_id=signal.provider_task_id)
            return Observation(task=task, signal=begun, source="callback", at=now, body=body, outcome="unconfirmed")
        return Observation(task=task, signal=signal, source="callback", at=now, body=body)

    async def _hear_all(self, words: Sequence[Observation]) -> list[Outcome | BaseException]:
        """Write a batch of words about as many tasks; a word about an unknown task gets NotFound as its result."""
        found: dict[UUID, Outcome | BaseException] = {}
        left = list(words)
        for turn in range(MAX_READS):
            standings = {word.task: word.before for word in left if word.before} if turn == 0 else {}
            if unknown := [word.task for word in left if word.task not in standings]:
                standings |= await steps.read(self._database, unknown)
            decided = [_decide(word, standings[word.task]) for word in left if word.task in standings]
            moved = await self._write_all(decided, first=turn == 0)
            found.update({word.task: NotFound() for word in left if word.task not in standings})
            for each in decided:
                if each.move is None or each.word.task in moved:
                    found[each.word.task] = each
                    self._observe_word(each.word.source, "moved" if each.move else each.word.outcome)
            left = [word for word in left if word.task not in found]
            if not left:
                break
        else:
            found.update({word.task: StoreUnavailableError("too many racing moves") for word in left})
        return [found[word.task] for word in words]

    async def _write_all(self, decided: Sequence[Outcome], *, first: bool) -> set[UUID]:
        moves = [each.move for each in decided if each.move]
        heard = [each.heard() for each in decided if each.word.body] if first else []
        taken = [
            _taken(each.word, each.word.signal)
            for each in decided
            if each.word.signal and each.task.status not in FINAL
        ]
        if not (moves or heard or taken):
            return set()
        moved = await steps.write(self._database, moves, heard, taken, ask_in=self._ask_after)
        if moved:
            for wakeup in self._wakeups:
                wakeup.ring()
            for each in decided:
                if each.step and each.word.task in moved:
                    self._observe_step(each.step, each.word.source)
        return moved


def _decide(word: Observation, before: steps.TaskState) -> Outcome:
    step = advance(before.task, word.signal, word.at) if word.signal else None
    if step is None:
        return Outcome(word, before, None, None)
    entry = ledger.on_step(before.task.status, step.task.status, before.quote, step.signal.charge)
    event = make_task_event(before.identity, step.task, step.signal)
    return Outcome(word, before, step, steps.move(before.task, step, event, entry))


def _taken(word: Observation, signal: Signal) -> steps.Acceptance:
    name = signal.provider_task_id
    return steps.Acceptance(word.task, name, is_own_id=word.source == "submit" and name is not None)
