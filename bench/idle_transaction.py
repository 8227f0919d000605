"""An idle transaction held open: its old snapshot keeps PostgreSQL from cleaning; what that costs is measured."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import asyncpg

from bench import callbacks, deliveries, fixtures
from bench.environment import Ground
from bench.figures import Figure, in_turns
from bench.load_generator import Calls, full


@asynccontextmanager
async def holding(url: str) -> AsyncIterator[None]:
    """Hold a transaction with a snapshot and a number open until the end of the block."""
    connection = await asyncpg.connect(url, server_settings={"idle_in_transaction_session_timeout": "0"})
    try:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await connection.fetchval("SELECT pg_current_xact_id()::text || count(*) FROM pending_deliveries")
        yield
    finally:
        await connection.close()


async def measure(ground: Ground, turns: int, seconds: float, backlog: int) -> list[Figure]:
    """Measure callbacks and deliveries a second with and without one."""

    async def received(*, idle: bool) -> float:
        async with callbacks.receiving(ground, int((seconds + 1) * callbacks.MAX_PER_SECOND)) as (
            api,
            paths,
            connection,
        ):
            url = await connection.fetchval("SELECT current_database()")
            calls = Calls(url=api.url, paths=paths, body=fixtures.CALLBACK)
            if not idle:
                return (await full(calls, connections=callbacks.CONNECTIONS, seconds=seconds)).rate
            async with holding(ground.server.url(url)):
                return (await full(calls, connections=callbacks.CONNECTIONS, seconds=seconds)).rate

    async def delivered(*, idle: bool) -> float:
        return (await deliveries.drained(ground, backlog, idle=idle)).rate

    figures = []
    for name, measured in {"callbacks": received, "deliveries": delivered}.items():
        found = await in_turns(turns, {"idle": partial(measured, idle=True), "free": partial(measured, idle=False)})
        figures.append(
            Figure(
                name=f"{name}, an idle transaction held open",
                unit="1/s",
                ours=found["idle"],
                against=found["free"],
                against_what="without it",
                reach=0.85,
            )
        )
    return figures
