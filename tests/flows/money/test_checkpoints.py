"""A checkpoint is the sum of all ledger entries that are final, and of none that is still being written."""

import random
from datetime import timedelta
from decimal import Decimal

import pytest

from kling_relay.core.budget import Limits
from kling_relay.store.money import balances, budgets
from kling_relay.store.postgres.database import connect
from kling_relay.store.schema import partitions, tx_offset
from kling_relay.store.tasks import record as orders
from kling_relay.store.tasks.record import NewTask
from tests.flows.money.test_budgets import NOW, client_and_key, record


@pytest.mark.long
async def test_a_checkpoint_never_changes_what_is_spent(database: str) -> None:
    """Over some days of orders, checkpoints are written at random; what is spent always equals the plain sum."""
    chance = random.Random(7)
    async with connect(database) as db:
        client, key = await client_and_key(db)
        await budgets.set_limits(db, "tests", Limits(total=Decimal(10_000)), of_key=False)
        now, recorded = NOW, list[NewTask]()
        (account, _) = await budgets.accounts_of(db.pool, client, key)
        for _ in range(60):
            now += timedelta(minutes=chance.choice([1, 20, 90, 300]))
            recorded.append(record(client, key, now, str(chance.randint(1, 9))))
            async with db.pool.acquire() as connection:
                await partitions.create_missing(connection, now, timedelta(days=90))
            await orders.record(db, [recorded[-1]], 10)
            spent = await balances.spent(db.pool, account, "unit", now, checkpoint_after=chance.choice([None, 1, 9]))
            day, month = now.replace(hour=0, minute=0, second=0, microsecond=0), now.month
            assert spent.total == spent.open == sum(task.quote for task in recorded)
            assert spent.day == sum(task.quote for task in recorded if task.created_at >= day)
            assert spent.month == sum(task.quote for task in recorded if task.created_at.month == month)
        assert await db.pool.fetchval("SELECT count(*) FROM ledger_checkpoints") == 1
        spent, rounds = await balances.spent(db.pool, account, "unit", now), 0
        await db.pool.execute("DELETE FROM ledger_checkpoints")
        while await balances.advance_checkpoint(db.pool, account, "unit", now, limit=9):
            assert await balances.spent(db.pool, account, "unit", now) == spent
            rounds += 1
        assert rounds == 6
        until = await db.pool.fetchval("SELECT below_tx FROM ledger_checkpoints")
        assert await db.pool.fetchval("SELECT count(*) FROM ledger WHERE tx >= $1", until) == 0


async def test_a_checkpoint_excludes_transactions_that_are_still_running(database: str) -> None:
    """An entry that is committed late, after a checkpoint of younger ones, still counts: no clock is involved."""
    async with connect(database) as db:
        client, key = await client_and_key(db)
        (account, _) = await budgets.accounts_of(db.pool, client, key)
        async with db.pool.acquire() as connection, connection.transaction():
            await orders.record_on(connection, [record(client, key, NOW - timedelta(hours=9), "4")], 10)
            await orders.record(db, [record(client, key, NOW, "2")], 10)
            assert (await balances.spent(db.pool, account, "unit", NOW, checkpoint_after=1)).total == 2
            assert await db.pool.fetchval("SELECT count(*) FROM ledger_checkpoints") == 0
        for checkpoint_after in (1, 1, None):
            assert (await balances.spent(db.pool, account, "unit", NOW, checkpoint_after=checkpoint_after)).total == 6
        assert await db.pool.fetchval("SELECT count(*) FROM ledger_checkpoints") == 1


async def test_entries_of_a_restored_database_count_once_beside_new_ones(database: str) -> None:
    """The old cluster's numbers were higher: if the entries kept them, new ones would lie below the checkpoint."""
    async with connect(database) as db:
        client, key = await client_and_key(db)
        (account, _) = await budgets.accounts_of(db.pool, client, key)
        await orders.record(db, [record(client, key, NOW, "4")], 10)
        await balances.spent(db.pool, account, "unit", NOW, checkpoint_after=1)
        await db.pool.execute("UPDATE ledger SET tx = tx + 1000000")
        await db.pool.execute("UPDATE ledger_checkpoints SET below_tx = below_tx + 1000000")
    assert await tx_offset.raise_tx_offset(database)
    assert not await tx_offset.raise_tx_offset(database)
    async with connect(database) as db:
        for quote, spent in (("2", 6), ("1", 7)):
            await orders.record(db, [record(client, key, NOW, quote)], 10)
            for checkpoint_after in (None, 1, 1):
                sums = await balances.spent(db.pool, account, "unit", NOW, checkpoint_after=checkpoint_after)
                assert sums.total == sums.open == spent
