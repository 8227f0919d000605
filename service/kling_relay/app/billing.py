"""Money for operators: setting and listing limits, usage of all clients, and reconciliation with the provider."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime

from kling_relay.app import clock
from kling_relay.app.database import open_database
from kling_relay.app.wiring import provider_of
from kling_relay.core.budget import Limits, Spending
from kling_relay.flows.reconcile import Reconcile, Report
from kling_relay.provider.price_file import load_prices
from kling_relay.settings import Settings
from kling_relay.store.money import balances, budgets, usage
from kling_relay.store.money.balances import LedgerAccount
from kling_relay.store.money.usage import UsageGroup
from kling_relay.store.postgres.database import current_time

_CHECKPOINT_ENTRIES = 500_000
"""The number of entries that one statement adds up."""


async def set_limits(settings: Settings, name: str, limits: Limits, *, of_key: bool) -> int:
    """Set all limits of the client, or of the keys, with this name or id. Return how many there are.

    The ledger is then summed up to now in small steps, so that the next order does not have to sum years of entries.
    """
    currency = load_prices(settings.prices).currency
    async with open_database(settings) as database:
        now = await current_time(database.pool)
        count = await budgets.set_limits(database, name, limits, of_key=of_key)
        for account in await budgets.limited_accounts(database):
            while await balances.advance_checkpoint(database.pool, account, currency, now, limit=_CHECKPOINT_ENTRIES):
                continue
        return count


async def limited_accounts(settings: Settings) -> list[tuple[LedgerAccount, Spending]]:
    """Return every client and key that has a limit, with its present spending."""
    currency = load_prices(settings.prices).currency
    async with open_database(settings) as database:
        now = await current_time(database.pool)
        return [
            (account, await balances.spent(database.pool, account, currency, now))
            for account in await budgets.limited_accounts(database)
        ]


async def list_usage(
    settings: Settings, by: Sequence[str], since: datetime, until: datetime | None
) -> list[UsageGroup]:
    """Return the usage of all clients."""
    async with open_database(settings) as database:
        return await usage.usage(database, None, by, since, until or await current_time(database.pool))


async def reconcile(settings: Settings, since: datetime, until: datetime | None, *, ask_all: bool) -> Report:
    """Compare the ledger with the provider. The in-process sandbox is gone by now, so only its callbacks count."""
    currency = load_prices(settings.prices).currency
    async with open_database(settings) as database, AsyncExitStack() as stack:
        provider = None
        if settings.provider_url is not None:
            provider = await stack.enter_async_context(provider_of(settings, settings.provider_url))
        compare = Reconcile(database, provider, currency=currency, now=clock.now)
        return await compare(since, until or await current_time(database.pool), ask_all=ask_all)
