"""Limited: the orders of a client that has limits, all that are in hand of one client in one transaction.

One lock, one sum, one statement and one commit serve them all, so that a client's orders do not wait for one another.
Who repeats an order gets the first one's task, whatever the budget; who does not fit is refused alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID
from weakref import WeakValueDictionary

from kling_relay.core.errors import BudgetExceeded
from kling_relay.flows.budget import Budget
from kling_relay.flows.coalesce import Coalescer
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import StoreUnavailableError, transaction
from kling_relay.store.tasks import idempotency
from kling_relay.store.tasks import record as orders
from kling_relay.store.tasks.idempotency import UsedKey
from kling_relay.store.tasks.record import NewTask

MAX_WAIT = 5.0
"""Seconds: other processes' orders of the client are in the way too, a transaction at a time."""


class RepeatedError(Exception):
    """The order was made before"""

    def __init__(self, found: Sequence[UsedKey]) -> None:
        self.found = found
        super().__init__()


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetedOrder:
    """An order with its words to be repeatable by."""

    record: NewTask
    words: tuple[str, ...]
    fingerprint: bytes


Verdict = BudgetExceeded | RepeatedError | StoreUnavailableError | None


class BudgetedOrders:
    """The flow; see the module."""

    def __init__(self, database: Database, budget: Budget, due_in: Callable[[], float]) -> None:
        """`due_in`: for so many seconds a recorded order is its own process's to send."""
        self._database = database
        self._budget = budget
        self._due_in = due_in
        self._lines: WeakValueDictionary[UUID, Coalescer[BudgetedOrder, None]] = WeakValueDictionary()

    async def __call__(self, ordered: BudgetedOrder) -> None:
        """Record the order. Raises BudgetExceeded, RepeatedError, OverloadedError, StoreError."""
        client = ordered.record.client
        line = self._lines.get(client)
        if line is None:  # a line lives as long as somebody waits in it
            line = self._lines[client] = Coalescer(
                self._record, lambda each: each.record.id, max_wait=MAX_WAIT, max_flushes=1
            )
        await line(ordered)

    async def drain(self) -> None:
        """Wait until all that was ordered is recorded or refused."""
        for line in list(self._lines.values()):
            await line.drain()

    async def _record(self, batch: Sequence[BudgetedOrder]) -> Sequence[Verdict]:
        try:
            return await self._recorded(batch)
        except StoreUnavailableError as error:
            # it may have been committed, and would then count against its own budget: that is not tried again
            return [error] * len(batch)

    async def _recorded(self, batch: Sequence[BudgetedOrder]) -> Sequence[Verdict]:
        """Record what fits of one client's orders, all in one transaction; return what became of each."""
        client, verdicts, admitted = batch[0].record.client, list[Verdict](), list[NewTask]()
        async with transaction(self._database.pool) as connection:
            tally = await self._budget.tally(connection, client, [each.record for each in batch])
            words = [word for each in batch for word in each.words]
            taken = await idempotency.used_keys(connection, client, words) if words else {}
            claims: dict[str, UsedKey] = {}
            for each in batch:
                if found := [taken[word] for word in each.words if word in taken]:
                    verdicts.append(RepeatedError(found))
                    continue
                verdicts.append(refusal := tally.admit(each.record))
                if refusal is None:
                    own = dict.fromkeys(each.words, UsedKey(task=each.record.id, fingerprint=each.fingerprint))
                    taken |= own
                    claims |= own
                    admitted.append(each.record)
            if admitted:
                await idempotency.claim_keys(connection, client, claims)
                await orders.record_on(connection, admitted, self._due_in())
                await self._budget.announce(connection, tally.said)
        return verdicts
