"""Sends recorded orders to the provider: claims each one, POSTs it once, and records the outcome. Also admits waiting
orders to free slots.

Exactly one process claims an order before its POST leaves. From then on the order is never sent again unless the
provider certainly did not accept it. Sending continues if the client disconnects.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, assert_never
from uuid import UUID

from kling_relay.core.operation import Kind, operation_of
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
from kling_relay.flows.observer import Observer
from kling_relay.flows.sending_window import SendingWindow
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import StoreError, StoreReadOnlyError
from kling_relay.store.tasks import slots, submissions
from kling_relay.store.tasks.steps import TaskState

Written = TypeVar("Written")
_TRANSIENT = (StoreError, OverloadedError)


class OutgoingOrder(NamedTuple):
    """A recorded order to send. `attempt` counts how often it was put back to wait; `claim_id` names its claim,
    and `window` is in which it may be sent.

    `before` is the task if it was recorded just now, or None if it has to be read.
    """

    task: UUID
    kind: Kind
    payload: bytes
    attempt: int = 0
    claim_id: UUID | None = None
    window: SendingWindow | None = None
    trace: str | None = None
    before: TaskState | None = None


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

    async def admit(self) -> "dict[UUID, asyncio.Task[Sent | None]]":
        """Start to send as many orders as there are free slots, oldest first; return them."""
        if self.slots_limit is None:
            return {}
        claim_id, window = self.new_id(self.now()), self._window()
        try:
            rows = await slots.admit(self.database, self.slots_limit, self.tunables.claimed_for, claim_id)
        except StoreReadOnlyError:  # surely nothing was claimed
            raise
        except StoreError:
            self.release(claim_id)
            raise
        orders = [
            OutgoingOrder(
                task=row["task"],
                kind=Kind(row["kind"]),
                payload=row["payload"],
                attempt=row["attempt"],
                claim_id=claim_id,
                window=window,
                trace=row["trace"],
            )
            for row in rows
        ]
        return {order.task: self(order) for order in orders}

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
        if order.claim_id is None:
            claim = await self._claim(order.task)
            if claim is None:
                return None
            order = order._replace(claim_id=claim.claim_id, window=claim.window, attempt=claim.attempt)
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
        if isinstance(answer, AccountRefused):
            self.observer.provider_refused_account(order.task, answer)
        return await self._persist(lambda: self._write_outcome(order, answer), self.tunables.persist_for)

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
