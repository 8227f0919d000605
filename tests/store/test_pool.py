"""The pool serves borrowers in order and within its size, and a broken connection harms no other borrower."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from kling_relay.store.postgres.database import connect
from kling_relay.store.postgres.statement import Pool
from tests.support.waiting import eventually


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with connect(database, size=3, max_wait=20) as opened:
        yield opened.pool


async def backend(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT pg_backend_pid()"))


async def test_sequential_queries_use_one_connection(pool: Pool) -> None:
    assert len({await backend(pool) for _ in range(20)}) == 1
    assert pool.get_size() - pool.get_idle_size() == 0


async def test_concurrent_queries_share_at_most_the_pool_s_size(pool: Pool) -> None:
    found = await asyncio.gather(*(pool.fetchrow("SELECT pg_backend_pid() FROM pg_sleep(0.005)") for _ in range(60)))
    assert len({row[0] for row in found if row}) == 3


async def test_a_cancelled_statement_leaves_a_usable_pool(pool: Pool) -> None:
    for _ in range(10):
        sleeping = [asyncio.create_task(pool.fetch("SELECT pg_sleep(60)")) for _ in range(3)]
        await eventually(lambda: pool.get_idle_size() == 0)
        for each in sleeping:
            each.cancel()
        await asyncio.gather(*sleeping, return_exceptions=True)
        assert await pool.fetchval("SELECT 1") == 1


async def test_a_cancelled_waiter_occupies_no_place_and_keeps_no_connection(pool: Pool) -> None:
    held = [await pool.acquire() for _ in range(3)]
    waiting = [asyncio.create_task(pool.fetchrow("SELECT 1")) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[3].cancel()
    for each in held:
        await pool.release(each)
    waiting[1].cancel()  # perhaps after it was given one
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [row[0] for row in (results[2], results[4]) if isinstance(row, asyncpg.Record)] == [1, 1]
    assert await asyncio.gather(*(pool.fetchval("SELECT 1") for _ in range(9))) == [1] * 9


async def test_waiting_for_a_connection_times_out(pool: Pool) -> None:
    held = [await pool.acquire() for _ in range(3)]
    with pytest.raises(TimeoutError):
        await pool.acquire(timeout=0.02)
    for each in held:
        await pool.release(each)
    assert await pool.fetchval("SELECT 1") == 1


async def test_broken_connections_are_replaced(pool: Pool, database: str) -> None:
    held = [await pool.acquire() for _ in range(3)]
    for each in held:
        await pool.release(each)
    other = await asyncpg.connect(database)
    await other.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kling-relay look-up'"
    )
    await other.close()

    async def all_answer() -> bool:
        try:
            return await asyncio.gather(*(pool.fetchval("SELECT 1") for _ in range(12))) == [1] * 12
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
            return False  # a terminated connection fails at its next use

    await eventually(all_answer)


async def test_a_connection_with_an_open_transaction_is_not_lent_again(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute("BEGIN")
        await connection.execute("CREATE TEMPORARY TABLE mine (x int)")
    assert await pool.fetchval("SELECT to_regclass('mine')") is None


async def test_a_closed_pool_refuses_to_lend(pool: Pool) -> None:
    await pool.fetchval("SELECT 1")
    await pool.close()
    with pytest.raises(asyncpg.InterfaceError):
        await pool.fetchval("SELECT 1")


async def test_close_waits_for_lent_connections(pool: Pool) -> None:
    slow = asyncio.create_task(pool.fetchrow("SELECT 7 FROM pg_sleep(0.1)"))
    await eventually(lambda: pool.get_size() - pool.get_idle_size() == 1)
    await pool.close()
    assert (await slow)[0] == 7  # type: ignore[index]  # there is a row
