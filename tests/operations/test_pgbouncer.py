"""Everything works behind a PgBouncer in transaction mode, where each transaction may use another connection."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import BigInteger, bindparam, cast, select

from kling_relay.store.embedded.server import Server
from kling_relay.store.postgres.database import connect, connect_once
from kling_relay.store.postgres.statement import Statement, transaction
from kling_relay.store.schema.migrate import current, downgrade, head, is_ready, migrate
from tests.support.pgbouncer import MISSING, PROGRAM, pgbouncer, server_connections
from tests.support.service import Relay, running, sandboxed, subscriber
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=MISSING)
SIZE = 2
_ECHO = Statement(select(cast(bindparam("number", type_=BigInteger), BigInteger)))


@pytest.fixture
async def pooled(postgres: Server, database: str) -> AsyncIterator[str]:
    async with pgbouncer(postgres, database, SIZE) as address:
        yield address


async def test_tasks_run_to_their_end_through_two_processes_and_two_server_connections(
    database: str, pooled: str
) -> None:
    async with sandboxed() as (_, provider), subscriber([500]) as hook, subscriber() as other:  # noqa: SIM117 - they stop first
        async with (
            running(pooled, provider, database_pooler="1") as relay,
            running(pooled, provider, "api", database_pooler="1") as second,
        ):
            secret = (await relay.subscribe(other.url, events=["task.*"]))["secret"]
            operations = (relay, second)
            tasks = await asyncio.gather(
                *(operations[n % 2].submit(f"rabbit {n}", notify_hook=hook.url) for n in range(20))
            )
            for n, task in enumerate(tasks):
                assert (await operations[(n + 1) % 2].final(task))["task_status"] == "succeed"
            events = [event for task in tasks for event in await second.events(task)]
            await eventually(lambda: len(other.ids()) == len(hook.ids()) == len(events), 20)
            assert {heard.verified(secret)["data"]["task_id"] for heard in other.heard} == set(tasks)
            # the log waits for every transaction in the server, those of other tests too
            await eventually(lambda: _logged(second, len(events)))
            assert await server_connections(database) <= SIZE


async def _logged(relay: Relay, count: int) -> bool:
    _, page = await relay.call("GET", "/v1/events?limit=200")
    return len(page["data"]) == count


async def test_clients_that_share_connections_never_get_each_other_s_results(pooled: str) -> None:
    async with connect(pooled, pooler=True) as one, connect(pooled, pooler=True) as two:
        asked = range(400)
        pools = (one.pool, two.pool, one.settle, two.settle)
        answers = await asyncio.gather(*(pools[n % 4].fetchval(f"SELECT $1::int + {n}", n) for n in asked))
        assert answers == [n + n for n in asked]


async def test_a_setting_for_a_statement_applies_only_to_it(database: str, pooled: str) -> None:
    async with connect(pooled, pooler=True) as through:
        assert await through.settle.fetchval("SELECT current_setting($1)", "synchronous_commit") == "off"
        assert await through.pool.fetchval("SELECT current_setting($1)", "enable_seqscan") == "off"
        async with transaction(through.pool) as connection:
            assert await connection.fetchval("SELECT current_setting($1)", "jit") == "off"
        for pool in (through.pool, through.settle):
            assert await pool.fetchval("SELECT current_setting($1)", "synchronous_commit") in {"on", "off"}
    plain = await asyncpg.connect(pooled, statement_cache_size=0)
    try:
        async with plain.transaction():
            assert await plain.fetchval("SELECT current_setting('enable_seqscan')") == "on"
    finally:
        await plain.close()


async def test_a_failed_statement_leaves_a_connection_that_works(pooled: str) -> None:
    async with connect(pooled, pooler=True, size=1) as through:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await through.pool.fetchval("SELECT 1 / $1::int", 0)
        assert await _ECHO.scalar(through.pool, number=1) == 1


async def test_migrations_run_up_and_down_through_a_pooler(pooled: str) -> None:
    await downgrade(pooled, "base")
    await asyncio.gather(migrate(pooled), migrate(pooled))
    assert await current(pooled) == head()
    assert await is_ready(pooled)


async def test_single_connections_work_through_a_pooler(pooled: str) -> None:
    found = [await connect_once(pooled) for _ in range(6)]
    try:
        answers = await asyncio.gather(*(each.fetchval("SELECT $1::int", n) for n, each in enumerate(found)))
        assert answers == list(range(6))
    finally:
        for each in found:
            await each.close()
