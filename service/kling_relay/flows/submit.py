"""Submit: an order is recorded as a task, then sent to the provider, then the client gets its response.

Nothing is sent that is not recorded. A crash between the two leaves an order that the sweep sends. An order that is
repeated (by Idempotency-Key or external_task_id) gets the first task's response again. The response does not wait
longer than `patience` for a slow provider: the task exists, and sending goes on.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from kling_relay.core import order as orders_core
from kling_relay.core import price
from kling_relay.core.errors import Conflict, ProviderRefused, ProviderUnavailable
from kling_relay.core.event import TaskIdentity, task_json, to_json_bytes
from kling_relay.core.key import Caller
from kling_relay.core.order import Order, PackedOrder
from kling_relay.core.submission import AccountRefused, Refused
from kling_relay.core.task import Status, Task
from kling_relay.flows.budget import Budget
from kling_relay.flows.budgeted_orders import (
    MAX_BATCH_BYTES,
    BudgetedOrder,
    BudgetedOrders,
    RepeatedError,
    copying_payloads,
)
from kling_relay.flows.coalesce import MAX_TRIES, Coalescer, OverloadedError
from kling_relay.flows.memory import LARGE, BodyMemory, BodyShare
from kling_relay.flows.send import OutgoingOrder, Send, Sent
from kling_relay.store.deliveries import subscriptions
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import CollisionError, StoreError, transaction
from kling_relay.store.tasks import idempotency, lookup
from kling_relay.store.tasks import record as orders
from kling_relay.store.tasks.record import NewTask
from kling_relay.store.tasks.steps import TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitTunables:
    """Times in seconds."""

    patience: float = 3.0
    """How long a client waits for the provider's answer."""
    unsent_for: float = 10.0
    """After this the sweep sends an order that is recorded and unsent."""
    large_wait: float = 30.0
    """How long a large order may wait to be recorded; large ones are written one by one."""


@dataclass(frozen=True, eq=False)
class Submit:
    """`body_of` turns an order's fields into the provider's JSON. Without a `budget` no order is limited."""

    database: Database
    send: Send
    _: KW_ONLY
    prices: price.Prices
    body_of: Callable[[Mapping[str, Any]], bytes]
    new_id: Callable[[datetime], UUID]
    budget: Budget | None = None
    memory: BodyMemory = field(default_factory=BodyMemory)
    tunables: SubmitTunables = SubmitTunables()

    @cached_property
    def _quote(self) -> price.Quoter:
        return price.Quoter(self.prices)

    @cached_property
    def _record(self) -> Coalescer[NewTask, None]:
        return Coalescer(self._record_all, lambda record: record.id, size=_size, max_bytes=MAX_BATCH_BYTES)

    @cached_property
    def _record_large(self) -> Coalescer[NewTask, None]:
        """Large orders have a line of their own, so that small ones do not wait behind them."""
        return Coalescer(
            self._record_all,
            lambda record: record.id,
            max_wait=self.tunables.large_wait,
            max_flushes=1,
            size=_size,
            max_bytes=MAX_BATCH_BYTES,
        )

    @cached_property
    def _budgeted(self) -> BudgetedOrders | None:
        return BudgetedOrders(self.database, self.budget, self._due_in, self.memory) if self.budget else None

    @property
    def _due_in(self) -> float:
        """With slots an order is in line at once; without slots it is ours to send for a while."""
        return self.tunables.unsent_for if self.send.slots_limit is None else 0.0

    def pack(self, order: Order, idempotency_key: str | None) -> PackedOrder:
        """Return the order as it is recorded; a large one takes tens of milliseconds."""
        is_repeatable = bool(idempotency_key or order.external_task_id)
        return orders_core.pack(order, self.body_of, is_repeatable=is_repeatable)

    async def __call__(
        self,
        caller: Caller,
        packed: PackedOrder,
        *,
        idempotency_key: str | None,
        trace: str | None,
        now: datetime,
        share: BodyShare | None = None,
    ) -> Mapping[str, Any]:
        """Record and send an order; return its task as the API shows it.

        `share` is the order's share of the memory; it is released when the order is sent or fails. Raises Conflict,
        ProviderRefused, ProviderUnavailable, BudgetExceeded, OverloadedError, StoreUnavailableError.
        """
        fingerprint = packed.fingerprint
        try:
            order = await self._new_order(caller, packed, idempotency_key, trace, now)
            del packed
            keys, record = order.keys, await self._write(order, now)
            del order
        except BaseException as error:
            if share is not None:
                share.release()
            if isinstance(error, RepeatedError):
                return await self._first_task(caller, error.used_keys, fingerprint)
            raise
        before = _initial_state(record)
        outgoing = OutgoingOrder(
            task=record.id,
            kind=record.kind,
            payload=record.payload,
            trace=record.trace,
            before=before,
            share=share,
        )
        record = record._replace(payload=b"")  # the sender alone has it now, and lets it go when it is sent
        sending = self._sent(outgoing)
        del outgoing
        sent = await sending
        if sent is None:
            return task_json(before.identity, before.task)
        await self._raise_refusal(caller, keys, record, sent)
        if sent.outcome is None:
            return task_json(before.identity, before.task)
        if step := sent.outcome.step:
            return task_json(sent.outcome.before.identity, step.task, step.signal.reason, step.signal.result)
        view = None
        with suppress(StoreError):  # it is recorded and sent; the client can ask again when the database is back
            view = await lookup.by_id(self.database, caller.client, before.task.id)
        return view.shown if view else task_json(before.identity, before.task)

    async def drain(self) -> None:
        """Wait until every order is recorded and sent."""
        await self._record.drain()
        await self._record_large.drain()
        if self._budgeted:
            await self._budgeted.drain()
        await self.send.drain()

    async def _new_order(
        self, caller: Caller, packed: PackedOrder, key: str | None, trace: str | None, now: datetime
    ) -> BudgetedOrder:
        order = packed.order
        quote = self._quote(order)
        hook = None
        if order.hook:
            hook = await subscriptions.ensure_hook(self.database.pool, caller.client, order.hook, now)
        record = NewTask(
            id=self.new_id(now),
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
            fields=to_json_bytes(order.fields).decode(),
            payload=packed.payload,
        )
        keys = [f"i:{key}"] if key else []
        keys += [f"e:{order.external_task_id}"] if order.external_task_id else []
        return BudgetedOrder(record=record, keys=tuple(keys), fingerprint=packed.fingerprint)

    async def _write(self, order: BudgetedOrder, now: datetime) -> NewTask:
        """Record the order, and return it as recorded.

        Without keys it shares a transaction with others; with a budget, with its client's.
        """
        record = order.record
        if self.budget and self._budgeted and await self.budget.is_limited(record.client, record.key, now):
            return await self._budgeted(order)
        if not order.keys:
            await (self._record if len(record.payload) <= LARGE else self._record_large)(record)
            return record
        for tries_left in range(MAX_TRIES - 1, -1, -1):
            try:
                await self._record_with_keys(order)
            except CollisionError:  # a deadlock, or a database that is serializable by default: nothing was written
                if not tries_left:
                    raise
            else:
                break
        return record

    async def _record_with_keys(self, order: BudgetedOrder) -> None:
        """Record an order and its keys in one transaction. Raises RepeatedError, CollisionError."""
        record = order.record
        async with copying_payloads(self.memory, [record]), transaction(self.database.pool) as connection:
            used_keys = await idempotency.reserve_keys(
                connection, record.client, order.keys, record.id, order.fingerprint
            )
            if used_keys:
                raise RepeatedError(used_keys)
            await orders.record_on(connection, [record], self._due_in)

    async def _record_all(self, records: Sequence[NewTask]) -> Sequence[None]:
        try:
            async with copying_payloads(self.memory, records):
                await orders.record(self.database, records, self._due_in)
        except CollisionError:
            # a batch that was repeated because its confirmation was lost: nobody else has these ids
            if not await orders.are_recorded(self.database, [record.id for record in records]):
                raise
        return [None] * len(records)

    async def _sent(self, order: OutgoingOrder) -> Sent | None:
        """Send the order or let it stand in line. None if there is no answer yet or another process sends it."""
        try:
            if self.send.slots_limit is None:
                sending = self.send(order)
            else:
                task = order.task
                admitting = self.send.admit(order)
                del order
                admitted = await admitting
                if task not in admitted:
                    return None
                sending = admitted[task]
            async with asyncio.timeout(self.tunables.patience):
                return await asyncio.shield(sending)
        except (TimeoutError, StoreError, OverloadedError):  # it is recorded: the sweep goes on with it
            return None

    async def _raise_refusal(self, caller: Caller, keys: Sequence[str], record: NewTask, sent: Sent) -> None:
        """Raise the provider's refusal, if it is one. The keys are free again, because nothing came of the order."""
        match sent.answer:
            case Refused(code, message, http_status):
                refusal: Exception = ProviderRefused(code, message, http_status)
            case AccountRefused():
                refusal = ProviderUnavailable()
            case _:
                return
        if keys:
            with suppress(StoreError):  # a repeated order then finds the failed task, with the same reason
                await idempotency.release_keys(self.database, caller.client, keys, record.id)
        raise refusal

    async def _first_task(
        self, caller: Caller, used_keys: Sequence[idempotency.UsedKey], fingerprint: bytes
    ) -> Mapping[str, Any]:
        """Return the task of the first order with these keys. Raises Conflict if that was another order."""
        tasks = {repeated.task for repeated in used_keys}
        if len(tasks) > 1 or any(repeated.fingerprint != fingerprint for repeated in used_keys):
            raise Conflict
        task = await lookup.by_id(self.database, caller.client, tasks.pop())
        if task is None:
            raise Conflict
        return task.shown


def _size(record: NewTask) -> int:
    return len(record.payload)


def _initial_state(record: NewTask) -> TaskState:
    """Return the task of an order that was recorded just now."""
    identity = TaskIdentity(
        id=record.id,
        client=record.client,
        kind=record.kind,
        external_task_id=record.external_task_id,
        created_at=record.created_at,
    )
    task = Task(id=record.id, status=Status.RECORDED, sequence=0, updated_at=record.created_at)
    return TaskState(identity=identity, task=task, quote=record.quote, currency=record.currency, trace=record.trace)
