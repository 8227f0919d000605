"""Budgeted orders: the waiting orders of a client that has a budget are recorded in one transaction.

One lock, one sum, one statement and one commit serve them all, so that a client's orders do not wait for each other.
A repeated order gets the first one's task, whatever the budget. An order that does not fit is refused alone.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from uuid import UUID
from weakref import WeakValueDictionary

from kling_relay.core.errors import BudgetExceeded
from kling_relay.flows.budget import Budget
from kling_relay.flows.coalesce import Coalescer
from kling_relay.flows.memory import LARGE, BodyMemory
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import StoreUnavailableError, transaction
from kling_relay.store.tasks import idempotency
from kling_relay.store.tasks import record as orders
from kling_relay.store.tasks.idempotency import UsedKey
from kling_relay.store.tasks.record import NewTask

MAX_WAIT = 15.0
"""Seconds. Other processes' orders of the client are in the way, too, one transaction after the other."""
MAX_BATCH_BYTES = 4 * 2**20
"""Bytes of payloads in one statement; a larger order is written alone."""


def copying_payloads(memory: BodyMemory, records: Sequence[NewTask]) -> AbstractAsyncContextManager[None]:
    """Make room while these orders are written: the driver copies each payload twice. Small ones need no room."""
    size = sum(len(record.payload) for record in records)
    return memory.copying(2 * size) if size > LARGE else nullcontext()


class RepeatedError(Exception):
    """The order was made before, under `used_keys`."""

    def __init__(self, used_keys: Sequence[UsedKey]) -> None:
        self.used_keys = used_keys
        super().__init__()


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetedOrder:
    """An order with the keys under which it may be repeated."""

    record: NewTask
    keys: tuple[str, ...]
    fingerprint: bytes


BudgetVerdict = BudgetExceeded | RepeatedError | StoreUnavailableError | NewTask


@dataclass(frozen=True, eq=False)
class BudgetedOrders:
    """Records orders within their budgets. `due_in`: seconds in which an order is its own process's to send."""

    database: Database
    budget: Budget
    due_in: float
    memory: BodyMemory = field(default_factory=BodyMemory)
    _lines: "WeakValueDictionary[UUID, Coalescer[BudgetedOrder, NewTask]]" = field(
        init=False, default_factory=WeakValueDictionary
    )
    """By client. A line lives as long as an order waits in it."""

    async def __call__(self, order: BudgetedOrder) -> NewTask:
        """Record the order, and return it as recorded.

        Raises BudgetExceeded, RepeatedError, OverloadedError, StoreError.
        """
        client = order.record.client
        line = self._lines.get(client)
        if line is None:
            line = self._lines[client] = Coalescer(
                self._record,
                lambda order: order.record.id,
                max_wait=MAX_WAIT,
                max_flushes=1,
                size=lambda order: len(order.record.payload),
                max_bytes=MAX_BATCH_BYTES,
            )
        return await line(order)

    async def drain(self) -> None:
        """Wait until every order is recorded or refused."""
        for line in list(self._lines.values()):
            await line.drain()

    async def _record(self, batch: Sequence[BudgetedOrder]) -> Sequence[BudgetVerdict]:
        try:
            async with copying_payloads(self.memory, [order.record for order in batch]):
                return await self._record_within_budget(batch)
        except StoreUnavailableError as error:
            # do not try again: it may be committed, and would then count against its own budget
            return [error] * len(batch)

    async def _record_within_budget(self, batch: Sequence[BudgetedOrder]) -> Sequence[BudgetVerdict]:
        """Record the orders of one client that fit, all in one transaction; return a verdict per order."""
        client, verdicts, admitted = batch[0].record.client, list[BudgetVerdict](), list[NewTask]()
        async with transaction(self.database.pool) as connection:
            tally = await self.budget.tally(connection, client, [order.record for order in batch])
            keys = [key for order in batch for key in order.keys]
            used_keys = await idempotency.used_keys(connection, client, keys) if keys else {}
            reservations: dict[str, UsedKey] = {}
            for order in batch:
                if repeated := [used_keys[key] for key in order.keys if key in used_keys]:
                    verdicts.append(RepeatedError(repeated))
                    continue
                record = tally.dated(order.record)
                refusal = tally.admit(record)
                verdicts.append(refusal or record)
                if refusal is None:
                    order_keys = dict.fromkeys(order.keys, UsedKey(task=record.id, fingerprint=order.fingerprint))
                    used_keys |= order_keys
                    reservations |= order_keys
                    admitted.append(record)
            if admitted:
                await idempotency.reserve_keys_of_many(connection, client, reservations)
                await orders.record_on(connection, admitted, self.due_in)
                await self.budget.announce(connection, tally.alerts)
        return verdicts
