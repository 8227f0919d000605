"""Deliveries: a backlog is signed, posted to keep-alive subscribers through the guard, and recorded to the last one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import fmean

import aiohttp

from bench import fixtures
from bench.environment import Environment, hold_transaction, wait_until
from bench.figures import Figure, in_turns
from bench.programs import Program, program, service
from kling_relay.store.postgres.statement import Connection

SUBSCRIPTIONS = 20
CONCURRENCY = 200
EARLY = 10_000
_POLL_INTERVAL = 0.02
_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One delivered backlog: deliveries a second, CPU microseconds of each, MB of memory early and at the end."""

    rate: float
    service_cpu: float
    postgres_cpu: float
    early_memory: float
    late_memory: float


async def counts_of(url: str) -> dict[str, int]:
    """Return the counts of a stand-in: deliveries, distinct deliveries and orders."""
    async with aiohttp.ClientSession() as session, session.get(url + "/count") as answer:
        return dict(await answer.json(content_type=None))


@asynccontextmanager
async def database_with_backlog(environment: Environment, backlog: int) -> AsyncIterator[tuple[str, Program]]:
    """Give a database with `backlog` pending deliveries, and the subscriber that they go to."""
    async with environment.database() as url, program("stand_ins", {}) as subscriber:
        connection = await fixtures.connect(url)
        [client] = await fixtures.add_clients(connection, 1)
        urls = [f"{subscriber.url}/ok/{number}" for number in range(SUBSCRIPTIONS)]
        subscriptions = await fixtures.subscribe(connection, [fixtures.NewSubscription(client, url) for url in urls])
        await fixtures.add_backlog(connection, client, subscriptions, backlog // SUBSCRIPTIONS)
        await connection.execute("CHECKPOINT")
        await connection.close()
        yield url, subscriber


async def deliver_backlog(
    environment: Environment, backlog: int, *, workers: int = 1, with_idle_transaction: bool = False
) -> Round:
    """Have workers deliver a backlog; return once every delivery is recorded, each exactly once."""
    async with database_with_backlog(environment, backlog) as (url, subscriber), AsyncExitStack() as stack:
        if with_idle_transaction:
            await stack.enter_async_context(hold_transaction(url))
        loop = asyncio.get_running_loop()
        started_at, cpu_before = loop.time(), environment.cpu()
        processes = [await stack.enter_async_context(service(url, "worker")) for _ in range(workers)]
        if workers == 1:
            started_at = loop.time()
        early_memory = 0.0
        while (arrived := (await counts_of(subscriber.url))["count"]) < backlog:
            if arrived >= EARLY and not early_memory:
                early_memory = processes[0].resident()
            if loop.time() - started_at > _TIMEOUT:
                raise RuntimeError(f"{arrived} of {backlog} deliveries arrived in {_TIMEOUT:g} s")
            await asyncio.sleep(_POLL_INTERVAL)
        connection = await fixtures.connect(url)
        await wait_until(url, "SELECT -count(*) FROM pending_deliveries", [], 0, 30)
        late_memory = max(process.resident() for process in processes)
        result = Round(
            rate=backlog / (loop.time() - started_at),
            service_cpu=sum(process.cpu() for process in processes) / backlog * 1e6,
            postgres_cpu=(environment.cpu() - cpu_before) / backlog * 1e6,
            early_memory=early_memory or late_memory,  # a small backlog ends before there is an early one
            late_memory=late_memory,
        )
        await _check(connection, await counts_of(subscriber.url), backlog)
        await connection.close()
        return result


async def _check(connection: Connection, counts: dict[str, int], backlog: int) -> None:
    recorded = await connection.fetchval(
        "SELECT count(*) FROM attempts WHERE outcome = 'delivered' AND subscription IN (SELECT id FROM subscriptions)"
    )
    if not counts["count"] == counts["distinct"] == recorded == backlog:
        raise RuntimeError(f"{backlog} deliveries: {counts} arrived, {recorded} are recorded")


async def bare_rate(backlog: int, *, own: bool) -> float:
    """Return how many deliveries of the same bytes a bare client, aiohttp's or our own, signs and posts in a second."""
    [client, subject] = fixtures.ids(2)
    async with program("stand_ins", {}) as subscriber:
        options = {
            "program": "client",
            "own": own,
            "urls": [f"{subscriber.url}/ok/{number}" for number in range(SUBSCRIPTIONS)],
            "events": backlog // SUBSCRIPTIONS,
            "concurrency": CONCURRENCY,
            "body": fixtures.success_event(subject, client).body.decode(),
            "secret": fixtures.SECRET,
            "subject": str(subject),
        }
        async with program("ceilings", options) as bare_client:
            result = await bare_client.next_line(within=_TIMEOUT)
        counts = await counts_of(subscriber.url)
    if result["failed"] or counts["distinct"] != backlog:
        raise RuntimeError(f"the bare client made {json.dumps(counts)} of {backlog}, {result['failed']} failed")
    return backlog / float(result["seconds"])


async def measure(environment: Environment, turns: int, backlog: int) -> list[Figure]:
    """Measure deliveries a second from a backlog against the bare client, and a worker's memory and CPU."""
    rounds: list[Round] = []

    async def ours() -> float:
        rounds.append(await deliver_backlog(environment, backlog))
        return rounds[-1].rate

    async def two_workers() -> float:
        return (await deliver_backlog(environment, backlog, workers=2)).rate

    async def bare() -> float:
        return await bare_rate(backlog, own=False)

    async def bare_own() -> float:
        return await bare_rate(backlog, own=True)

    samples = await in_turns(turns, {"ours": ours, "bare": bare, "own": bare_own})
    pair = await in_turns(max(1, turns // 2), {"two": two_workers})
    notes = {
        "µs of service each": fmean(round_.service_cpu for round_ in rounds),
        "µs of PostgreSQL each": fmean(round_.postgres_cpu for round_ in rounds),
        "1/s with 2 workers (start included)": fmean(pair["two"]),
    }
    return [
        Figure(
            name=f"deliveries from a backlog of {backlog:,}",
            unit="1/s",
            ours=samples["ours"],
            against=samples["bare"],
            against_what="bare aiohttp client, same bytes",
            reach=1.7,
            notes=notes,
        ),
        Figure(
            name=f"deliveries from a backlog of {backlog:,}, against the harder ceiling",
            unit="1/s",
            ours=samples["ours"],
            against=samples["own"],
            against_what="bare loop of our own client, same bytes",
            reach=0.45,
        ),
        Figure(
            name=f"memory of a worker after {backlog:,} deliveries",
            unit="MB",
            ours=[round_.late_memory for round_ in rounds],
            against=[round_.early_memory for round_ in rounds],
            against_what=f"after {EARLY:,}",
            reach=1.1,
            at_most=True,
        ),
    ]
