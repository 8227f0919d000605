"""Sends recorded orders to the provider: claims each one, POSTs it once, and records the outcome. Also admits waiting
orders to free slots.

Exactly one process claims an order before its POST leaves. From then on the order is never sent again unless the
provider certainly did not accept it. Sending continues if the client disconnects.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import nullcontext, suppress
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, assert_never
from uuid import UUID

from kling_relay.core.operation import operation_of
from kling_relay.core.submission import (
    Accepted,
    AccountRefused,
    Refused,
    RetryLater,
    SubmitOutcome,
    Unknown,
    backoff,
)
from kling_relay.core.task import Signal, SignalKind
from kling_relay.flows.clients import ProviderClient
from kling_relay.flows.coalesce import Coalescer, OverloadedError
from kling_relay.flows.ingest import Ingest, Observation, Outcome
from kling_relay.flows.memory import LARGE, OVERHEAD, BodyMemory, BodyShare, NoRoomError
from kling_relay.flows.observer import Observer
from kling_relay.flows.sending_window import SendingWindow
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Row, StoreError, StoreReadOnlyError
from kling_relay.store.tasks import slots, submissions
from kling_relay.store.tasks.steps import TaskState

Written = TypeVar("Written")
_TRANSIENT = (StoreError, OverloadedError)


class OutgoingOrder(NamedTuple):
    """A recorded order to send. `attempt` counts how often it was put back to wait; `claim_id` names its claim,
    and `window` is in which it may be sent.

    A `payload` of None is still in the database. `before` is the task if it was recorded just now, or None if it has to
    be read. `share` is released when the order is sent.
    """

    task: UUID
    kind: str
    payload: bytes | None
    attempt: int = 0
    claim_id: UUID | None = None
    window: SendingWindow | None = None
    trace: str | None = None
    before: TaskState | None = None
    share: BodyShare | None = None


class _OrderClaim(NamedTuple):
    """A claim that succeeded, with the attempts that the submission had by then."""

    claim_id: UUID
    window: SendingWindow
    attempt: int


class Sent(NamedTuple):
    """What came of sending: the provider's answer, and what it did to the task (None if the task stays as it is)."""

    answer: SubmitOutcome
    outcome: Outcome | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendTunables:
    """Times in seconds."""

    claimed_for: float = 90.0
    """After this, any process may take over a claimed order without an outcome. Longer than any POST."""
    window: float = 0.75
    """Fraction of `claimed_for` in which an order may be sent. Longer than any POST, too."""
    persist_for: float = 86_400.0
    """How long an outcome, or the release of a lost claim, is held while nothing can be written."""
    release_again_for: float = 90.0
    """How long a lost claim is released again and again: its statement may still be running at the server."""
    persist_in_stop: float = 20.0
    """The same while the process stops."""
    max_wait: float = 300.0
    """The longest Retry-After of the provider that is honoured. A longer one counts as this."""
    retry_after: float = 0.25
    """Before an outcome is written again; doubled each time up to `max_retry_after`."""
    max_retry_after: float = 2.0


@dataclass(frozen=True, eq=False)
class Send:
    """Sends every order that it gets in an asyncio task of its own; `drain` waits for all of them.

    `hook_of` returns a task's callback URL. `poll_after` is in seconds. `slots_limit` is how many tasks may be in
    flight at the provider. `clocks` return seconds; they measure the age of a claim.
    """

    database: Database
    provider: ProviderClient
    ingest: Ingest
    _: KW_ONLY
    hook_of: Callable[[UUID], str]
    now: Callable[[], datetime]
    clocks: Sequence[Callable[[], float]]
    random_fraction: Callable[[], float]
    new_id: Callable[[datetime], UUID]
    poll_after: float
    slots_limit: int | None = None
    memory: BodyMemory = field(default_factory=BodyMemory)
    observer: Observer = field(default_factory=Observer)
    tunables: SendTunables = SendTunables()
    _sending: "set[asyncio.Task[Any]]" = field(init=False, default_factory=set)
    _stopping: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _lost_claims: dict[UUID, float] = field(init=False, default_factory=dict)
    """When each was lost, in the event loop's time."""

    @cached_property
    def _claim(self) -> Coalescer[UUID, _OrderClaim | None]:
        return Coalescer(self._claim_all, lambda task: task)

    def __call__(self, order: OutgoingOrder) -> "asyncio.Task[Sent | None]":
        """Send in the background. The asyncio task's result is None if another process had claimed the order."""
        return self._start(self._send(order))

    async def admit(self, own: OutgoingOrder | None = None) -> "dict[UUID, asyncio.Task[Sent | None]]":
        """Start to send as many orders as there are free slots and memory for, oldest first; return them.

        `own` is one that was recorded just now; its share is released if it has to stand in line.
        """
        if self.slots_limit is None:
            return {}
        claim_id, window = self.new_id(self.now()), self._window()
        shares = {own.task: own.share or BodyShare(self.memory)} if own else {}
        rows: Sequence[Row] = ()
        try:
            rows = await slots.admit(
                self.database,
                self.slots_limit,
                self.tunables.claimed_for,
                claim_id,
                lambda task, size: self._has_room(shares, task, size),
            )
        except StoreReadOnlyError:  # surely nothing was claimed
            raise
        except StoreError:
            self.release(claim_id)
            raise
        finally:
            for task in shares.keys() - {row["task"] for row in rows}:
                shares[task].release()
        orders = [
            OutgoingOrder(
                task=row["task"],
                kind=row["kind"],
                payload=own.payload if own and own.task == row["task"] else row["payload"],
                attempt=row["attempt"],
                claim_id=claim_id,
                window=window,
                trace=row["trace"],
                share=shares[row["task"]],
            )
            for row in rows
        ]
        return {order.task: self(order) for order in orders}

    def _has_room(self, shares: dict[UUID, BodyShare], task: UUID, size: int) -> bool:
        if task not in shares:
            try:
                shares[task] = self.memory.share(OVERHEAD + size)
            except NoRoomError:
                return False
        return True

    async def drain(self) -> None:
        """Wait until nothing is being sent. From now on, unwritten outcomes are dropped after `persist_in_stop`."""
        self._stopping.set()
        while self._sending:
            await asyncio.wait(self._sending)

    def _start(self, work: Coroutine[Any, Any, Written]) -> "asyncio.Task[Written]":
        task = asyncio.get_running_loop().create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._sending.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: callers get it, too, and the sweep repairs the rest

    async def _claim_all(self, tasks: Sequence[UUID]) -> Sequence[_OrderClaim | None]:
        claim_id, window = self.new_id(self.now()), self._window()
        try:
            attempts = await submissions.claim_for_sending(self.database, tasks, self.tunables.claimed_for, claim_id)
        except StoreReadOnlyError:  # surely nothing was claimed
            raise
        except StoreError:
            self.release(claim_id)
            raise
        return [_OrderClaim(claim_id, window, attempts[task]) if task in attempts else None for task in tasks]

    def _window(self) -> SendingWindow:
        return SendingWindow(self.clocks, self.tunables.window * self.tunables.claimed_for)

    def release(self, claim_id: UUID) -> None:
        """Release a claim whose confirmation was lost: it may be in the database, but nothing was sent under it.

        That goes on in the background until it is certain, even if the sweep has taken it for abandoned meanwhile.
        """
        is_releasing = bool(self._lost_claims)
        self._lost_claims[claim_id] = asyncio.get_running_loop().time()
        if not is_releasing:
            _ = self._start(self._release_lost_claims())

    async def _release_lost_claims(self) -> None:
        loop, tunables = asyncio.get_running_loop(), self.tunables
        try:
            while self._lost_claims:
                asked_at, claims = loop.time(), list(self._lost_claims)
                await self._persist(lambda: submissions.release_claims(self.database, claims), tunables.persist_for)  # noqa: B023 - it is awaited here
                for claim_id in claims:
                    if self._stopping.is_set() or asked_at - self._lost_claims[claim_id] > tunables.release_again_for:
                        del self._lost_claims[claim_id]
                if self._lost_claims:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._stopping.wait(), tunables.max_retry_after)
        finally:
            self._lost_claims.clear()

    async def _send(self, order: OutgoingOrder) -> Sent | None:
        try:
            if order.payload is None:
                order = order._replace(payload=await self._read_payload(order))
            if order.claim_id is None:
                claim = await self._claim(order.task)
                if claim is None:
                    return None
                order = order._replace(claim_id=claim.claim_id, window=claim.window, attempt=claim.attempt)
            answer = await self._post(order)
        finally:
            if order.share is not None:
                order.share.release()
        order = order._replace(payload=None)  # its outcome may have to wait for a day
        if isinstance(answer, AccountRefused):
            self.observer.provider_refused_account(order.task, answer)
        return await self._persist(lambda: self._write_outcome(order, answer), self.tunables.persist_for)

    async def _read_payload(self, order: OutgoingOrder) -> bytes | None:
        """Return what the database has; None if it cannot be read of an order that is claimed already."""
        size = order.share.size if order.share else 0
        try:
            async with self.memory.copying(2 * size) if size > LARGE else nullcontext():
                return await submissions.read_payload(self.database, order.task)
        except (StoreError, NoRoomError):
            if order.claim_id is None:
                raise
            return None

    async def _post(self, order: OutgoingOrder) -> SubmitOutcome:
        if order.payload is None:
            return RetryLater(0, "the order could not be read from the database")
        assert order.window is not None  # whoever claims opens one
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        answer = await self.provider.submit(
            operation_of(order.kind),
            order.payload,
            order.task,
            self.hook_of(order.task),
            self.now(),
            order.trace,
            may_send=order.window.is_open,
        )
        self.observer.order_sent(answer, loop.time() - started_at)
        return answer

    async def _persist(self, write: Callable[[], Awaitable[Written]], within: float) -> Written:
        """Try to write until the database is back and writable, because a lost outcome would cost the task."""
        loop = asyncio.get_running_loop()
        started_at, wait = loop.time(), self.tunables.retry_after
        while True:
            try:
                return await write()
            except _TRANSIENT:
                tunables = self.tunables
                limit = tunables.persist_in_stop if self._stopping.is_set() else within
                if loop.time() - started_at > limit:
                    raise
                await asyncio.sleep(wait)
                wait = min(2 * wait, tunables.max_retry_after)

    async def _write_outcome(self, order: OutgoingOrder, answer: SubmitOutcome) -> Sent:
        outcome: Outcome | None = None
        claim_id = order.claim_id or order.task  # it is claimed by now
        match answer:
            case Accepted(_, signal):
                outcome = await self._apply(order, signal)
            case Refused(code, message, _):
                reason = f"the provider refused the order: {message} ({code})"
                outcome = await self._apply(order, Signal(kind=SignalKind.FAILED, reason=reason))
            case AccountRefused(code, reason):
                signal = Signal(kind=SignalKind.FAILED, reason=f"the provider currently accepts no orders ({code})")
                outcome = await self._apply(order, signal)
            case RetryLater(code, reason, retry_after):
                attempt = order.attempt + 1
                wait = max(backoff(attempt, self.random_fraction()), min(retry_after or 0.0, self.tunables.max_wait))
                await submissions.set_waiting(self.database, order.task, claim_id, attempt, f"{reason} ({code})", wait)
            case Unknown(reason):
                await submissions.set_unknown(self.database, order.task, claim_id, reason, self.poll_after)
            case _:
                assert_never(answer)
        return Sent(answer=answer, outcome=outcome)

    async def _apply(self, order: OutgoingOrder, signal: Signal) -> Outcome:
        return await self.ingest.apply(
            Observation(task=order.task, signal=signal, source="submit", at=self.now(), before=order.before)
        )
