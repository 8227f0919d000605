"""Ingest: callbacks that are on disk with their event and three deliveries before they are answered."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bench import fixtures
from bench.environment import Ground, Program, program, relay
from bench.figures import Figure, Spent, all_turns, by_seconds, in_turns, spent_notes
from bench.load_generator import Calls, Load, counted, full
from kling_relay.store.postgres.statement import Connection

DELIVERIES = 3
CONNECTIONS = 256
WARM = 500
"""Callbacks before anything is measured."""
MAX_PER_SECOND = 16_000
ANSWER = '{"code":0,"message":"ok"}'


@asynccontextmanager
async def receiving(
    ground: Ground, tasks: int, *, coalesce: bool = True
) -> AsyncIterator[tuple[Program, list[str], Connection]]:
    """Give an api with so many tasks waiting for callbacks, their paths, and a connection to its database."""
    async with ground.database() as url, AsyncExitStack() as stack:
        connection = await fixtures.opened(url)
        stack.push_async_callback(connection.close)
        [client] = await fixtures.add_clients(connection, 1)
        await fixtures.subscribe(connection, [fixtures.Wanted(client, "http://127.0.0.1:9/")] * DELIVERIES)
        paths = fixtures.hooks(await fixtures.add_tasks(connection, [client], tasks))
        await connection.execute("CHECKPOINT")
        api = await stack.enter_async_context(relay(url, "api", coalesce=coalesce))
        yield api, paths, connection


async def check(connection: Connection, *loads: Load) -> None:
    """Every good answer is a step with its event and deliveries, a 503 is none; what a load cut off may be either."""
    requests = sum(each.requests for each in loads)
    good = requests - sum(each.failed for each in loads)
    moved = await connection.fetchval(
        "SELECT count(*) FROM tasks WHERE status = 'succeed' AND client IN (SELECT id FROM clients)"
    )
    told = await connection.fetchval("SELECT count(*) FROM events WHERE client IN (SELECT id FROM clients)")
    due = await connection.fetchval("SELECT count(*) FROM pending_deliveries")
    kept = await connection.fetchval("SELECT count(*) FROM callbacks WHERE outcome = 'moved'")
    came = await connection.fetchval("SELECT count(*) FROM callbacks")
    if not (moved == told == kept and due == DELIVERIES * told and good <= came <= good + len(loads) * CONNECTIONS):
        raise RuntimeError(f"{requests} callbacks: {moved} moves, {told} events, {due} deliveries, {kept} kept")


def _part(paths: list[str], second: int) -> list[str]:
    """Return the paths of one second; no second calls those of another."""
    first = WARM + second * MAX_PER_SECOND
    return paths[first : first + MAX_PER_SECOND]


async def beside_bare(ground: Ground, seconds: float, spent: Spent) -> dict[str, list[float]]:
    """Return callbacks a second, ours and bare, second by second, once it is checked that each of ours did its work."""
    loads: list[Load] = []
    async with (
        receiving(ground, WARM + round(seconds) * MAX_PER_SECOND) as (api, paths, connection),
        program("ceilings", {"act": "server", "answer": ANSWER}) as server,
    ):
        loads.append(
            await full(Calls(url=api.url, paths=paths[:WARM], body=fixtures.CALLBACK), connections=8, seconds=2)
        )

        async def ours(second: int) -> float:
            calls = Calls(url=api.url, paths=_part(paths, second), body=fixtures.CALLBACK)
            loads.append(await counted(full(calls, connections=CONNECTIONS, seconds=1), api, ground, spent))
            return loads[-1].rate

        async def bare(second: int) -> float:
            calls = Calls(url=server.url, paths=_part(paths, second), body=fixtures.CALLBACK, again=True)
            return (await full(calls, connections=CONNECTIONS, seconds=1)).rate

        found = await by_seconds(seconds, {"ours": ours, "bare": bare})
        await api.end()  # finishes what was cut off in flight
        await check(connection, *loads)
        return found


async def rate(ground: Ground, seconds: float, *, coalesce: bool = True) -> float:
    """Return callbacks a second, once it is checked that each did what it should."""
    limit = int((seconds + 1) * (MAX_PER_SECOND if coalesce else MAX_PER_SECOND / 3))
    async with receiving(ground, limit, coalesce=coalesce) as (api, paths, connection):
        warm = await full(Calls(url=api.url, paths=paths[:WARM], body=fixtures.CALLBACK), connections=8, seconds=2)
        calls = Calls(url=api.url, paths=paths[WARM:], body=fixtures.CALLBACK)
        load = await full(calls, connections=CONNECTIONS, seconds=seconds)
        await api.end()  # finishes what was cut off in flight
        await check(connection, warm, load)
        return load.rate


async def measure(ground: Ground, turns: int, seconds: float) -> list[Figure]:
    """Measure callbacks a second against a server that does nothing, and against a transaction for each."""
    spent: Spent = {"service": [], "PostgreSQL": []}

    found = await all_turns(turns, lambda: beside_bare(ground, seconds, spent))

    async def together() -> float:
        return await rate(ground, seconds)

    async def each_alone() -> float:
        return await rate(ground, seconds, coalesce=False)

    coalesced = await in_turns(turns, {"together": together, "alone": each_alone})
    return [
        Figure(
            name="callbacks, durable, 3 deliveries each",
            unit="1/s",
            ours=found["ours"],
            against=found["bare"],
            against_what="aiohttp answering without work",
            reach=0.40,
            notes=spent_notes(spent),
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
