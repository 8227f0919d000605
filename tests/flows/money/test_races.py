"""Of fifty concurrent orders in two processes exactly ten are admitted, for each limit of a client and of a key."""

import asyncio
from collections import Counter
from datetime import datetime
from decimal import Decimal

import pytest

from kling_relay.core.budget import LIMIT_NAMES, Limits
from kling_relay.core.errors import BudgetExceeded
from kling_relay.flows.budgeted_orders import BudgetedOrder, BudgetedOrders
from kling_relay.store.money import budgets
from kling_relay.store.postgres.database import connect
from tests.flows.money.test_budgets import NOW, client_and_key, flow, record

RACING = 50


@pytest.mark.parametrize("of_key", [False, True])
@pytest.mark.parametrize("limit", LIMIT_NAMES)
@pytest.mark.long
async def test_a_budget_for_ten_admits_ten_of_fifty_concurrent_orders(database: str, limit: str, of_key: bool) -> None:
    async with connect(database) as first, connect(database) as second:
        client, key = await client_and_key(first)
        _, other = await client_and_key(first)
        name = str(key) if of_key else "tests"
        await budgets.set_limits(first, name, Limits(**{limit: Decimal(20)}), of_key=of_key)
        processes = [BudgetedOrders(db, flow(db), 10.0) for db in (first, second)]

        async def order(number: int, now: datetime) -> str:
            # what another key of the client orders counts against the client's limit, not against the first key's
            whose = other if number % 2 and not of_key else key
            words = (f"i:{number}",) if number % 3 else ()
            one_order = BudgetedOrder(record=record(client, whose, now, "2"), keys=words, fingerprint=b"f")
            try:
                await processes[number % 5 % 2](one_order)
            except BudgetExceeded as refusal:
                return str(refusal.limit)
            return "recorded"

        answers = Counter(await asyncio.gather(*(order(number, NOW) for number in range(RACING))))
        assert answers == {"recorded": 10, limit: RACING - 10}
        assert await first.pool.fetchval("SELECT sum(reserved) FROM ledger") == 20
        assert await first.pool.fetchval("SELECT count(*) FROM tasks") == 10
        words = await first.pool.fetchval(
            "SELECT count(*) FROM idempotency_keys WHERE task NOT IN (SELECT id FROM tasks)"
        )
        assert words == 0
