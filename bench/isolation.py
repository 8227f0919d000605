"""Isolation: what 99 healthy subscriptions notice of one that hangs and one that is very far behind."""

from contextlib import AsyncExitStack

from bench import fixtures
from bench.environment import Ground, program, relay, until
from bench.figures import Figure, in_turns
from bench.fixtures import Wanted
from bench.latency import arrived, percentile
from bench.load_generator import Calls, paced

HEALTHY = 99
RATE = 200.0
SLOW = 100
"""Milliseconds that the subscriber takes who is behind; one that answers at once would not be."""


async def p99(ground: Ground, seconds: float, backlog: int) -> float:
    """Return the p99 in ms of the healthy ones; with a `backlog` one more hangs, and one is so far behind."""
    async with ground.database() as url, program("stand_ins", {"arrivals": True}) as sink, AsyncExitStack() as stack:
        connection = await fixtures.opened(url)
        stack.push_async_callback(connection.close)
        clients = await fixtures.add_clients(connection, HEALTHY + 2)
        wanted = [Wanted(client, f"{sink.url}/ok/{number}", 10) for number, client in enumerate(clients[:HEALTHY])]
        healthy = await fixtures.subscribe(connection, wanted)
        if backlog:
            hanging, behind = clients[HEALTHY:]
            both = [Wanted(hanging, f"{sink.url}/slow/15000/", 10), Wanted(behind, f"{sink.url}/slow/{SLOW}/", 10)]
            of_hanging, of_behind = await fixtures.subscribe(connection, both)
            await fixtures.add_backlog(connection, behind, [of_behind], backlog)
            await fixtures.add_backlog(connection, hanging, [of_hanging], 1000)
        paths = fixtures.hooks(await fixtures.add_tasks(connection, clients[:HEALTHY], int(RATE * (seconds + 2))))
        await connection.execute("CHECKPOINT", timeout=600)  # what was just written is not the service's to wait for
        service = await stack.enter_async_context(relay(url, "up"))
        warm = paths[: int(RATE * 2)]
        sent = await paced(Calls(url=service.url, paths=warm, body=fixtures.CALLBACK), rate=RATE)
        sent |= await paced(Calls(url=service.url, paths=paths[len(warm) :], body=fixtures.CALLBACK), rate=RATE)
        left = "SELECT -count(*) FROM outstanding WHERE subscription = ANY($1::uuid[])"
        await until(url, left, [healthy], 0, 10)
        return percentile(await arrived(sink, sent, "/ok", 1), 0.99)


async def measure(ground: Ground, turns: int, seconds: float, backlog: int) -> list[Figure]:
    """Measure the p99 of the healthy ones with and without the other two."""
    found = await in_turns(
        turns, {"with": lambda: p99(ground, seconds, backlog), "without": lambda: p99(ground, seconds, 0)}
    )
    return [
        Figure(
            name=f"p99 of {HEALTHY} subscriptions; one hangs 15 s, one has {backlog:,} pending",
            unit="ms",
            ours=found["with"],
            against=found["without"],
            against_what="without those two",
            reach=1.25,
            at_most=True,
        )
    ]
