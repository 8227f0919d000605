"""Deliveries: a backlog is signed, posted to a keep-alive sink behind the guard and written down; nothing is left."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import fmean

import aiohttp
import asyncpg

from bench import fixtures
from bench.environment import Ground, Program, program, relay, until
from bench.figures import Figure, in_turns
from bench.idle_transaction import holding

SUBSCRIPTIONS = 20
CONCURRENCY = 200
EARLY = 10_000
_LOOK_EVERY = 0.02


@dataclass(slots=True)
class Round:
    """What one backlog took: deliveries a second, CPU microseconds each, MB of memory early on and at the end."""

    rate: float = 0.0
    service: float = 0.0
    postgres: float = 0.0
    early: float = 0.0
    late: float = 0.0


async def told(url: str) -> dict[str, int]:
    """Return what a sink counted."""
    async with aiohttp.ClientSession() as session, session.get(url + "/count") as answer:
        return dict(await answer.json(content_type=None))


@asynccontextmanager
async def waiting(ground: Ground, backlog: int) -> AsyncIterator[tuple[str, Program]]:
    """Give a database with so many deliveries waiting for a sink, and the sink."""
    async with ground.database() as url, program("stand_ins", {}) as sink:
        connection = await fixtures.opened(url)
        [client] = await fixtures.add_clients(connection, 1)
        wanted = [fixtures.Wanted(client, f"{sink.url}/ok/{number}") for number in range(SUBSCRIPTIONS)]
        subscriptions = await fixtures.subscribe(connection, wanted)
        await fixtures.add_backlog(connection, client, subscriptions, backlog // SUBSCRIPTIONS)
        await connection.execute("CHECKPOINT")
        await connection.close()
        yield url, sink


async def drained(ground: Ground, backlog: int, *, workers: int = 1, idle: bool = False) -> Round:
    """Have workers deliver a backlog; return once all of it is written down, exactly once."""
    found = Round()
    async with waiting(ground, backlog) as (url, sink), AsyncExitStack() as stack:
        if idle:
            await stack.enter_async_context(holding(url))
        loop = asyncio.get_running_loop()
        begun, used = loop.time(), ground.cpu()
        started = [await stack.enter_async_context(relay(url, "worker")) for _ in range(workers)]
        if workers == 1:
            begun = loop.time()
        while (came := (await told(sink.url))["count"]) < backlog:
            if came >= EARLY and not found.early:
                found.early = started[0].resident()
            if loop.time() - begun > 600:
                raise RuntimeError(f"{came} of {backlog} deliveries came in 600 s")
            await asyncio.sleep(_LOOK_EVERY)
        connection = await fixtures.opened(url)
        await until(url, "SELECT -count(*) FROM outstanding", [], 0, 30)
        found.rate = backlog / (loop.time() - begun)
        found.late = max(one.resident() for one in started)
        found.service = sum(one.cpu() for one in started) / backlog * 1e6
        found.postgres = (ground.cpu() - used) / backlog * 1e6
        await _check(connection, await told(sink.url), backlog)
        await connection.close()
    return found


async def _check(connection: "asyncpg.Connection[asyncpg.Record]", counted: dict[str, int], backlog: int) -> None:
    logged = await connection.fetchval(
        "SELECT count(*) FROM attempts WHERE outcome = 'delivered' AND subscription IN (SELECT id FROM subscriptions)"
    )
    if not counted["count"] == counted["distinct"] == logged == backlog:
        raise RuntimeError(f"{backlog} deliveries: {counted} came, {logged} are written down")


async def bare(backlog: int) -> float:
    """Return how many deliveries a second a bare client loop makes of the same bytes, signed."""
    [client, subject] = fixtures.ids(2)
    async with program("stand_ins", {}) as sink:
        said = {
            "act": "client",
            "urls": [f"{sink.url}/ok/{number}" for number in range(SUBSCRIPTIONS)],
            "events": backlog // SUBSCRIPTIONS,
            "at_once": CONCURRENCY,
            "body": fixtures.event_of(subject, client).body.decode(),
            "secret": fixtures.SECRET,
            "subject": str(subject),
        }
        async with program("ceilings", said) as loop:
            took = await loop.says(within=600)
        counted = await told(sink.url)
    if took["failed"] or counted["distinct"] != backlog:
        raise RuntimeError(f"the bare client made {json.dumps(counted)} of {backlog}, {took['failed']} failed")
    return backlog / float(took["seconds"])


async def measure(ground: Ground, turns: int, backlog: int) -> list[Figure]:
    """Measure deliveries a second from a backlog against the bare client; memory and CPU on the way."""
    rounds: list[Round] = []

    async def ours() -> float:
        rounds.append(await drained(ground, backlog))
        return rounds[-1].rate

    async def two() -> float:
        return (await drained(ground, backlog, workers=2)).rate

    async def ceiling() -> float:
        return await bare(backlog)

    found = await in_turns(turns, {"ours": ours, "bare": ceiling})
    pair = await in_turns(max(1, turns // 2), {"two": two})
    notes = {
        "µs of service each": fmean(each.service for each in rounds),
        "µs of PostgreSQL each": fmean(each.postgres for each in rounds),
        "1/s with 2 workers (start included)": fmean(pair["two"]),
    }
    return [
        Figure(
            name=f"deliveries from a backlog of {backlog:,}",
            unit="1/s",
            ours=found["ours"],
            against=found["bare"],
            against_what="bare aiohttp client, same bytes",
            reach=0.65,
            notes=notes,
        ),
        Figure(
            name=f"memory of a worker after {backlog:,} deliveries",
            unit="MB",
            ours=[each.late for each in rounds],
            against=[each.early for each in rounds],
            against_what=f"after {EARLY:,}",
            reach=1.1,
            at_most=True,
        ),
    ]
