"""Old partitions are dropped, even after an interruption, by two workers at once, or through a pooler."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from kling_relay.core.ids import lower_bound
from kling_relay.store.deliveries import expiry
from kling_relay.store.embedded.server import Server
from kling_relay.store.postgres.database import Database, connect
from kling_relay.store.postgres.statement import CollisionError
from kling_relay.store.schema.partitions import NotTableOwnerError, PartitionRange, create_missing, drop_old, ranges
from kling_relay.store.tables import PARTITIONED
from tests.support.pgbouncer import MISSING, PROGRAM, pgbouncer
from tests.support.service import running, sandboxed, subscriber
from tests.support.waiting import eventually

RETENTION = timedelta(days=30)
NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=45)


@pytest.fixture
async def store(database: str) -> AsyncIterator[Database]:
    async with connect(database) as opened:
        yield opened


async def drop(store: Database, now: datetime = LATER) -> list[str]:
    async with store.pool.acquire() as connection:
        return await drop_old(connection, now, RETENTION)


async def left(store: Database) -> set[str]:
    """Return the tables that have the name of an old partition, attached or not."""
    names = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE '%\\_p2%'"
    rows = await store.pool.fetch(names)
    return {row["relname"] for row in rows if row["relname"][-8:] <= f"{LATER - RETENTION:%Y%m%d}"}


async def oldest(store: Database) -> PartitionRange:
    async with store.pool.acquire() as connection:
        return (await ranges(connection))[0]


async def test_drop_old_drops_only_old_partitions(store: Database) -> None:
    before = await left(store)
    assert set(await drop(store)) == before
    assert before
    assert await left(store) == set()
    assert await drop(store) == []
    async with store.pool.acquire() as connection:
        assert await create_missing(connection, LATER, RETENTION) > 0


@pytest.mark.parametrize("parent", PARTITIONED)
async def test_a_partition_that_was_detached_but_not_dropped_is_dropped(store: Database, parent: str) -> None:
    name = (await oldest(store)).name(parent)
    await store.pool.execute(f"ALTER TABLE {parent} DETACH PARTITION {name}")
    assert name in await drop(store)
    assert await left(store) == set()


async def is_cut_off(store: Database) -> bool:
    working = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE % DETACH %' AND state = 'active'"
    return not await store.pool.fetch(working)


@pytest.mark.parametrize("parent", ["tasks", "attempts"])
async def test_an_interrupted_detachment_is_completed(store: Database, database: str, parent: str) -> None:
    name = (await oldest(store)).name(parent)
    reader = await asyncpg.connect(database)
    try:
        reading = reader.transaction(isolation="repeatable_read")
        await reading.start()
        await reader.fetchval(f"SELECT count(*) FROM {parent}")
        with pytest.raises(asyncio.TimeoutError):
            await store.pool.execute(f"ALTER TABLE {parent} DETACH PARTITION {name} CONCURRENTLY", timeout=0.3)
        await eventually(lambda: is_cut_off(store))  # while the reader still keeps it from its end
        await reading.rollback()
    finally:
        await reader.close()
    assert await store.pool.fetchval("SELECT bool_or(inhdetachpending) FROM pg_inherits")
    assert name in await drop(store)
    assert await left(store) == set()


async def test_two_workers_can_drop_old_partitions_at_once(store: Database) -> None:
    for _ in range(20):
        ended = await asyncio.gather(drop(store), drop(store), return_exceptions=True)
        assert all(isinstance(each, list | CollisionError) for each in ended), ended
        if not await left(store):
            return
    pytest.fail("they kept one another from it")


async def test_two_workers_count_each_expired_delivery_once(store: Database) -> None:
    await store.pool.execute(
        "INSERT INTO pending_deliveries (subject, sequence, subscription, shard, attempt, due_at)"
        " SELECT $1, n, gen_random_uuid(), 0, 0, now() FROM generate_series(1, 5000) AS n",
        lower_bound(NOW),
    )
    await asyncio.gather(drop(store), drop(store), return_exceptions=True)
    while await left(store):
        await drop(store)
    assert await store.pool.fetchval("SELECT count(*) FROM pending_deliveries") == 0
    assert await expiry.total_expired(store.pool) == 5000


async def test_orders_and_callbacks_go_on_while_retention_waits_for_a_reader(store: Database, database: str) -> None:
    """DETACH waits for whoever reads the old partition; nobody may wait for DETACH."""
    async with store.pool.acquire() as connection:
        for parent in PARTITIONED:
            (first, *_) = await ranges(connection, parent)
            old = PartitionRange(start=first.start - timedelta(days=60), end=first.start - timedelta(days=57))
            await connection.execute(
                f"CREATE TABLE {old.name(parent)} PARTITION OF {parent}"
                f" FOR VALUES FROM ('{lower_bound(old.start)}') TO ('{lower_bound(old.end)}')"
            )
    reader = await asyncpg.connect(database)
    try:
        async with sandboxed() as (_, provider), subscriber() as heard, running(database, provider) as relay:
            await relay.subscribe(heard.url)
            async with reader.transaction(isolation="repeatable_read"):
                await reader.fetchval("SELECT count(*) FROM attempts")
                dropping = asyncio.create_task(drop(store, NOW))
                await eventually(lambda: is_waiting_for_a_reader(store))
                tasks = [await asyncio.wait_for(relay.submit(), 2) for _ in range(3)]
                for task in tasks:
                    assert (await relay.final(task, within=5))["task_status"] == "succeed"
                await eventually(lambda: len(heard.ids()) == 9)
                assert not dropping.done()
            assert len(await dropping) == len(PARTITIONED)
    finally:
        await reader.close()


async def is_waiting_for_a_reader(store: Database) -> bool:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE % DETACH %' AND wait_event_type = 'Lock'"
    return bool(await store.pool.fetch(waiting))


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
async def test_drop_old_works_through_a_pooler_and_leaves_no_setting_behind(postgres: Server, database: str) -> None:
    async with pgbouncer(postgres, database) as pooled, connect(pooled, pooler=True) as through:
        assert await drop(through)
        assert await left(through) == set()
        assert await through.pool.fetchval("SELECT current_setting($1)", "lock_timeout") == "0"


async def test_a_role_that_does_not_own_the_tables_gets_an_error_with_advice(postgres: Server, database: str) -> None:
    role = f"lesser_{abs(hash(database)) % 10**8}"
    owner = await asyncpg.connect(database)
    try:
        await owner.execute(f"CREATE ROLE {role} LOGIN")
        await owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
        lesser = database.replace("postgres@", f"{role}@", 1)
        async with sandboxed() as (_, provider), running(lesser, provider) as relay:
            assert (await relay.final(await relay.submit()))["task_status"] == "succeed"
        async with connect(lesser) as store, store.pool.acquire() as connection:
            assert await create_missing(connection, NOW, RETENTION) == 0
            with pytest.raises(NotTableOwnerError, match="kling-relay migrate"):
                await create_missing(connection, LATER, RETENTION)
    finally:
        await owner.execute(f"DROP OWNED BY {role}")
        await owner.execute(f"DROP ROLE {role}")
        await owner.close()
