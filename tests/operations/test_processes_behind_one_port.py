"""Several processes behind one address behave as one: whoever answers, nothing is missed and nothing comes twice."""

import asyncio
from typing import Any

import aiohttp

from kling_relay.client import Relay
from tests.faults.process import reserved_port
from tests.support.processes import fleet
from tests.support.service import KEY, SIGNING, sandboxed, subscriber
from tests.support.waiting import eventually

TASKS = 12
STEPS = 3


async def followed(url: str, patience: int) -> list[tuple[str, int]]:
    """Follow the stream from its beginning, with a new connection after every `patience` events."""
    heard: list[tuple[str, int]] = []
    last: str = "0"
    while len(heard) < TASKS * STEPS:
        async with Relay(url, KEY) as reader:
            left = patience
            async for event in reader.stream(after=last):
                heard.append((event.data["task_id"], event.data["sequence"]))
                last = event.cursor or last
                left -= 1
                if left == 0 or len(heard) == TASKS * STEPS:
                    break
    return heard


async def ordered(url: str, number: int) -> dict[str, Any]:
    """Order by one connection and wait for the end by another: as a rule another process answers."""
    headers = {"Authorization": f"Bearer {KEY}", "Connection": "close"}
    body = {"prompt": f"number {number} [takes:0.2s]", "external_task_id": f"mine-{number}"}
    async with (
        aiohttp.ClientSession(headers=headers) as one,
        one.post(f"{url}/v1/videos/text2video", json=body) as made,
    ):
        task = (await made.json())["data"]["task_id"]
    async with aiohttp.ClientSession(headers=headers) as one, one.get(f"{url}/v1/tasks/{task}?wait=20") as ended:
        said: dict[str, Any] = await ended.json()
        return said


async def test_streams_waits_and_deliveries_of_three_processes_are_as_of_one(database: str) -> None:
    with reserved_port() as held:
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        async with sandboxed() as (_, provider), subscriber() as hearer:
            settings = {
                "RELAY_PORT": str(held.getsockname()[1]),
                "RELAY_METRICS_PORT": "0",
                "RELAY_PROCESSES": "3",
                "RELAY_DATABASE_URL": database,
                "RELAY_PROVIDER_URL": provider,
                "RELAY_PROVIDER_KEY": "hk-sandbox",
                "RELAY_SIGNING_KEYS": SIGNING,
                "RELAY_BOOTSTRAP_KEY": KEY,
                "RELAY_ALLOWED_NETWORKS": "127.0.0.0/8",
            }
            async with fleet(settings) as service:
                await service.start("up")
                async with Relay(url, KEY) as relay:
                    await relay.subscribe(hearer.url)
                async with asyncio.timeout(60):
                    reading = [asyncio.ensure_future(followed(url, patience)) for patience in (2, 7, 1000)]
                    ends = await asyncio.gather(*(ordered(url, number) for number in range(TASKS)))
                    heard = await asyncio.gather(*reading)
                assert [end["task_status"] for end in ends] == ["succeed"] * TASKS
                assert heard[0] == heard[1] == heard[2]
                assert len(set(heard[0])) == TASKS * STEPS
                await eventually(lambda: len(hearer.ids()) == TASKS * STEPS)
                assert len(hearer.heard) == TASKS * STEPS
