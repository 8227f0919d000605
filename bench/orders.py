"""Submitting: an order is on disk before the provider hears of it; against a proxy that only passes orders on."""

import json

from bench import fixtures
from bench.deliveries import told
from bench.environment import KEY, Ground, program, relay
from bench.figures import Figure, Spent, all_turns, by_seconds, spent_notes
from bench.load_generator import Calls, Load, counted, full

CONNECTIONS = 256
PATH = "/kling/v1/videos/text2video"
ORDER = json.dumps({"model_name": "kling-v1", "prompt": "a rabbit eats grass", "mode": "std", "duration": "5"})


def _orders(url: str) -> Calls:
    return Calls(url=url, paths=[PATH], body=ORDER, key=KEY, again=True)


async def beside_bare(ground: Ground, seconds: float, spent: Spent) -> dict[str, list[float]]:
    """Return orders a second, ours and by the proxy, second by second, once each of ours was found everywhere."""
    loads: list[Load] = []
    async with (
        ground.database() as url,
        program("stand_ins", {}) as provider,
        relay(url, "api", provider=provider.url) as api,
        program("stand_ins", {}) as other,
        program("ceilings", {"act": "proxy", "provider": other.url}) as proxy,
    ):

        async def ours(_: int) -> float:
            orders = full(_orders(api.url), connections=CONNECTIONS, seconds=1)
            loads.append(await counted(orders, api, ground, spent))
            return loads[-1].rate

        async def bare(_: int) -> float:
            return (await full(_orders(proxy.url), connections=CONNECTIONS, seconds=1)).rate

        found = await by_seconds(seconds, {"ours": ours, "bare": bare})
        await api.end()
        await check(url, (await told(provider.url))["orders"], loads)
        return found


async def rate(ground: Ground, seconds: float) -> float:
    """Return orders a second, once it is checked that each is there."""
    async with (
        ground.database() as url,
        program("stand_ins", {}) as provider,
        relay(url, "api", provider=provider.url) as api,
    ):
        load = await full(_orders(api.url), connections=CONNECTIONS, seconds=seconds)
        await api.end()
        await check(url, (await told(provider.url))["orders"], [load])
        return load.rate


async def check(url: str, orders: int, loads: list[Load]) -> None:
    """Every good answer is a task with its event, and one order at the provider; what a load cut off may be one."""
    connection = await fixtures.opened(url)
    made = await connection.fetchval("SELECT count(*) FROM tasks WHERE status = 'submitted'", timeout=600)
    told_of = await connection.fetchval("SELECT count(*) FROM events WHERE type = 'task.submitted'", timeout=600)
    await connection.close()
    good, failed = sum(each.requests for each in loads), sum(each.failed for each in loads)
    if failed or not good <= made == told_of == orders <= good + len(loads) * CONNECTIONS:
        raise RuntimeError(f"{good} answers: {made} tasks, {told_of} events, {orders} orders at the provider")


async def measure(ground: Ground, turns: int, seconds: float) -> list[Figure]:
    """Measure orders a second, with a provider that answers at once."""
    spent: Spent = {"service": [], "PostgreSQL": []}

    found = await all_turns(turns, lambda: beside_bare(ground, seconds, spent))
    return [
        Figure(
            name="orders, durable",
            unit="1/s",
            ours=found["ours"],
            against=found["bare"],
            against_what="bare aiohttp proxy to the same provider",
            reach=0.5,
            notes=spent_notes(spent),
        )
    ]
