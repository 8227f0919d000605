"""The internals of asyncpg that pool and connections build on are still what they were; if not, look at both again."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionProxy
from typing_extensions import override

from kling_relay.store.postgres.connections import BEGIN


class CountingPool(asyncpg.Pool):
    """Counts the calls of `_acquire`."""

    count = 0

    async def _acquire(self, timeout: float | None) -> Any:  # noqa: ASYNC109 - the driver's own signature
        self.count += 1
        return await super()._acquire(timeout)  # type: ignore[misc]  # not in the stubs


@pytest.fixture
async def pool(database: str) -> AsyncIterator[CountingPool]:
    options: dict[str, Any] = {"min_size": 1, "max_size": 1, "max_queries": 9, "max_inactive_connection_lifetime": 0}
    classes: dict[str, Any] = {"connection_class": asyncpg.Connection, "record_class": asyncpg.Record, "loop": None}
    async with CountingPool(database, **options, **classes) as opened:
        yield opened


async def test_every_way_to_borrow_a_connection_calls_acquire(pool: CountingPool) -> None:
    async with pool.acquire() as connection:
        assert isinstance(connection, PoolConnectionProxy)
    await pool.release(await pool.acquire(timeout=1))
    await pool.execute("SELECT 1")
    await pool.executemany("SELECT $1::int", [(1,)])
    await pool.fetchval("SELECT 1")
    assert pool.count == 5


async def test_a_lent_connection_has_its_own_until_it_is_released(pool: CountingPool) -> None:
    lent: Any = await pool.acquire()
    assert isinstance(lent._con, asyncpg.Connection)
    assert lent._holder._pool is pool
    await pool.release(lent)
    assert lent._con is None


async def test_a_connection_of_an_older_generation_is_closed_when_it_is_released(pool: CountingPool) -> None:
    lent: Any = await pool.acquire()
    connection = lent._con
    await pool.expire_connections()
    assert lent._holder._generation != pool._generation  # type: ignore[attr-defined]  # not in the stubs
    await pool.release(lent)
    assert connection.is_closed()


async def test_a_connection_says_whether_it_is_being_cancelled(database: str) -> None:
    connection: Any = await asyncpg.connect(database)
    try:
        assert connection._protocol._is_cancelling() is False
    finally:
        await connection.close()


async def test_every_statement_with_arguments_goes_through_execute_and_a_transaction_begins_as_expected(
    database: str,
) -> None:
    statements: list[str] = []

    class Recorder(asyncpg.Connection):
        __slots__ = ()

        async def _execute(self, query: str, *args: Any, **named: Any) -> Any:
            statements.append(query)
            return await super()._execute(query, *args, **named)  # type: ignore[misc]  # not in the stubs

        @override
        async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
            statements.append(query)
            return await super().execute(query, *args, timeout=timeout)

    connection = await asyncpg.connect(database, connection_class=Recorder)
    try:
        for fetch in (connection.fetch, connection.fetchrow, connection.fetchval):
            statements.clear()
            await fetch("SELECT $1::int", 1)
            assert statements == ["SELECT $1::int"]
        statements.clear()
        async with connection.transaction():
            assert statements == [BEGIN]
    finally:
        await connection.close()
