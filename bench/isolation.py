"""Isolation: what healthy subscriptions notice of those that hang, are far behind, or get the same events and hang."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from bench import fixtures
from bench.environment import Environment, wait_until
from bench.figures import Arm, Figure, in_turns
from bench.fixtures import NewSubscription
from bench.latency import delivery_latencies, percentile
from bench.load_generator import Requests, steady_load
from bench.programs import program, service
from kling_relay.store.postgres.statement import Connection

HEALTHY = 99
RATE = 200.0
SLOW_MS = 100
"""Milliseconds that the slow subscriber takes to answer; one that answers at once would not fall behind."""
HANGING_MS = 15_000
SHARED = 3
MIN_SHARED_SECONDS = 20.0
"""So that the attempts of the subscription that hangs time out, and it is probed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HangingClient:
    """Another client whose subscriptions all hang, with events that are pending for each of them from the start."""

    name: str
    subscriptions: int
    max_in_flight: int
    events: int


HANGING_CLIENTS = (
    HangingClient(name="three with 100 in flight", subscriptions=3, max_in_flight=100, events=300),
    HangingClient(name="a hook for each of 300 tasks", subscriptions=300, max_in_flight=10, events=3),
)


async def p99(environment: Environment, seconds: float, backlog: int) -> float:
    """Return the healthy subscriptions' p99 in ms; with a `backlog` there are two more, a hanging and a slow one."""
    async with (
        environment.database() as url,
        program("stand_ins", {"arrivals": True}) as subscriber,
        AsyncExitStack() as stack,
    ):
        connection = await fixtures.connect(url)
        stack.push_async_callback(connection.close)
        clients = await fixtures.add_clients(connection, HEALTHY + 2)
        healthy = await fixtures.subscribe(
            connection,
            [
                NewSubscription(client, f"{subscriber.url}/ok/{number}", 10)
                for number, client in enumerate(clients[:HEALTHY])
            ],
        )
        if backlog:
            hanging_client, slow_client = clients[HEALTHY:]
            hanging, slow = await fixtures.subscribe(
                connection,
                [
                    NewSubscription(hanging_client, f"{subscriber.url}/slow/{HANGING_MS}/", 10),
                    NewSubscription(slow_client, f"{subscriber.url}/slow/{SLOW_MS}/", 10),
                ],
            )
            await fixtures.add_backlog(connection, slow_client, [slow], backlog)
            await fixtures.add_backlog(connection, hanging_client, [hanging], 1000)
        tasks = await fixtures.add_tasks(connection, clients[:HEALTHY], int(RATE * (seconds + 2)))
        paths = fixtures.callback_paths(tasks)
        await connection.execute("CHECKPOINT", timeout=600)  # or the service waits for the rows written above
        relay = await stack.enter_async_context(service(url, "up"))
        warm_up = int(RATE * 2)
        sent_at: dict[str, float] = {}
        for part in (paths[:warm_up], paths[warm_up:]):
            sent_at |= await steady_load(Requests(url=relay.url, paths=part, body=fixtures.CALLBACK), rate=RATE)
        pending = "SELECT -count(*) FROM pending_deliveries WHERE subscription = ANY($1::uuid[])"
        await wait_until(url, pending, [healthy], 0, 10)
        return percentile(await delivery_latencies(subscriber, sent_at, "/ok"), 0.99)


async def shared_latencies(
    environment: Environment, seconds: float, *, with_hanging: bool = False, beside: HangingClient | None = None
) -> list[float]:
    """Return the milliseconds of the deliveries to three subscriptions that get every event.

    With `with_hanging` a fourth gets the same events and hangs; `beside` is another client.
    """
    async with (
        environment.database() as url,
        program("stand_ins", {"arrivals": True}) as subscriber,
        program("stand_ins", {}) as hanging,
        AsyncExitStack() as stack,
    ):
        connection = await fixtures.connect(url)
        stack.push_async_callback(connection.close)
        [client] = await fixtures.add_clients(connection, 1)
        urls = [f"{subscriber.url}/ok/{number}" for number in range(SHARED)]
        healthy = await fixtures.subscribe(connection, [NewSubscription(client, url, 10) for url in urls])
        if with_hanging:
            await fixtures.subscribe(connection, [NewSubscription(client, f"{hanging.url}/slow/{HANGING_MS}/", 10)])
        if beside is not None:
            await _add_hanging_client(connection, hanging.url, beside)
        warm_up = int(RATE * 2)
        tasks = await fixtures.add_tasks(connection, [client], warm_up + int(RATE * seconds))
        paths = fixtures.callback_paths(tasks)
        await connection.execute("CHECKPOINT", timeout=600)
        relay = await stack.enter_async_context(service(url, "up"))
        latencies: list[float] = []
        for part in (paths[:warm_up], paths[warm_up:]):  # the figures of the warm-up are dropped
            sent_at = await steady_load(Requests(url=relay.url, paths=part, body=fixtures.CALLBACK), rate=RATE)
            pending = "SELECT -count(*) FROM pending_deliveries WHERE subscription = ANY($1::uuid[])"
            await wait_until(url, pending, [healthy], 0, 10)
            latencies = await delivery_latencies(subscriber, sent_at, "/ok", each=SHARED)
        return latencies


async def _add_hanging_client(connection: Connection, url: str, hanging: HangingClient) -> None:
    [client] = await fixtures.add_clients(connection, 1)
    subscriptions = await fixtures.subscribe(
        connection,
        [
            NewSubscription(client, f"{url}/slow/{HANGING_MS}/task-{number}", hanging.max_in_flight)
            for number in range(hanging.subscriptions)
        ],
    )
    await fixtures.add_backlog(connection, client, subscriptions, hanging.events)


async def measure_clients(environment: Environment, turns: int, seconds: float) -> list[Figure]:
    """Measure the p99 of one client's three subscriptions beside other clients that hang, and without."""

    def arm(beside: HangingClient | None) -> Arm:
        async def measured() -> float:
            return percentile(await shared_latencies(environment, seconds, beside=beside), 0.99)

        return measured

    arms = {"without": arm(None)} | {hanging.name: arm(hanging) for hanging in HANGING_CLIENTS}
    samples = await in_turns(turns, arms)
    return [
        Figure(
            name=f"p99 at {RATE:g}/s, {SHARED} subscriptions each; another client's hang: {hanging.name}",
            unit="ms",
            ours=samples[hanging.name],
            against=samples["without"],
            against_what="without that client",
            reach=1.25,
            at_most=True,
        )
        for hanging in HANGING_CLIENTS
    ]


async def measure_shared(environment: Environment, turns: int, seconds: float) -> list[Figure]:
    """Measure p50 and p99 of three subscriptions with and without a fourth that hangs on the same events."""
    rounds: dict[str, list[list[float]]] = {"with": [], "without": []}

    async def arm(name: str) -> float:
        rounds[name].append(await shared_latencies(environment, seconds, with_hanging=name == "with"))
        return 0.0

    await in_turns(turns, {"with": lambda: arm("with"), "without": lambda: arm("without")})
    return [
        Figure(
            name=f"p{share * 100:g} at {RATE:g}/s, {SHARED} subscriptions each; one more hangs 15 s on the same events",
            unit="ms",
            ours=[percentile(latencies, share) for latencies in rounds["with"]],
            against=[percentile(latencies, share) for latencies in rounds["without"]],
            against_what="without that one",
            reach=reach,
            at_most=True,
        )
        for share, reach in ((0.5, 1.25), (0.99, 1.5))
    ]


async def measure(environment: Environment, turns: int, seconds: float, backlog: int) -> list[Figure]:
    """Measure the healthy subscriptions' p99 with and without the others."""

    async def with_others() -> float:
        return await p99(environment, seconds, backlog)

    async def without_others() -> float:
        return await p99(environment, seconds, 0)

    samples = await in_turns(turns, {"with": with_others, "without": without_others})
    shared = await measure_shared(environment, turns, max(seconds, MIN_SHARED_SECONDS))
    clients = await measure_clients(environment, turns, seconds)
    return [
        *shared,
        *clients,
        Figure(
            # older results have this name, and are compared by it
            name=f"p99 of {HEALTHY} subscriptions; one hangs 15 s, one has {backlog:,} outstanding",
            unit="ms",
            ours=samples["with"],
            against=samples["without"],
            against_what="without those two",
            reach=1.25,
            at_most=True,
        ),
    ]
