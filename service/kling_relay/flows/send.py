"""Send: one recorded order to the provider, once, and whatever comes of it onto disk.

The mark `sending` is written before the POST leaves and taken by exactly one process; from then on the order is never
sent again unless the provider surely did not take it. Sending goes on when the client that ordered has gone away.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeVar, assert_never
from uuid import UUID

from kling_relay.core.operation import Kind, operation_of
from kling_relay.core.submission import Accepted, AccountRefused, Refused, RetryLater, SubmitOutcome, Unknown, backoff
from kling_relay.core.task import Signal, SignalKind
from kling_relay.flows.coalesce import Coalescer, OverloadedError
from kling_relay.flows.ingest import Ingest, Observation, Outcome
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import StoreError
from kling_relay.store.tasks import slots, submissions
from kling_relay.store.tasks.steps import TaskState

TAKEN_FOR = 90.0
"""Seconds after which a marked submission without an outcome belongs to whoever looks: longer than any POST."""
PERSIST_FOR = 600.0
"""Seconds for which an outcome is held while the database is away; in a stop only `PERSIST_IN_STOP`."""
PERSIST_IN_STOP = 20.0
_AGAIN_AFTER = 0.25
Written = TypeVar("Written")
_PASSING = (StoreError, OverloadedError)


class Takes(Protocol):
    """The provider, as far as orders go."""

    async def submit(
        self, operation_path: str, body: bytes, task: UUID, hook: str, now: datetime, trace: str | None = None
    ) -> SubmitOutcome: ...


class OutgoingOrder(NamedTuple):
    """A recorded order on its way out; `attempt` counts the times it was put back to wait, `mark` names its marking.

    `standing` is the task as it stood when it was recorded just now; None where that is not known.
    """

    task: UUID
    kind: Kind
    payload: bytes
    attempt: int = 0
    mark: UUID | None = None
    trace: str | None = None
    standing: TaskState | None = None


class _Mark(NamedTuple):
    """A marking that succeeded, and the attempts that the submission had by then."""

    sender: UUID
    attempt: int


class Sent(NamedTuple):
    """What came of sending: the provider's answer, and what it did to the task (None: the task did not move)."""

    outcome: SubmitOutcome
    told: Outcome | None


class Send:
    """The flow; every parcel it is given is sent in a task of its own, which `drain` waits for."""

    def __init__(
        self,
        database: Database,
        provider: Takes,
        ingest: Ingest,
        *,
        hook_of: Callable[[UUID], str],
        now: Callable[[], datetime],
        chance: Callable[[], float],
        new_id: Callable[[datetime], UUID],
        ask_after: float,
        taken_for: float = TAKEN_FOR,
        slots_limit: int | None = None,
        alert: Callable[[UUID, AccountRefused], None] = lambda _task, _never: None,
        observe: Callable[[SubmitOutcome, float], None] = lambda _outcome, _seconds: None,
    ) -> None:
        """`hook_of` names a task's callback URL; `alert` hears what an operator must mend.

        In seconds: `ask_after`, and `taken_for`, for which a marked order is its sender's: longer than any POST.
        """
        self._database = database
        self._provider = provider
        self._ingest = ingest
        self._hook_of = hook_of
        self._now = now
        self._chance = chance
        self._new_id = new_id
        self._ask_after = ask_after
        self._taken_for = taken_for
        self._is_stopping = False
        self.slots_limit = slots_limit
        self._alert = alert
        self._observe = observe
        self._mark = Coalescer(self._mark_all, lambda task: task)
        self._sending: set[asyncio.Task[Any]] = set()

    def __call__(self, outgoing: OutgoingOrder) -> "asyncio.Task[Sent | None]":
        """Send in the background; the task's result is None where somebody else had it."""
        return self._start(self._send(outgoing))

    async def admit(self) -> "dict[UUID, asyncio.Task[Sent | None]]":
        """Send what the free slots allow, in turn; return what is now being sent."""
        if self.slots_limit is None:
            return {}
        sender = self._new_id(self._now())
        try:
            rows = await slots.admit(self._database, self.slots_limit, self._taken_for, sender)
        except StoreError:
            _ = self._start(self._give_back(sender))
            raise
        outgoing_orders = [
            OutgoingOrder(
                task=row["task"],
                kind=Kind(row["kind"]),
                payload=row["payload"],
                attempt=row["attempt"],
                mark=sender,
                trace=row["trace"],
            )
            for row in rows
        ]
        return {outgoing.task: self(outgoing) for outgoing in outgoing_orders}

    async def drain(self) -> None:
        """Wait until nothing is being sent; from now on outcomes are not held for long."""
        self._is_stopping = True
        while self._sending:
            await asyncio.wait(self._sending)

    def _start(self, work: Coroutine[Any, Any, Written]) -> "asyncio.Task[Written]":
        task = asyncio.get_running_loop().create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._sent)
        return task

    def _sent(self, task: "asyncio.Task[Any]") -> None:
        self._sending.discard(task)
        if not task.cancelled():
            task.exception()  # whoever awaits it hears it too; the sweep mends what was left behind

    async def _mark_all(self, tasks: Sequence[UUID]) -> Sequence[_Mark | None]:
        sender = self._new_id(self._now())
        try:
            mine = await submissions.claim_for_sending(self._database, tasks, self._taken_for, sender)
        except StoreError:
            _ = self._start(self._give_back(sender))
            raise
        return [_Mark(sender, mine[task]) if task in mine else None for task in tasks]

    async def _give_back(self, sender: UUID) -> None:
        """Undo a marking whose answer was lost: perhaps it was written, but surely nothing of it was sent."""
        await self._persisted(lambda: submissions.release_claim(self._database, sender))

    async def _send(self, outgoing: OutgoingOrder) -> Sent | None:
        if outgoing.mark is None:
            mark = await self._mark(outgoing.task)
            if mark is None:
                return None
            outgoing = outgoing._replace(mark=mark.sender, attempt=mark.attempt)
        begun = asyncio.get_running_loop().time()
        outcome = await self._provider.submit(
            operation_of(outgoing.kind),
            outgoing.payload,
            outgoing.task,
            self._hook_of(outgoing.task),
            self._now(),
            outgoing.trace,
        )
        self._observe(outcome, asyncio.get_running_loop().time() - begun)
        if isinstance(outcome, AccountRefused):
            self._alert(outgoing.task, outcome)
        return await self._persisted(lambda: self._settle(outgoing, outcome))

    async def _persisted(self, write: Callable[[], Awaitable[Written]]) -> Written:
        """Write again and again while the database is away: a lost outcome would cost the task."""
        begun = asyncio.get_running_loop().time()
        while True:
            try:
                return await write()
            except _PASSING:
                held = asyncio.get_running_loop().time() - begun
                if held > (PERSIST_IN_STOP if self._is_stopping else PERSIST_FOR):
                    raise
                await asyncio.sleep(_AGAIN_AFTER)

    async def _settle(self, outgoing: OutgoingOrder, outcome: SubmitOutcome) -> Sent:
        told: Outcome | None = None
        sender = outgoing.mark or outgoing.task  # marked by now
        match outcome:
            case Accepted(_, signal):
                told = await self._hear(outgoing, signal)
            case Refused(code, message, _):
                reason = f"the provider refused the order: {message} ({code})"
                told = await self._hear(outgoing, Signal(kind=SignalKind.FAILED, reason=reason))
            case AccountRefused(code, reason):
                signal = Signal(kind=SignalKind.FAILED, reason=f"the provider takes no orders at present ({code})")
                told = await self._hear(outgoing, signal)
            case RetryLater(code, reason, retry_after):
                wait = max(backoff(outgoing.attempt + 1, self._chance()), retry_after or 0.0)
                await submissions.set_waiting(
                    self._database, outgoing.task, sender, outgoing.attempt + 1, f"{reason} ({code})", wait
                )
            case Unknown(reason):
                await submissions.set_unknown(self._database, outgoing.task, sender, reason, self._ask_after)
            case _:
                assert_never(outcome)
        return Sent(outcome=outcome, told=told)

    async def _hear(self, outgoing: OutgoingOrder, signal: Signal) -> Outcome:
        word = Observation(task=outgoing.task, signal=signal, source="submit", at=self._now(), before=outgoing.standing)
        return await self._ingest.hear(word)
