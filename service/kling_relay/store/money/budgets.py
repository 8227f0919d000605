"""Budgets: the limits of clients and keys, the row locks that check them, and the alerts at their thresholds.

Only a row that has a limit is ever locked. An alert is recorded in the transaction that first saw the threshold
reached; its row in `budget_alerts` keeps it from being recorded again in the same window.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from kling_relay.core.budget import LIMIT_NAMES, Limits
from kling_relay.core.event import Event, EventType
from kling_relay.store.deliveries.fan_out import FAN_OUT, recipients_select
from kling_relay.store.money.balances import LedgerAccount
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Connection, Row, Runner, Statement, columns_of

_SQL = load_sql(
    __name__, event_type=EventType.BUDGET_THRESHOLD, fan_out=FAN_OUT, recipients=recipients_select("budget")
)
_IS_LIMITED = Statement(_SQL["is_limited"])
_LOCK_CLIENT = Statement(_SQL["lock_client"])
_LOCK_KEYS = Statement(_SQL["lock_keys"])
_ACCOUNTS_OF = Statement(_SQL["accounts_of"])
_LIMITED_CLIENTS = Statement(_SQL["limited_clients"])
_LIMITED_KEYS = Statement(_SQL["limited_keys"])
_SET_CLIENT_LIMITS = Statement(_SQL["set_client_limits"])
_SET_KEY_LIMITS = Statement(_SQL["set_key_limits"])
_RECORD_ALERTS = Statement(_SQL["record_alerts"])


async def is_limited(database: Database, client: UUID, key: UUID) -> bool:
    """Return whether this client or this key has a limit."""
    return bool(await _IS_LIMITED.scalar(database.pool, client=client, key=key))


class LockedAccounts(NamedTuple):
    """Accounts whose rows are locked, and the database's time at which all of them were; None if there are none."""

    accounts: list[LedgerAccount]
    at: datetime | None


async def lock_accounts(connection: Connection, client: UUID, keys: Iterable[UUID]) -> LockedAccounts:
    """Lock those of the client and these keys of it that have limits until the transaction ends, and return them.

    The client is always locked first and the keys in order, so that no two transactions can deadlock.
    """
    rows = [*await _LOCK_CLIENT.rows(connection, client=client), *await _LOCK_KEYS.rows(connection, keys=[*keys])]
    return LockedAccounts([_account(row) for row in rows], max((row["at"] for row in rows), default=None))


async def accounts_of(runner: Runner, client: UUID, key: UUID) -> list[LedgerAccount]:
    """Return the accounts of the client and of the key, in this order, with or without limits."""
    return [_account(row) for row in await _ACCOUNTS_OF.rows(runner, client=client, key=key)]


async def limited_accounts(database: Database) -> list[LedgerAccount]:
    """Return every client, and every key that is not revoked, that has a limit."""
    rows = [*await _LIMITED_CLIENTS.rows(database.pool), *await _LIMITED_KEYS.rows(database.pool)]
    return [_account(row) for row in rows]


async def set_limits(database: Database, name: str, limits: Limits, *, of_key: bool) -> int:
    """Set the limits of the client, or of the keys, with this name or id; return how many rows matched."""
    try:
        identifier = UUID(name)
    except ValueError:
        identifier = None
    amounts = {limit: getattr(limits, limit) for limit in LIMIT_NAMES}
    statement = _SET_KEY_LIMITS if of_key else _SET_CLIENT_LIMITS
    return await statement.run(database.pool, name=name, id=identifier, **amounts)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRecord:
    """An alert with its event; at most one is recorded per account, limit, window, limit's amount and percentage."""

    account: UUID
    limit_name: str
    window_start: datetime
    allowed: Decimal
    percent: int
    event: Event

    @property
    def identity(self) -> tuple[object, ...]:
        return self.account, self.limit_name, self.window_start, self.allowed, self.percent


_COLUMNS = ("account", "limit_name", "window_start", "allowed", "percent", "at", "subject", "client", "body")


async def record_alerts(connection: Connection, tx_offset: int, alerts: Sequence[AlertRecord]) -> int:
    """Record the alerts that are new, in the transaction that `connection` is in; return how many were."""
    rows = [
        (*alert.identity, alert.event.at, alert.event.subject, alert.event.client, alert.event.body)
        for alert in alerts
    ]  # fmt: skip
    recorded = await _RECORD_ALERTS.rows(connection, tx_offset=tx_offset, **columns_of("alert", _COLUMNS, rows))
    return len(recorded)


def _account(row: Row) -> LedgerAccount:
    limits = Limits(**{name: row[f"limit_{name}"] for name in LIMIT_NAMES})
    return LedgerAccount(client=row["client"], key=row["key"], name=row["name"], limits=limits)
