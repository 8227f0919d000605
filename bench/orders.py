"""Orders: each is on disk before it is sent to the provider; against a proxy that only forwards orders."""

import json

from bench import fixtures
from bench.deliveries import counts_of
from bench.environment import Environment
from bench.figures import CpuTimes, Figure, Samples, all_turns, by_seconds, cpu_notes
from bench.load_generator import Load, Requests, full_load, with_cpu
from bench.programs import KEY, program, service

CONNECTIONS = 256
PATH = "/kling/v1/videos/text2video"
ORDER = json.dumps({"model_name": "kling-v1", "prompt": "a rabbit eats grass", "mode": "std", "duration": "5"})


def _requests(url: str) -> Requests:
    return Requests(url=url, paths=[PATH], body=ORDER, key=KEY, repeat=True)


async def beside_ceiling(environment: Environment, seconds: float, cpu_times: CpuTimes) -> Samples:
    """Return orders a second, ours and the proxy's, second by second, after checking that ours did their work."""
    loads: list[Load] = []
    async with (
        environment.database() as url,
        program("stand_ins", {}) as provider,
        service(url, "api", provider=provider.url) as api,
        program("stand_ins", {}) as proxied,
        program("ceilings", {"program": "proxy", "provider": proxied.url}) as proxy,
    ):

        async def ours(_: int) -> float:
            load = full_load(_requests(api.url), connections=CONNECTIONS, seconds=1)
            loads.append(await with_cpu(load, api, environment, cpu_times))
            return loads[-1].rate

        async def bare(_: int) -> float:
            return (await full_load(_requests(proxy.url), connections=CONNECTIONS, seconds=1)).rate

        samples = await by_seconds(seconds, {"ours": ours, "bare": bare})
        await api.stop()
        await check(url, (await counts_of(provider.url))["orders"], loads)
        return samples


async def rate(environment: Environment, seconds: float) -> float:
    """Return orders a second, after checking that each did its work."""
    async with (
        environment.database() as url,
        program("stand_ins", {}) as provider,
        service(url, "api", provider=provider.url) as api,
    ):
        load = await full_load(_requests(api.url), connections=CONNECTIONS, seconds=seconds)
        await api.stop()
        await check(url, (await counts_of(provider.url))["orders"], [load])
        return load.rate


async def check(url: str, orders: int, loads: list[Load]) -> None:
    """Check that every 2xx answer is a task with its event and one order at the provider.

    A request that was cut off at the end of a load may be one too.
    """
    connection = await fixtures.connect(url)
    tasks = await connection.fetchval("SELECT count(*) FROM tasks WHERE status = 'submitted'", timeout=600)
    events = await connection.fetchval("SELECT count(*) FROM events WHERE type = 'task.submitted'", timeout=600)
    await connection.close()
    good, failed = sum(load.requests for load in loads), sum(load.failed for load in loads)
    if failed or not good <= tasks == events == orders <= good + len(loads) * CONNECTIONS:
        raise RuntimeError(f"{good} answers: {tasks} tasks, {events} events, {orders} orders at the provider")


async def measure(environment: Environment, turns: int, seconds: float) -> list[Figure]:
    """Measure orders a second, with a provider that answers at once."""
    cpu_times: CpuTimes = {"service": [], "PostgreSQL": []}
    samples = await all_turns(turns, lambda: beside_ceiling(environment, seconds, cpu_times))
    return [
        Figure(
            name="orders, durable",
            unit="1/s",
            ours=samples["ours"],
            against=samples["bare"],
            against_what="bare aiohttp proxy to the same provider",
            reach=0.7,
            notes=cpu_notes(cpu_times),
        )
    ]
