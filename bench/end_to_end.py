"""End to end: callbacks at full load, until the last of their deliveries has arrived at its subscriber."""

import asyncio

from bench import fixtures
from bench.callbacks import CONNECTIONS, DELIVERIES, MAX_PER_SECOND
from bench.deliveries import counts_of
from bench.environment import Environment, wait_until
from bench.figures import CpuTimes, Figure, cpu_notes
from bench.load_generator import Requests, full_load
from bench.programs import program, service
from kling_relay.store.postgres.statement import Connection

_POLL_INTERVAL = 0.05
_TIMEOUT = 300.0


async def rate(environment: Environment, seconds: float, cpu_times: CpuTimes) -> float:
    """Return callbacks a second, from the first one until every delivery has arrived, each exactly once."""
    async with environment.database() as url, program("stand_ins", {}) as subscriber:
        connection = await fixtures.connect(url)
        [client] = await fixtures.add_clients(connection, 1)
        endpoints = [f"{subscriber.url}/ok/{number}" for number in range(DELIVERIES)]
        await fixtures.subscribe(connection, [fixtures.NewSubscription(client, endpoint) for endpoint in endpoints])
        paths = fixtures.callback_paths(
            await fixtures.add_tasks(connection, [client], int((seconds + 1) * MAX_PER_SECOND))
        )
        await connection.execute("CHECKPOINT")
        async with service(url, "up") as relay:
            loop = asyncio.get_running_loop()
            started_at, before = loop.time(), (relay.cpu(), environment.cpu())
            requests = Requests(url=relay.url, paths=paths, body=fixtures.CALLBACK)
            load = await full_load(requests, connections=CONNECTIONS, seconds=seconds)
            moves = await wait_for_last(connection, subscriber.url)
            elapsed = loop.time() - started_at
            cpu_times["service"].append((relay.cpu() - before[0]) / moves * 1e6)
            cpu_times["PostgreSQL"].append((environment.cpu() - before[1]) / moves * 1e6)
            await wait_until(url, "SELECT -count(*) FROM pending_deliveries", [], 0, 30)
        counts = await counts_of(subscriber.url)
        await connection.close()
    good = load.requests - load.failed
    if counts["count"] != counts["distinct"] or not good <= moves <= good + CONNECTIONS:
        raise RuntimeError(f"{good} callbacks: {moves} events, {counts} deliveries")
    return moves / elapsed


async def wait_for_last(connection: Connection, subscriber: str) -> int:
    """Wait until every event has arrived everywhere, and return the number of events."""
    async with asyncio.timeout(_TIMEOUT):
        while True:
            events = int(await connection.fetchval("SELECT count(*) FROM events"))
            if (await counts_of(subscriber))["distinct"] == DELIVERIES * events:
                return events
            await asyncio.sleep(_POLL_INTERVAL)


async def measure(environment: Environment, turns: int, seconds: float) -> list[Figure]:
    """Measure callbacks a second with their deliveries; `make bench-compare` compares it with another commit."""
    cpu_times: CpuTimes = {"service": [], "PostgreSQL": []}
    return [
        Figure(
            name=f"callbacks until the last of {DELIVERIES} deliveries each arrived",
            unit="1/s",
            ours=[await rate(environment, seconds, cpu_times) for _ in range(turns)],
            notes=cpu_notes(cpu_times),
        )
    ]
