"""What a server cannot do now is "unavailable", by the class of its SQLSTATE, and never the fault of who asked."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from kling_relay.store.postgres.database import Database, connect
from kling_relay.store.postgres.statement import (
    BadRowError,
    CollisionError,
    MissingPartitionError,
    Statement,
    StoreConnectionError,
    StoreReadOnlyError,
    StoreUnavailableError,
)
from tests.support.waiting import eventually

NO_CLIENT_FAULT = (
    "08006", "25006", "25P02", "28000", "28P01", "3D000", "3F000", "40003", "42501", "42P01", "53000", "53100", "53200",
    "53300", "53400", "55000", "55006", "57000", "57014", "57P01", "57P02", "57P03", "57P05", "58000", "58030", "58P01",
    "F0000", "XX000", "XX001",
)  # fmt: skip


@pytest.fixture
async def store(database: str) -> AsyncIterator[Database]:
    async with connect(database, size=3) as opened:
        yield opened


def raising(state: str) -> Statement:
    return Statement(f"DO $$BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{state}'; END$$")


@pytest.mark.parametrize("state", NO_CLIENT_FAULT)
@pytest.mark.long
async def test_a_server_that_cannot_now_is_unavailable(store: Database, state: str) -> None:
    with pytest.raises(StoreUnavailableError):
        await raising(state).run(store.pool)


@pytest.mark.parametrize("state", ["22001", "23502", "23503"])
async def test_a_value_that_cannot_be_stored_is_a_bad_row(store: Database, state: str) -> None:
    with pytest.raises(BadRowError):
        await raising(state).run(store.pool)


async def test_a_fault_of_our_own_statement_passes_through(store: Database) -> None:
    for ours, fault in (("SELEKT", asyncpg.PostgresSyntaxError), ("SELECT nothing", asyncpg.UndefinedColumnError)):
        with pytest.raises(fault):
            await Statement(ours).rows(store.pool)


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03", "23505"])
async def test_a_statement_that_another_transaction_was_in_the_way_of_can_be_repeated(
    store: Database, state: str
) -> None:
    with pytest.raises(CollisionError):
        await raising(state).run(store.pool)


async def test_connections_that_have_lost_their_prepared_statements_are_replaced(store: Database) -> None:
    count = Statement("SELECT count(*) FROM tasks")
    assert await count.scalar(store.pool) == 0
    async with store.pool.acquire() as lent:
        await lent.execute("DEALLOCATE ALL")  # as DISCARD ALL does, or a pooler between us and the server
    with pytest.raises(StoreConnectionError):
        await count.scalar(store.pool)
    assert await count.scalar(store.pool) == 0


async def test_a_row_without_a_partition_is_unavailable_and_a_broken_constraint_is_a_bad_row(store: Database) -> None:
    async with store.pool.acquire() as connection:
        await connection.execute(
            "CREATE TEMPORARY TABLE parted (day int CHECK (day > 0)) PARTITION BY RANGE (day);"
            " CREATE TEMPORARY TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (9)"
        )
        with pytest.raises(MissingPartitionError):
            await Statement("INSERT INTO parted VALUES (99)").run(connection)
        with pytest.raises(BadRowError):
            await Statement("INSERT INTO parted VALUES (0)").run(connection)


async def test_a_server_that_takes_no_writes_loses_the_connections_of_all_pools(store: Database) -> None:
    backend = Statement("SELECT pg_backend_pid()")
    pools = (store.pool, store.ingest, store.settle)
    before = {await backend.scalar(pool) for pool in pools}
    async with store.settle.acquire() as lent:
        before.add(await backend.scalar(lent))
        with pytest.raises(StoreReadOnlyError):
            await raising("25006").run(store.ingest)
        assert await backend.scalar(lent) in before  # what is in use is closed when it comes back
    after = {await backend.scalar(pool) for pool in pools}
    assert not before & after
    left = Statement("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(:pids::int[])")

    async def are_gone() -> bool:
        return bool(await left.scalar(store.pool, pids=list(before)) == 0)

    await eventually(are_gone)


async def test_connections_are_replaced_once_a_second_at_most(store: Database) -> None:
    backend = Statement("SELECT pg_backend_pid()")
    with pytest.raises(StoreReadOnlyError):
        await raising("25006").run(store.pool)
    fresh = await backend.scalar(store.pool)
    for _ in range(20):
        with pytest.raises(StoreReadOnlyError):
            await raising("25006").run(store.ingest)
    assert await backend.scalar(store.pool) == fresh
