"""Checks orders against the limits of their client and key, and publishes an event when a threshold is reached.

The transaction locks the row of the client or key, sums up the ledger, and records only what fits. So the limit holds
exactly, however many processes there are. A client without a limit costs one small query every two seconds.
"""

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from kling_relay.core.budget import Spending, alerts, budget_refusal, window_of, windows
from kling_relay.core.errors import BudgetExceeded
from kling_relay.core.event import EventType, make_event, rfc3339
from kling_relay.flows.observer import Observer
from kling_relay.flows.wakeup import Wakeup
from kling_relay.store.money import balances, budgets
from kling_relay.store.money.balances import CHECKPOINT_AFTER, LedgerAccount
from kling_relay.store.money.budgets import AlertRecord
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Connection, transaction
from kling_relay.store.tasks.record import NewTask

CACHED_FOR = timedelta(seconds=2)
"""How long "no limit" is remembered. A new limit takes effect after this time at the latest."""
MAX_CACHED = 10_000
CHECK_EVERY = 60.0


@dataclass(slots=True)
class _Balance:
    """What a client or key has spent of one currency, including the orders admitted so far."""

    account: LedgerAccount
    spent: Spending


@dataclass(frozen=True, slots=True, eq=False)
class BudgetTally:
    """Admits orders of one client, one after the other, while its client and key rows are locked.

    `at` is the database's time, by which days and months are counted; None if nothing is limited.
    """

    budget: "Budget"
    at: datetime | None
    _balances: Mapping[tuple[UUID, str], _Balance]
    _alerts: dict[tuple[object, ...], AlertRecord] = field(init=False, default_factory=dict)

    @property
    def alerts(self) -> Sequence[AlertRecord]:
        """The thresholds that were reached, each once, by the first order that reached it."""
        return tuple(self._alerts.values())

    def dated(self, record: NewTask) -> NewTask:
        """Return the order as one of the day at which it is counted, if its process takes it for one of another day."""
        if self.at is None or windows(record.created_at) == windows(self.at):
            return record
        return record._replace(id=self.budget.new_id(self.at), created_at=self.at)

    def admit(self, record: NewTask) -> BudgetExceeded | None:
        """Count the order, which is `dated`, or return why it does not fit."""
        keys = [(account, record.currency) for account in (record.client, record.key)]
        limited_balances = [self._balances[key] for key in keys if key in self._balances]
        for balance in limited_balances:
            owner = "this key" if balance.account.key else "this client"
            if refusal := budget_refusal(balance.account.limits, balance.spent, record.quote, owner=owner):
                return refusal
        for balance in limited_balances:
            balance.spent = balance.spent.plus(record.quote)
            for alert in self.budget.new_alerts(balance.account, balance.spent, record.created_at, self._alerts):
                self._alerts[alert.identity] = alert
        return None


@dataclass(frozen=True, eq=False)
class Budget:
    """`is_limited`, `tally` and `announce` are for orders; `run` watches for charges above their quotes.

    `currency` is the price list's: limits are in it, and amounts in another currency do not count.
    """

    database: Database
    _: KW_ONLY
    currency: str
    now: Callable[[], datetime]
    new_id: Callable[[datetime], UUID]
    wakeups: Sequence[Wakeup] = ()
    observer: Observer = field(default_factory=Observer)
    _cache: dict[tuple[UUID, UUID], tuple[datetime, bool]] = field(init=False, default_factory=dict)

    async def is_limited(self, client: UUID, key: UUID, now: datetime) -> bool:
        """Return whether orders of this key must be checked. The answer may be two seconds old."""
        entry = self._cache.get((client, key))
        if entry is not None and timedelta() <= now - entry[0] < CACHED_FOR:
            return entry[1]
        is_limited = await budgets.is_limited(self.database, client, key)
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        self._cache[client, key] = (now, is_limited)
        return is_limited

    async def tally(self, connection: Connection, client: UUID, records: Sequence[NewTask]) -> BudgetTally:
        """Lock the client and the keys of these orders of one client, and return a tally that admits the orders.

        Call it in the transaction that records them, before recording, and `announce` the tally's alerts there.
        """
        spent_by: dict[tuple[UUID, str], _Balance] = {}
        accounts, at = await budgets.lock_accounts(connection, client, {record.key for record in records})
        for account in accounts:
            for record in records:
                key = (account.id, record.currency)
                if at is not None and account.key in {None, record.key} and key not in spent_by:
                    spent = await balances.spent(
                        connection, account, record.currency, at, checkpoint_after=CHECKPOINT_AFTER
                    )
                    spent_by[key] = _Balance(account, spent)
        return BudgetTally(self, at, spent_by)

    async def announce(self, connection: Connection, records: Sequence[AlertRecord]) -> int:
        """Announce the alerts that are new, in the transaction of `connection`; return how many."""
        if not records:
            return 0
        count = await budgets.record_alerts(connection, self.database.tx_offset, records)
        if count:
            for wakeup in self.wakeups:
                wakeup.notify()
        return count

    async def check(self) -> int:
        """Announce thresholds reached without an order and update ledger checkpoints; return the number of alerts."""
        now, count = self.now(), 0
        for account in await budgets.limited_accounts(self.database):
            spent = await balances.spent(self.database.pool, account, self.currency, now, checkpoint_after=1)
            async with transaction(self.database.pool) as connection:
                count += await self.announce(connection, self.new_alerts(account, spent, now))
        return count

    async def run(self) -> None:
        """Check every minute until cancelled. While the database is unavailable, try again."""
        while True:
            try:
                await self.check()
            except Exception as error:  # noqa: BLE001 - the worker depends on this loop
                self.observer.database_failed("budgets", error)
            await asyncio.sleep(CHECK_EVERY)

    def new_alerts(
        self,
        account: LedgerAccount,
        spent: Spending,
        now: datetime,
        known_identities: Container[tuple[object, ...]] = (),
    ) -> list[AlertRecord]:
        """Return an alert for each threshold that was reached, except those with one of `known_identities`."""
        records = []
        for alert in alerts(account.limits, spent):
            since = window_of(alert.limit, now)
            identity = (account.id, alert.limit, since, alert.allowed, alert.percent)
            if identity in known_identities:
                continue
            event = make_event(
                subject=self.new_id(now),
                sequence=1,
                client=account.client,
                event_type=EventType.BUDGET_THRESHOLD,
                at=now,
                content={
                    **alert.to_json(),
                    "currency": self.currency,
                    "since": rfc3339(since),
                    "owner": "key" if account.key else "client",
                    "name": account.name,
                },
            )
            records.append(
                AlertRecord(
                    account=account.id,
                    limit_name=alert.limit,
                    window_start=since,
                    allowed=alert.allowed,
                    percent=alert.percent,
                    event=event,
                )
            )
        return records
