"""Submitting: an order is on disk before the provider hears of it; against a proxy that only passes orders on."""

import json

from bench import rows
from bench.deliveries import told
from bench.figure import Figure, Spent, in_turns, spent_notes
from bench.ground import KEY, Ground, program, relay
from bench.load import Calls, full

CONNECTIONS = 256
PATH = "/kling/v1/videos/text2video"
ORDER = json.dumps({"model_name": "kling-v1", "prompt": "a rabbit eats grass", "mode": "std", "duration": "5"})


def _orders(url: str) -> Calls:
    return Calls(url=url, paths=[PATH], body=ORDER, key=KEY, again=True)


async def measure(ground: Ground, turns: int, seconds: float) -> list[Figure]:
    """Measure orders a second, with a provider that answers at once."""
    spent: Spent = {"service": [], "PostgreSQL": []}

    async def ours() -> float:
        async with (
            ground.database() as url,
            program("sink", {}) as provider,
            relay(url, "api", provider=provider.url) as api,
        ):
            before = api.cpu(), ground.cpu()
            load = await full(_orders(api.url), connections=CONNECTIONS, seconds=seconds)
            spent["service"].append((api.cpu() - before[0]) / load.requests * 1e6)
            spent["PostgreSQL"].append((ground.cpu() - before[1]) / load.requests * 1e6)
            await api.end()
            connection = await rows.opened(url)
            made = await connection.fetchval("SELECT count(*) FROM tasks WHERE status = 'submitted'")
            told_of = await connection.fetchval("SELECT count(*) FROM events")
            await connection.close()
            orders = (await told(provider.url))["orders"]
            if load.failed or not load.requests <= made == told_of == orders <= load.requests + CONNECTIONS:
                raise RuntimeError(f"{load}: {made} tasks, {told_of} events, {orders} orders at the provider")
            return load.rate

    async def bare() -> float:
        async with (
            program("sink", {}) as provider,
            program("bare", {"act": "proxy", "provider": provider.url}) as proxy,
        ):
            return (await full(_orders(proxy.url), connections=CONNECTIONS, seconds=seconds)).rate

    found = await in_turns(turns, {"ours": ours, "bare": bare})
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
