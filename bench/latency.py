"""Latency: from the moment the provider's callback leaves until the subscriber has the event, at a steady rate."""

from contextlib import AsyncExitStack
from uuid import UUID

import aiohttp

from bench import fixtures
from bench.environment import Ground, Program, program, relay, until
from bench.figures import Figure
from bench.load_generator import Calls, paced


def percentile(numbers: list[float], share: float) -> float:
    """Return the smallest number that at least `share` of all are not above."""
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def arrived(sink: Program, sent: dict[str, float], prefix: str, each: int) -> list[float]:
    """Return the milliseconds of every delivery to paths under `prefix`; each call must have brought `each`."""
    async with aiohttp.ClientSession() as session, session.get(sink.url + "/arrivals") as answer:
        came = await answer.json(content_type=None)
    at = {UUID(path.split("/")[2]).hex: when for path, when in sent.items()}
    took = [(when - at[name.split("_")[1]]) * 1000 for name, path, when in came if path.startswith(prefix)]
    if len(took) != each * len(sent):
        raise RuntimeError(f"{len(sent)} callbacks brought {len(took)} deliveries instead of {each * len(sent)}")
    return took


async def at_rate(ground: Ground, rate: float, seconds: float) -> list[float]:
    """Return the milliseconds that each of `rate` callbacks a second took to reach one subscriber."""
    async with ground.database() as url, program("stand_ins", {"arrivals": True}) as sink, AsyncExitStack() as stack:
        connection = await fixtures.opened(url)
        stack.push_async_callback(connection.close)
        [client] = await fixtures.add_clients(connection, 1)
        await fixtures.subscribe(connection, [fixtures.Wanted(client, f"{sink.url}/ok/one")])
        warm = int(rate)
        paths = fixtures.hooks(await fixtures.add_tasks(connection, [client], warm + int(rate * seconds)))
        service = await stack.enter_async_context(relay(url, "up"))
        took = []
        for part in (paths[:warm], paths[warm:]):  # what comes first warms up, and is not told
            sent = await paced(Calls(url=service.url, paths=part, body=fixtures.CALLBACK), rate=rate)
            await until(url, "SELECT -count(*) FROM outstanding", [], 0, 10)
            took = await arrived(sink, sent, "/ok", 1)
        return took


async def measure(ground: Ground, turns: int, seconds: float) -> list[Figure]:
    """Measure at 200 and at 1,000 callbacks a second."""
    figures = []
    for rate in (200, 1000):
        rounds = [await at_rate(ground, rate, seconds) for _ in range(turns)]
        for share, reach in ((0.5, 10.0), (0.99, 50.0)):
            figures.append(
                Figure(
                    name=f"callback to subscriber at {rate:,}/s, p{share * 100:g}",
                    unit="ms",
                    ours=[percentile(took, share) for took in rounds],
                    reach=reach if rate == 200 else None,
                    at_most=True,
                )
            )
    return figures
