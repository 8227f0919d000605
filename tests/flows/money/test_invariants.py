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
WORDS = 10


def heard(task: UUID, chance: random.Random) -> Observation:
    """Return anything that can be heard of a task, from anybody."""
    charge = chance.choice([None, "1", "2.5", "99999999999", "0"])
    signal = Signal(kind=chance.choice(list(SignalKind)), charge=charge)
    source = chance.choice(["callback", "query", "clock", "submit"])
    return Observation(task=task, signal=signal, source=source, at=datetime.now(UTC), body=b"{}")


@pytest.mark.parametrize("seed", range(6))
async def test_the_books_of_every_task_add_up_after_anything_was_heard(database: str, seed: int) -> None:
    chance = random.Random(seed)
    async with connect(database) as one, connect(database) as two:
        client, key = await client_and_key(one)
        now = datetime.now(UTC)
        records = [record(client, key, now, str(chance.randint(1, 9))) for _ in range(TASKS)]
        async with transaction(one.pool) as connection:
            await orders.record_on(connection, records, 10)
        ingests = [Ingest(database, wakeups=[], poll_after=60) for database in (one, two)]
        words = [heard(each.id, chance) for each in records for _ in range(WORDS)]
        chance.shuffle(words)
        await asyncio.gather(*(chance.choice(ingests).apply(word) for word in words))
        books = [
            each
            async for page in reconciliation.task_accounts(one, now - timedelta(1), now + timedelta(1))
            for each in page
        ]
        assert len(books) == TASKS
        assert [each for one_task in books for each in compare(one_task, NoAnswer("nobody was asked"))] == []
        whole = await reconciliation.total_spent(one, "unit")
        open_ = sum((each.quote for each in books if each.status not in FINAL), Decimal(0))
        assert whole == open_ + sum(each.charged for each in books)
        assert all(each.charged == 0 for each in books if each.status is not Status.SUCCEED)
