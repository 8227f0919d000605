"""Budget: an order of a limited client or key is checked in the transaction that records it, one order at a time.

The spender's row is locked, the ledger summed up, and only what fits is recorded; so the limit holds exactly, however
many processes there are. Who has no limit pays nothing but one small look-up every other second.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID
from weakref import WeakValueDictionary

from service.core.budget import Spent, exceeded, reached, window_of
from service.core.event import Type, rfc3339, tell
from service.flows.bell import Bell
from service.store import budgets, ledger
from service.store.budgets import Announced
from service.store.database import Database
from service.store.ledger import Spender
from service.store.orders import Record
from service.store.statement import Connection, StoreError, transaction

REMEMBERED = timedelta(seconds=2)
"""For so long it is remembered that there is no limit: a new one holds after this time at the latest."""
MOST_REMEMBERED = 10_000
LOOK_EVERY = 60.0


class Budget:
    """The flow: `is_limited`, `turn` and `check` are for submit; `run` watches charges that came out above a quote."""

    def __init__(
        self,
        database: Database,
        *,
        currency: str,
        now: Callable[[], datetime],
        new_id: Callable[[datetime], UUID],
        bells: Sequence[Bell] = (),
        log: Callable[[str, str], None] = lambda _spender, _says: None,
    ) -> None:
        """`currency` is the price list's: limits are in it, and what was spent in another does not count."""
        self._database = database
        self._currency = currency
        self._now = now
        self._new_id = new_id
        self._bells = bells
        self._log = log
        self._known: dict[tuple[UUID, UUID], tuple[datetime, bool]] = {}
        self._turns: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def is_limited(self, client: UUID, key: UUID, now: datetime) -> bool:
        """Return whether orders of this key must be checked; up to two seconds old where there is no limit."""
        known = self._known.get((client, key))
        if known is not None and timedelta() <= now - known[0] < REMEMBERED:
            return known[1]
        found = await budgets.is_limited(self._database, client, key)
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[client, key] = (now, found)
        return found

    @asynccontextmanager
    async def turn(self, client: UUID) -> AsyncIterator[None]:
        """Let one order of a limited client at a time to the database: those that wait would hold connections."""
        lock = self._turns.setdefault(client, asyncio.Lock())
        async with lock:
            yield

    async def check(self, connection: Connection, record: Record, now: datetime) -> None:
        """Raise BudgetExceeded where the order does not fit; announce the thresholds that it reaches.

        Call it in the transaction that records the order, and before it does.
        """
        said: list[Announced] = []
        for spender in await budgets.locked(connection, record.client, record.key):
            await ledger.carry_on(connection, spender, record.currency, now)
            spent = await ledger.spent(connection, spender, record.currency, now)
            whose = "this key" if spender.key else "this client"
            if refusal := exceeded(spender.limits, spent, record.quote, whose=whose):
                raise refusal
            said += self._reached(spender, spent.plus(record.quote), now)
        await self._announce(connection, said)

    async def look(self) -> int:
        """Announce what limited spenders have reached without an order, and carry their sums; return how many."""
        now, found = self._now(), 0
        for one in await budgets.limited(self._database):
            async with self.turn(one.client), transaction(self._database.pool) as connection:
                for spender in await budgets.locked(connection, one.client, one.key):
                    if spender.id == one.id:
                        await ledger.carry_on(connection, spender, self._currency, now)
                        spent = await ledger.spent(connection, spender, self._currency, now)
                        found += await self._announce(connection, self._reached(spender, spent, now))
        return found

    async def run(self) -> None:
        """Look again and again, until cancelled; an absent database only makes it wait."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                self._log("budgets", f"could not be looked at: {error}")
            await asyncio.sleep(LOOK_EVERY)

    def _reached(self, spender: Spender, spent: Spent, now: datetime) -> list[Announced]:
        said = []
        for crossing in reached(spender.limits, spent):
            since = window_of(crossing.limit, now)
            event = tell(
                subject=self._new_id(now),
                sequence=1,
                client=spender.client,
                kind=Type.BUDGET_THRESHOLD,
                at=now,
                content={
                    **crossing.shown(),
                    "currency": self._currency,
                    "since": rfc3339(since),
                    "of": "key" if spender.key else "client",
                    "name": spender.name,
                },
            )
            said.append(
                Announced(
                    spender=spender.id,
                    which=crossing.limit,
                    since=since,
                    allowed=crossing.allowed,
                    percent=crossing.percent,
                    event=event,
                )
            )
        return said

    async def _announce(self, connection: Connection, said: Sequence[Announced]) -> int:
        if not said:
            return 0
        count = await budgets.announce(connection, self._database.tx_offset, said)
        if count:
            for bell in self._bells:
                bell.ring()
        return count
