"""Reports: what a client that orders and looks up notices of another one that asks for ten usage reports at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from bench import fixtures
from bench.environment import Environment
from bench.figures import Figure, in_turns
from bench.load_generator import Requests, latencies_at
from bench.orders import ORDER, PATH
from bench.programs import KEY, program, service

ENTRIES = 400_000
REPORTS = 10
RATE = 100.0
TASKS = 1_000


async def p99(environment: Environment, seconds: float, *, reports: int) -> float:
    """Return the p99 in ms of orders and look-ups at a fixed rate, the slower one, beside `reports` reports."""
    async with (
        environment.database() as url,
        program("stand_ins", {}) as provider,
        service(url, "api", provider=provider.url) as api,
    ):
        connection = await fixtures.connect(url)
        client = await fixtures.bootstrap(connection)
        tasks = await fixtures.add_tasks(connection, [client], TASKS, finished=True)
        key = await fixtures.add_key(url, "greedy")
        await fixtures.add_entries(connection, "greedy", ENTRIES)
        await connection.execute("CHECKPOINT", timeout=600)
        await connection.close()
        count = int(RATE * seconds)
        orders = Requests(url=api.url, paths=[PATH] * count, body=ORDER, key=KEY)
        look_ups = [f"{PATH}/{tasks[number % TASKS]}" for number in range(count)]
        async with asking(api.url, key, reports):
            await latencies_at(orders, rate=RATE)  # to warm up, and so that every report runs
            results = await asyncio.gather(
                latencies_at(orders, rate=RATE),
                latencies_at(Requests(url=api.url, paths=look_ups, method="GET", key=KEY), rate=RATE),
            )
        return max(result.p99 for result in results)


@asynccontextmanager
async def asking(url: str, key: str, reports: int) -> AsyncIterator[None]:
    """Ask for `reports` usage reports at a time, again and again, until the end of the block."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:

        async def ask() -> None:
            while True:
                async with session.get(f"{url}/v1/usage?by=day&by=model") as answer:
                    await answer.read()

        tasks = [asyncio.create_task(ask()) for _ in range(reports)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def measure(environment: Environment, turns: int, seconds: float) -> list[Figure]:
    """Measure the p99 with and without the other client."""

    async def with_reports() -> float:
        return await p99(environment, seconds, reports=REPORTS)

    async def without_reports() -> float:
        return await p99(environment, seconds, reports=0)

    samples = await in_turns(turns, {"with": with_reports, "without": without_reports})
    return [
        Figure(
            name=f"p99 of orders and look-ups at {RATE:g}/s each; another key asks for {REPORTS} usage reports over"
            f" {ENTRIES:,} entries at a time",
            unit="ms",
            ours=samples["with"],
            against=samples["without"],
            against_what="without those reports",
            reach=1.25,
            at_most=True,
        )
    ]
