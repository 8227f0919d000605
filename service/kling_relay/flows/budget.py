"""Budget: orders of a limited client or key are tallied in the transaction that records those that fit.

The spender's row is locked, the ledger summed up, and only what fits is recorded; so the limit holds exactly, however
many processes there are. Who has no limit pays nothing but one small look-up every other second.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from kling_relay.core.budget import Spent, alerts, exceeded, window_of, windows
from kling_relay.core.errors import BudgetExceeded
from kling_relay.core.event import EventType, make_event, rfc3339
from kling_relay.flows.wakeup import Wakeup
from kling_relay.store.money import balances, budgets
from kling_relay.store.money.balances import CHECKPOINT_AFTER, LedgerAccount
from kling_relay.store.money.budgets import AlertRecord
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Connection, StoreError, transaction
from kling_relay.store.tasks.record import NewTask

REMEMBERED = timedelta(seconds=2)
"""For so long it is remembered that there is no limit: a new one holds after this time at the latest."""
MAX_REMEMBERED = 10_000
LOOK_EVERY = 60.0


@dataclass(slots=True)
class _Line:
    """What a spender has spent of one currency by one day, with the orders that were admitted."""

    account: LedgerAccount
    spent: Spent


class Tally:
    """Orders of one client, one after the other, while its spenders are locked: which fit, and what that reaches."""

    def __init__(
        self, lines: Mapping[tuple[UUID, str, datetime], _Line], tell_of: "Callable[..., list[AlertRecord]]"
    ) -> None:
        self._lines = lines
        self._tell_of = tell_of
        self._said: dict[tuple[object, ...], AlertRecord] = {}

    @property
    def said(self) -> Sequence[AlertRecord]:
        """The thresholds that were reached, each once, by the first order that reached it."""
        return tuple(self._said.values())

    def admit(self, record: NewTask) -> BudgetExceeded | None:
        """Count the order in, or return why it does not fit."""
        day, _ = windows(record.created_at)
        places = [(of, record.currency, day) for of in (record.client, record.key)]
        lines = [self._lines[place] for place in places if place in self._lines]
        for line in lines:
            whose = "this key" if line.account.key else "this client"
            if refusal := exceeded(line.account.limits, line.spent, record.quote, whose=whose):
                return refusal
        for line in lines:
            line.spent = line.spent.plus(record.quote)
            for each in self._tell_of(line.account, line.spent, record.created_at, self._said):
                self._said[each.identity] = each
        return None


class Budget:
    """The flow: `is_limited`, `tally` and `announce` are for orders; `run` watches charges above their quotes."""

    def __init__(
        self,
        database: Database,
        *,
        currency: str,
        now: Callable[[], datetime],
        new_id: Callable[[datetime], UUID],
        wakeups: Sequence[Wakeup] = (),
        log: Callable[[str, str], None] = lambda _spender, _says: None,
    ) -> None:
        """`currency` is the price list's: limits are in it, and what was spent in another does not count."""
        self._database = database
        self._currency = currency
        self._now = now
        self._new_id = new_id
        self._wakeups = wakeups
        self._log = log
        self._known: dict[tuple[UUID, UUID], tuple[datetime, bool]] = {}

    async def is_limited(self, client: UUID, key: UUID, now: datetime) -> bool:
        """Return whether orders of this key must be checked; up to two seconds old where there is no limit."""
        known = self._known.get((client, key))
        if known is not None and timedelta() <= now - known[0] < REMEMBERED:
            return known[1]
        found = await budgets.is_limited(self._database, client, key)
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[client, key] = (now, found)
        return found

    async def tally(self, connection: Connection, client: UUID, records: Sequence[NewTask]) -> Tally:
        """Lock the spenders of these orders of one client, and return a tally to admit the orders by.

        Call it in the transaction that records them, before it does, and `announce` what the tally said.
        """
        lines: dict[tuple[UUID, str, datetime], _Line] = {}
        for account in await budgets.lock_accounts(connection, client, {record.key for record in records}):
            for record in records:
                day, _ = windows(record.created_at)
                place = (account.id, record.currency, day)
                if account.key in {None, record.key} and place not in lines:
                    spent = await balances.spent(
                        connection, account, record.currency, record.created_at, checkpoint_after=CHECKPOINT_AFTER
                    )
                    lines[place] = _Line(account, spent)
        return Tally(lines, self._reached)

    async def announce(self, connection: Connection, said: Sequence[AlertRecord]) -> int:
        """Announce what was not announced before, in the transaction that `connection` is in; return how many."""
        if not said:
            return 0
        count = await budgets.record_alerts(connection, self._database.tx_offset, said)
        if count:
            for wakeup in self._wakeups:
                wakeup.ring()
        return count

    async def look(self) -> int:
        """Announce what limited spenders have reached without an order, and close their sums; return how many."""
        now, found = self._now(), 0
        for one in await budgets.limited_accounts(self._database):
            spent = await balances.spent(self._database.pool, one, self._currency, now, checkpoint_after=1)
            async with transaction(self._database.pool) as connection:
                found += await self.announce(connection, self._reached(one, spent, now))
        return found

    async def run(self) -> None:
        """Look again and again, until cancelled; an absent database only makes it wait."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                self._log("budgets", f"could not be looked at: {error}")
            await asyncio.sleep(LOOK_EVERY)

    def _reached(
        self, account: LedgerAccount, spent: Spent, now: datetime, but: Iterable[tuple[object, ...]] = ()
    ) -> list[AlertRecord]:
        """Return what is to be announced, `but` not what has one of these identities."""
        said = []
        for crossing in alerts(account.limits, spent):
            since = window_of(crossing.limit, now)
            identity = (account.id, crossing.limit, since, crossing.allowed, crossing.percent)
            if identity in but:
                continue
            event = make_event(
                subject=self._new_id(now),
                sequence=1,
                client=account.client,
                kind=EventType.BUDGET_THRESHOLD,
                at=now,
                content={
                    **crossing.to_json(),
                    "currency": self._currency,
                    "since": rfc3339(since),
                    "owner": "key" if account.key else "client",
                    "name": account.name,
                },
            )
            said.append(
                AlertRecord(
                    account=account.id,
                    limit_name=crossing.limit,
                    window_start=since,
                    allowed=crossing.allowed,
                    percent=crossing.percent,
                    event=event,
                )
            )
        return said
