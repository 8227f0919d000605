"""Ingest: callbacks that are on disk with their event and three deliveries before they are answered."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bench import rows
from bench.figure import Figure, Spent, in_turns, spent_notes
from bench.ground import Ground, Program, program, relay
from bench.load import Calls, Load, full
from service.store.statement import Connection

DELIVERIES = 3
CONNECTIONS = 256
MOST_A_SECOND = 16_000
ANSWER = '{"code":0,"message":"ok"}'


@asynccontextmanager
async def receiving(
    ground: Ground, tasks: int, *, coalesce: bool = True
) -> AsyncIterator[tuple[Program, list[str], Connection]]:
    """Give an api with so many tasks waiting for callbacks, their paths, and a connection to its database."""
    async with ground.database() as url, AsyncExitStack() as stack:
        connection = await rows.opened(url)
        stack.push_async_callback(connection.close)
        [client] = await rows.add_clients(connection, 1)
        await rows.subscribe(connection, [rows.Wanted(client, "http://127.0.0.1:9/")] * DELIVERIES)
        paths = rows.hooks(await rows.add_tasks(connection, [client], tasks))
        await connection.execute("CHECKPOINT")
        api = await stack.enter_async_context(relay(url, "api", coalesce=coalesce))
        yield api, paths, connection


async def check(connection: Connection, load: Load) -> None:
    """Every good answer is a step with its event and deliveries, a 503 is none; what was cut off may be either."""
    good = load.requests - load.failed
    moved = await connection.fetchval(
        "SELECT count(*) FROM tasks WHERE status = 'succeed' AND client IN (SELECT id FROM clients)"
    )
    told = await connection.fetchval("SELECT count(*) FROM events WHERE client IN (SELECT id FROM clients)")
    due = await connection.fetchval("SELECT count(*) FROM outstanding")
    kept = await connection.fetchval("SELECT count(*) FROM callbacks WHERE outcome = 'moved'")
    came = await connection.fetchval("SELECT count(*) FROM callbacks")
    if not (moved == told == kept and due == DELIVERIES * told and good <= came <= good + 2 * CONNECTIONS):
        raise RuntimeError(f"{load.requests} callbacks: {moved} moves, {told} events, {due} deliveries, {kept} kept")


async def rate(ground: Ground, seconds: float, *, coalesce: bool = True, spent: Spent | None = None) -> float:
    """Return callbacks a second, once it is checked that each did what it should."""
    most = int((seconds + 1) * (MOST_A_SECOND if coalesce else MOST_A_SECOND / 3))
    async with receiving(ground, most, coalesce=coalesce) as (api, paths, connection):
        warm = await full(Calls(url=api.url, paths=paths[:500], body=rows.CALLBACK), connections=8, seconds=2)
        before = api.cpu(), ground.cpu()
        calls = Calls(url=api.url, paths=paths[500:], body=rows.CALLBACK)
        load = await full(calls, connections=CONNECTIONS, seconds=seconds)
        if spent is not None:
            spent["service"].append((api.cpu() - before[0]) / load.requests * 1e6)
            spent["PostgreSQL"].append((ground.cpu() - before[1]) / load.requests * 1e6)
        await api.end()  # finishes what was cut off in flight
        await check(connection, Load(load.requests + warm.requests, 0, load.failed + warm.failed, 0, 0))
        return load.rate


async def measure(ground: Ground, turns: int, seconds: float) -> list[Figure]:
    """Measure callbacks a second against a server that does nothing, and against a transaction for each."""
    spent: Spent = {"service": [], "PostgreSQL": []}

    async def ours() -> float:
        return await rate(ground, seconds, spent=spent)

    async def each_alone() -> float:
        return await rate(ground, seconds, coalesce=False)

    async def bare() -> float:
        async with program("bare", {"act": "server", "answer": ANSWER}) as server:
            calls = Calls(url=server.url, paths=rows.hooks(rows.ids(5000)), body=rows.CALLBACK, again=True)
            return (await full(calls, connections=CONNECTIONS, seconds=seconds)).rate

    found = await in_turns(turns, {"ours": ours, "bare": bare, "alone": each_alone})
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
            ours=found["ours"],
            against=found["alone"],
            against_what="a transaction each",
            reach=2.0,
        ),
    ]
