"""Send: one recorded order to the provider, once, and whatever comes of it onto disk.

The mark `sending` is written before the POST leaves and taken by exactly one process; from then on the order is never
sent again unless the provider surely did not take it. Sending goes on when the client that ordered has gone away.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, assert_never
from uuid import UUID

from service.core.kind import Kind, door_of
from service.core.submission import Accepted, Never, Outcome, Refused, Unknown, Wait, backoff
from service.core.task import News, Signal
from service.flows.coalesce import Coalescer
from service.flows.ingest import Ingest, Told, Word
from service.store import slots, submissions
from service.store.database import Database
from service.store.statement import StoreUnavailableError

TAKEN_FOR = 90.0
"""Seconds after which a marked submission without an outcome belongs to whoever looks: longer than any POST."""


class Takes(Protocol):
    """The provider, as far as orders go."""

    async def submit(self, door_path: str, body: bytes, task: UUID, hook: str, now: datetime) -> Outcome: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A recorded order on its way out; `attempt` counts the times it was put back to wait."""

    task: UUID
    kind: Kind
    payload: bytes
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What came of sending: the provider's answer, and what it did to the task (None: the task did not move)."""

    outcome: Outcome
    told: Told | None


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
        ask_after: float,
        slots_limit: int | None = None,
        alert: Callable[[UUID, Never], None] = lambda _task, _never: None,
        observe: Callable[[Outcome, float], None] = lambda _outcome, _seconds: None,
    ) -> None:
        """`hook_of` names a task's callback URL; `ask_after`: seconds; `alert` hears what an operator must mend."""
        self._database = database
        self._provider = provider
        self._ingest = ingest
        self._hook_of = hook_of
        self._now = now
        self._chance = chance
        self._ask_after = ask_after
        self.slots_limit = slots_limit
        self._alert = alert
        self._observe = observe
        self._mark = Coalescer(self._mark_all, lambda task: task)
        self._sending: set[asyncio.Task[Sent | None]] = set()

    def __call__(self, parcel: Parcel, *, marked: bool = False) -> "asyncio.Task[Sent | None]":
        """Send in the background; the task's result is None where somebody else had it."""
        return self._start(self._send(parcel, marked=marked))

    async def admit(self) -> "dict[UUID, asyncio.Task[Sent | None]]":
        """Send what the free slots allow, in turn; return what is now being sent."""
        if self.slots_limit is None:
            return {}
        rows = await slots.admit(self._database, self.slots_limit, TAKEN_FOR)
        parcels = [
            Parcel(task=row["task"], kind=Kind(row["kind"]), payload=row["payload"], attempt=row["attempt"])
            for row in rows
        ]
        return {parcel.task: self(parcel, marked=True) for parcel in parcels}

    async def drain(self) -> None:
        """Wait until nothing is being sent."""
        while self._sending:
            await asyncio.wait(self._sending)

    def _start(self, work: Awaitable[Sent | None]) -> "asyncio.Task[Sent | None]":
        task = asyncio.ensure_future(work)
        self._sending.add(task)
        task.add_done_callback(self._sent)
        return task

    def _sent(self, task: "asyncio.Task[Sent | None]") -> None:
        self._sending.discard(task)
        if not task.cancelled():
            task.exception()  # whoever awaits it hears it too; the sweep mends what was left behind

    async def _mark_all(self, tasks: Sequence[UUID]) -> Sequence[bool]:
        mine = await submissions.mark_sending(self._database, tasks, TAKEN_FOR)
        return [task in mine for task in tasks]

    async def _send(self, parcel: Parcel, *, marked: bool) -> Sent | None:
        if not marked and not await self._mark(parcel.task):
            return None
        begun = asyncio.get_running_loop().time()
        outcome = await self._provider.submit(
            door_of(parcel.kind), parcel.payload, parcel.task, self._hook_of(parcel.task), self._now()
        )
        self._observe(outcome, asyncio.get_running_loop().time() - begun)
        return await self._persist(parcel, outcome)

    async def _persist(self, parcel: Parcel, outcome: Outcome) -> Sent:
        """Write the outcome down, trying for as long as the mark holds: a lost answer would cost the task."""
        deadline = asyncio.get_running_loop().time() + TAKEN_FOR / 2
        while True:
            try:
                return await self._settle(parcel, outcome)
            except StoreUnavailableError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.25)

    async def _settle(self, parcel: Parcel, outcome: Outcome) -> Sent:
        told: Told | None = None
        match outcome:
            case Accepted(_, signal):
                told = await self._hear(parcel.task, signal)
            case Refused(code, message, _):
                reason = f"the provider refused the order: {message} ({code})"
                told = await self._hear(parcel.task, Signal(news=News.FAILED, reason=reason))
            case Never(code, reason):
                self._alert(parcel.task, outcome)
                signal = Signal(news=News.FAILED, reason=f"the provider takes no orders at present ({code})")
                told = await self._hear(parcel.task, signal)
            case Wait(code, reason, retry_after):
                wait = max(backoff(parcel.attempt + 1, self._chance()), retry_after or 0.0)
                await submissions.set_waiting(self._database, parcel.task, f"{reason} ({code})", wait)
            case Unknown(reason):
                await submissions.set_unknown(self._database, parcel.task, reason, self._ask_after)
            case _:
                assert_never(outcome)
        return Sent(outcome=outcome, told=told)

    async def _hear(self, task: UUID, signal: Signal) -> Told:
        return await self._ingest.hear(Word(task=task, signal=signal, source="submit", at=self._now()))
