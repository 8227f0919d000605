"""Submit: an order becomes a task on disk, then the provider hears of it, then the client gets its answer.

Nothing is sent that is not recorded; a crash between the two leaves an order that the next process sends. Orders that
can be repeated (by Idempotency-Key or external_task_id) give the first task's answer again. The client's answer does
not wait longer than `patience` for a slow provider: the task is there, and sending goes on.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from kling_relay.core import order as orders_core
from kling_relay.core import price
from kling_relay.core.errors import Conflict, ProviderRefused, ProviderUnavailable
from kling_relay.core.event import TaskIdentity, task_json, to_json_bytes
from kling_relay.core.key import Caller
from kling_relay.core.order import Order
from kling_relay.core.submission import AccountRefused, Refused
from kling_relay.core.task import Status, Task
from kling_relay.flows.budget import Budget
from kling_relay.flows.budgeted_orders import BudgetedOrder, BudgetedOrders, RepeatedError
from kling_relay.flows.coalesce import Coalescer, OverloadedError
from kling_relay.flows.send import OutgoingOrder, Send, Sent
from kling_relay.store.deliveries import subscriptions
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import CollisionError, StoreError, transaction
from kling_relay.store.tasks import idempotency, lookup
from kling_relay.store.tasks import record as orders
from kling_relay.store.tasks.record import NewTask
from kling_relay.store.tasks.steps import TaskState

UNSENT_FOR = 10.0
"""Seconds in which a recorded order is its own process's to send; then the sweep sends it."""


class Submit:
    """The flow; see the module."""

    def __init__(
        self,
        database: Database,
        send: Send,
        *,
        prices: price.Prices,
        body_of: Callable[[Mapping[str, Any]], bytes],
        new_id: Callable[[datetime], UUID],
        patience: float = 3.0,
        budget: Budget | None = None,
    ) -> None:
        """`body_of` makes an order's fields the provider's JSON; `patience` is in seconds."""
        self._database = database
        self._send = send
        self._quote = price.Quoter(prices)
        self._body_of = body_of
        self._new_id = new_id
        self._patience = patience
        self._budget = budget
        self._limited = BudgetedOrders(database, budget, lambda: self._due_in) if budget else None
        self._record = Coalescer(self._record_all, lambda record: record.id)

    async def __call__(
        self, caller: Caller, order: Order, *, word: str | None, trace: str | None, now: datetime
    ) -> Mapping[str, Any]:
        """Make `order` a task and return it as it is shown.

        Raises Conflict, ProviderRefused, ProviderNever, BudgetExceeded, OverloadedError, StoreUnavailableError.
        """
        ordered = await self._ordered(caller, order, word, trace, now)
        record = ordered.record
        try:
            await self._write(ordered, now)
        except RepeatedError as repeated:
            return await self._repeat(caller, repeated.found, ordered.fingerprint)
        standing = _recorded(record)
        outgoing = OutgoingOrder(
            task=record.id, kind=order.kind, payload=record.payload, trace=record.trace, standing=standing
        )
        sent = await self._sent(outgoing)
        if sent is not None:
            await self._raise_refusal(caller, ordered, sent)
        if sent is not None and sent.told is not None and (step := sent.told.step):
            return task_json(sent.told.before.identity, step.task, step.signal.reason, step.signal.result)
        found = None
        if sent is not None and sent.told is not None:
            with suppress(StoreError):  # it is recorded and sent; how it stands can be asked when the database is back
                found = await lookup.by_id(self._database, caller.client, record.id)
        return found.shown if found else task_json(standing.identity, standing.task)

    async def drain(self) -> None:
        """Wait until all that was ordered is recorded and sent."""
        await self._record.drain()
        if self._limited:
            await self._limited.drain()
        await self._send.drain()

    async def _ordered(
        self, caller: Caller, order: Order, word: str | None, trace: str | None, now: datetime
    ) -> BudgetedOrder:
        quote = self._quote(order)
        hook = None
        if order.hook:
            hook = await subscriptions.ensure_hook(self._database.pool, caller.client, order.hook, now)
        record = NewTask(
            id=self._new_id(now),
            client=caller.client,
            key=caller.key,
            created_at=now,
            kind=order.kind,
            model=order.model,
            mode=order.mode,
            duration=order.duration,
            units=order.units,
            quote=quote.amount,
            currency=quote.currency,
            prices=quote.version,
            external_task_id=order.external_task_id,
            hook=hook,
            trace=trace,
            fields=to_json_bytes(order.to_json()).decode(),
            payload=self._body_of(order.fields),
        )
        words = [f"i:{word}"] if word else []
        words += [f"e:{order.external_task_id}"] if order.external_task_id else []
        return BudgetedOrder(
            record=record, words=tuple(words), fingerprint=orders_core.fingerprint(order) if words else b""
        )

    async def _write(self, ordered: BudgetedOrder, now: datetime) -> None:
        """Record the order; what has no words goes together with others in hand, what has a limit with its client's."""
        record = ordered.record
        if self._budget and self._limited and await self._budget.is_limited(record.client, record.key, now):
            await self._limited(ordered)
            return
        if not ordered.words:
            await self._record(record)
            return
        async with transaction(self._database.pool) as connection:
            found = await idempotency.reserve_keys(
                connection, record.client, ordered.words, record.id, ordered.fingerprint
            )
            if found:
                raise RepeatedError(found)
            await orders.record_on(connection, [record], self._due_in)

    @property
    def _due_in(self) -> float:
        """With slots an order is in line at once; without it is ours to send for a while."""
        return UNSENT_FOR if self._send.slots_limit is None else 0.0

    async def _record_all(self, records: Sequence[NewTask]) -> Sequence[None]:
        try:
            await orders.record(self._database, records, self._due_in)
        except CollisionError:
            # repeated after a lost answer, and the first time was written after all: the ids are nobody else's
            if not await orders.are_recorded(self._database, [record.id for record in records]):
                raise
        return [None] * len(records)

    async def _sent(self, outgoing: OutgoingOrder) -> Sent | None:
        """Send, or stand in line; None where the answer is not there yet, or somebody else sends it."""
        try:
            if self._send.slots_limit is None:
                sending = self._send(outgoing)
            else:
                admitted = await self._send.admit()
                if outgoing.task not in admitted:
                    return None
                sending = admitted[outgoing.task]
            async with asyncio.timeout(self._patience):
                return await asyncio.shield(sending)
        except (TimeoutError, StoreError, OverloadedError):  # it is recorded: the sweep goes on with it
            return None

    async def _raise_refusal(self, caller: Caller, ordered: BudgetedOrder, sent: Sent) -> None:
        """Pass a refusal on; its words are free again, because nothing came of them."""
        match sent.outcome:
            case Refused(code, message, http_status):
                refusal: Exception = ProviderRefused(code, message, http_status)
            case AccountRefused():
                refusal = ProviderUnavailable()
            case _:
                return
        if ordered.words:
            with suppress(StoreError):  # a repeat then finds the failed task, with the same reason
                await idempotency.release_keys(self._database, caller.client, ordered.words, ordered.record.id)
        raise refusal

    async def _repeat(
        self, caller: Caller, found: Sequence[idempotency.UsedKey], fingerprint: bytes
    ) -> Mapping[str, Any]:
        tasks = {each.task for each in found}
        if len(tasks) > 1 or any(each.fingerprint != fingerprint for each in found):
            raise Conflict
        task = await lookup.by_id(self._database, caller.client, tasks.pop())
        if task is None:
            raise Conflict
        return task.shown


def _recorded(record: NewTask) -> TaskState:
    """Return a task that is recorded and not yet moved, as it stands."""
    identity = TaskIdentity(
        id=record.id,
        client=record.client,
        kind=record.kind,
        external_task_id=record.external_task_id,
        created_at=record.created_at,
    )
    task = Task(id=record.id, status=Status.RECORDED, sequence=0, updated_at=record.created_at)
    return TaskState(identity=identity, task=task, quote=record.quote, currency=record.currency, trace=record.trace)
