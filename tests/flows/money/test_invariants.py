"""Whatever signals arrive, in any order and in many processes at once, the ledger adds up."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from kling_relay.core.discrepancy import compare
from kling_relay.core.submission import NoAnswer
from kling_relay.core.task import FINAL, Signal, SignalKind, Status
from kling_relay.flows.ingest import Ingest, Observation
from kling_relay.store.money import reconciliation
from kling_relay.store.postgres.database import connect
from kling_relay.store.postgres.statement import transaction
from kling_relay.store.tasks import record as orders
from tests.flows.money.test_budgets import client_and_key, record

TASKS = 12
OBSERVATIONS = 10


def random_observation(task: UUID, chance: random.Random) -> Observation:
    """Return a random observation of a task, from any source."""
    charge = chance.choice([None, "1", "2.5", "99999999999", "0"])
    signal = Signal(kind=chance.choice(list(SignalKind)), charge=charge)
    source = chance.choice(["callback", "query", "clock", "submit"])
    return Observation(task=task, signal=signal, source=source, at=datetime.now(UTC), body=b"{}")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.long
async def test_the_ledger_of_every_task_adds_up_after_any_signals(database: str, seed: int) -> None:
    chance = random.Random(seed)
    async with connect(database) as first, connect(database) as second:
        client, key = await client_and_key(first)
        now = datetime.now(UTC)
        records = [record(client, key, now, str(chance.randint(1, 9))) for _ in range(TASKS)]
        async with transaction(first.pool) as connection:
            await orders.record_on(connection, records, 10)
        ingests = [Ingest(database, wakeups=[], poll_after=60) for database in (first, second)]
        observations = [random_observation(task.id, chance) for task in records for _ in range(OBSERVATIONS)]
        chance.shuffle(observations)
        await asyncio.gather(*(chance.choice(ingests).apply(observation) for observation in observations))
        accounts = [
            account
            async for page in reconciliation.task_accounts(first, now - timedelta(1), now + timedelta(1))
            for account in page
        ]
        assert len(accounts) == TASKS
        assert [
            difference for account in accounts for difference in compare(account, NoAnswer("nobody was asked"))
        ] == []
        whole = await reconciliation.total_spent(first, "unit")
        open_ = sum((account.quote for account in accounts if account.status not in FINAL), Decimal(0))
        assert whole == open_ + sum(account.charged for account in accounts)
        succeeded = {Status.SUCCEED, Status.RESULT_MISSING}
        assert all(account.charged == 0 for account in accounts if account.status not in succeeded)
