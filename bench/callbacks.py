"""Callbacks: each is on disk with its event and three deliveries before it is answered."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bench import fixtures
from bench.environment import Environment
from bench.figures import CpuTimes, Figure, Samples, all_turns, by_seconds, cpu_notes, in_turns
from bench.load_generator import Load, Requests, full_load, with_cpu
from bench.programs import Program, program, service
from kling_relay.store.postgres.statement import Connection

DELIVERIES = 3
CONNECTIONS = 256
WARM_UP = 500
"""Callbacks before the measurement begins."""
MAX_PER_SECOND = 16_000
ANSWER = '{"code":0,"message":"ok"}'


@asynccontextmanager
async def api_with_tasks(
    environment: Environment, tasks: int, *, coalesce: bool = True
) -> AsyncIterator[tuple[Program, list[str], Connection]]:
    """Give an api with tasks that wait for callbacks, the paths of these, and a connection to its database."""
    async with environment.database() as url, AsyncExitStack() as stack:
        connection = await fixtures.connect(url)
        stack.push_async_callback(connection.close)
        [client] = await fixtures.add_clients(connection, 1)
        await fixtures.subscribe(connection, [fixtures.NewSubscription(client, "http://127.0.0.1:9/")] * DELIVERIES)
        paths = fixtures.callback_paths(await fixtures.add_tasks(connection, [client], tasks))
        await connection.execute("CHECKPOINT")
        api = await stack.enter_async_context(service(url, "api", coalesce=coalesce))
        yield api, paths, connection


async def check(connection: Connection, *loads: Load) -> None:
    """Check that every 2xx answer is a move with its event and deliveries; a request cut off at the end may be too."""
    requests = sum(load.requests for load in loads)
    good = requests - sum(load.failed for load in loads)
    moves = await connection.fetchval(
        "SELECT count(*) FROM tasks WHERE status = 'succeed' AND client IN (SELECT id FROM clients)"
    )
    events = await connection.fetchval("SELECT count(*) FROM events WHERE client IN (SELECT id FROM clients)")
    pending = await connection.fetchval("SELECT count(*) FROM pending_deliveries")
    moving = await connection.fetchval("SELECT count(*) FROM callbacks WHERE outcome = 'moved'")
    stored = await connection.fetchval("SELECT count(*) FROM callbacks")
    is_consistent = moves == events == moving and pending == DELIVERIES * events
    if not (is_consistent and good <= stored <= good + len(loads) * CONNECTIONS):
        raise RuntimeError(f"{requests} callbacks: {moves} moves, {events} events, {pending} deliveries, {moving} kept")


def _paths_of(second: int, paths: list[str]) -> list[str]:
    """Return the paths of one second; seconds share none."""
    first = WARM_UP + second * MAX_PER_SECOND
    return paths[first : first + MAX_PER_SECOND]


def _requests(url: str, paths: list[str], *, repeat: bool = False) -> Requests:
    return Requests(url=url, paths=paths, body=fixtures.CALLBACK, repeat=repeat)


async def beside_ceiling(environment: Environment, seconds: float, cpu_times: CpuTimes) -> Samples:
    """Return callbacks a second, ours and the ceiling's, second by second, after checking that ours did their work."""
    loads: list[Load] = []
    async with (
        api_with_tasks(environment, WARM_UP + round(seconds) * MAX_PER_SECOND) as (api, paths, connection),
        program("ceilings", {"program": "server", "answer": ANSWER}) as server,
    ):
        loads.append(await full_load(_requests(api.url, paths[:WARM_UP]), connections=8, seconds=2))

        async def ours(second: int) -> float:
            load = full_load(_requests(api.url, _paths_of(second, paths)), connections=CONNECTIONS, seconds=1)
            loads.append(await with_cpu(load, api, environment, cpu_times))
            return loads[-1].rate

        async def bare(second: int) -> float:
            requests = _requests(server.url, _paths_of(second, paths), repeat=True)
            return (await full_load(requests, connections=CONNECTIONS, seconds=1)).rate

        samples = await by_seconds(seconds, {"ours": ours, "bare": bare})
        await api.stop()  # finishes the requests in flight
        await check(connection, *loads)
        return samples


async def rate(environment: Environment, seconds: float, *, coalesce: bool = True) -> float:
    """Return callbacks a second, after checking that each did its work."""
    limit = int((seconds + 1) * (MAX_PER_SECOND if coalesce else MAX_PER_SECOND / 3))
    async with api_with_tasks(environment, limit, coalesce=coalesce) as (api, paths, connection):
        warm_up = await full_load(_requests(api.url, paths[:WARM_UP]), connections=8, seconds=2)
        load = await full_load(_requests(api.url, paths[WARM_UP:]), connections=CONNECTIONS, seconds=seconds)
        await api.stop()  # finishes the requests in flight
        await check(connection, warm_up, load)
        return load.rate


async def measure(environment: Environment, turns: int, seconds: float) -> list[Figure]:
    """Measure callbacks a second against a server that does nothing, and against one transaction per callback."""
    cpu_times: CpuTimes = {"service": [], "PostgreSQL": []}
    samples = await all_turns(turns, lambda: beside_ceiling(environment, seconds, cpu_times))

    async def together() -> float:
        return await rate(environment, seconds)

    async def alone() -> float:
        return await rate(environment, seconds, coalesce=False)

    coalesced = await in_turns(turns, {"together": together, "alone": alone})
    return [
        Figure(
            name="callbacks, durable, 3 deliveries each",
            unit="1/s",
            ours=samples["ours"],
            against=samples["bare"],
            against_what="aiohttp answering without work",
            reach=0.50,
            notes=cpu_notes(cpu_times),
        ),
        Figure(
            name="callbacks, coalesced",
            unit="1/s",
            ours=coalesced["together"],
            against=coalesced["alone"],
            against_what="a transaction each",
            reach=2.0,
        ),
    ]
