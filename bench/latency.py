"""Latency: from the moment the provider sends a callback until the subscriber has the event, at a steady rate."""

from contextlib import AsyncExitStack
from uuid import UUID

import aiohttp

from bench import fixtures
from bench.environment import Environment, wait_until
from bench.figures import Figure
from bench.load_generator import Requests, steady_load
from bench.programs import Program, program, service


def percentile(numbers: list[float], share: float) -> float:
    """Return the smallest of `numbers` that at least `share` of them do not exceed."""
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def delivery_latencies(subscriber: Program, sent_at: dict[str, float], prefix: str, each: int = 1) -> list[float]:
    """Return the milliseconds until each delivery to a path under `prefix`; a callback must have caused `each`."""
    async with aiohttp.ClientSession() as session, session.get(subscriber.url + "/arrivals") as answer:
        arrivals = await answer.json(content_type=None)
    sent_by_task = {UUID(path.split("/")[2]).hex: at for path, at in sent_at.items()}
    latencies = [
        (at - sent_by_task[message_id.split("_")[1]]) * 1000
        for message_id, path, at in arrivals
        if path.startswith(prefix)
    ]
    if len(latencies) != len(sent_at) * each:
        raise RuntimeError(f"{len(sent_at)} callbacks caused {len(latencies)} deliveries")
    return latencies


async def latencies_at(environment: Environment, rate: float, seconds: float) -> list[float]:
    """Return the milliseconds that each callback took to reach one subscriber, at `rate` callbacks a second."""
    async with (
        environment.database() as url,
        program("stand_ins", {"arrivals": True}) as subscriber,
        AsyncExitStack() as stack,
    ):
        connection = await fixtures.connect(url)
        stack.push_async_callback(connection.close)
        [client] = await fixtures.add_clients(connection, 1)
        await fixtures.subscribe(connection, [fixtures.NewSubscription(client, f"{subscriber.url}/ok/one")])
        warm_up = int(rate)
        tasks = await fixtures.add_tasks(connection, [client], warm_up + int(rate * seconds))
        paths = fixtures.callback_paths(tasks)
        relay = await stack.enter_async_context(service(url, "up"))
        latencies = []
        for part in (paths[:warm_up], paths[warm_up:]):  # the figures of the warm-up are dropped
            sent_at = await steady_load(Requests(url=relay.url, paths=part, body=fixtures.CALLBACK), rate=rate)
            await wait_until(url, "SELECT -count(*) FROM pending_deliveries", [], 0, 10)
            latencies = await delivery_latencies(subscriber, sent_at, "/ok")
        return latencies


async def measure(environment: Environment, turns: int, seconds: float) -> list[Figure]:
    """Measure at 200 and at 1,000 callbacks a second."""
    figures = []
    for rate in (200, 1000):
        rounds = [await latencies_at(environment, rate, seconds) for _ in range(turns)]
        for share, reach in ((0.5, 10.0), (0.99, 50.0)):
            figures.append(
                Figure(
                    name=f"callback to subscriber at {rate:,}/s, p{share * 100:g}",
                    unit="ms",
                    ours=[percentile(latencies, share) for latencies in rounds],
                    reach=reach if rate == 200 else None,
                    at_most=True,
                )
            )
    return figures
