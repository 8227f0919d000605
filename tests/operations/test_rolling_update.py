"""A rolling restart under load: nobody is refused, nothing is lost, every delivery is made."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from kling_relay.app.serving import Role, listening
from kling_relay.sandbox import Profile
from tests.support.processes import Fleet, Running, fleet
from tests.support.service import KEY, SIGNING, Subscriber, sandboxed, subscriber
from tests.support.waiting import eventually

CLIENTS = 4
PAUSE = 0.1
ROLES: tuple[Role, ...] = ("api", "api", "worker", "worker")


@dataclass(slots=True)
class Load:
    """Clients that order and look up, each time on a new connection, and repeat nothing."""

    url: str
    tasks: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, method: str, path: str, **request: Any) -> Any:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, self.url + path, **request) as answer,
        ):
            body = await answer.read()
            self.answers[f"{method} {answer.status}"] += 1
            return orjson.loads(body)

    async def one_client(self) -> None:
        while not self.ended.is_set():
            try:
                said = await self.call("POST", "/kling/v1/videos/text2video", json={"prompt": "a rabbit"})
                self.tasks.append(said["data"]["task_id"])
                await self.call("GET", f"/v1/tasks/{self.tasks[-1]}")
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self.answers[f"{type(error).__name__}: {error}"] += 1
            await asyncio.sleep(PAUSE)

    async def reached(self, count: int) -> None:
        """Wait until more than `count` orders were accepted."""
        await eventually(lambda: len(self.tasks) > count)

    async def events(self) -> set[str]:
        """Return the ids of every event of the log, read to its end."""
        found: set[str] = set()
        after = ""
        while True:
            page = await self.call("GET", "/v1/events?limit=200" + after)
            found |= {event["id"] for event in page["data"]}
            if not page["next_cursor"]:
                return found
            after = f"&after={page['next_cursor']}"


@asynccontextmanager
async def under_load(url: str) -> AsyncIterator[Load]:
    load = Load(url)
    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(load.one_client())
        try:
            yield load
        finally:
            load.ended.set()


async def replace_each(all_of_them: Fleet, running: list[tuple[Role, Running]], load: Load) -> None:
    """Start the next one, wait until it serves, and only then ask the old one to leave."""
    for role, old in running:
        await all_of_them.start(role)
        enough = len(load.tasks) + CLIENTS
        assert await old.leave() == 0, old.lines
        await load.reached(enough)


async def made(load: Load, other: Subscriber) -> bool:
    """Every task is final and everything that was announced has arrived."""
    events = await load.events()
    ended = sum(1 for heard in other.heard if heard.json["type"] == "task.succeed")
    return len(events) > 0 and other.ids() == events and ended >= len(load.tasks)


async def test_a_rolling_restart_under_load_refuses_nobody_and_loses_nothing(database: str) -> None:
    with listening("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        profile = Profile(seconds=(0.2, 1.0))
        async with sandboxed(profile) as (sandbox, provider), subscriber() as other:
            settings = {
                "RELAY_PORT": str(port),
                "RELAY_METRICS_PORT": "0",
                "RELAY_DATABASE_URL": database,
                "RELAY_PROVIDER_URL": provider,
                "RELAY_PROVIDER_KEY": "hk-sandbox",
                "RELAY_SIGNING_KEYS": SIGNING,
                "RELAY_BOOTSTRAP_KEY": KEY,
                "RELAY_ALLOWED_NETWORKS": "127.0.0.0/8",
                "RELAY_SHUTDOWN_DELAY": "0.2s",
            }
            async with fleet(settings) as all_of_them:
                running = await asyncio.gather(*(all_of_them.start(role) for role in ROLES))
                url = f"http://127.0.0.1:{port}"
                await Load(url).call("POST", "/v1/subscriptions", json={"url": other.url, "events": ["task.*"]})
                async with under_load(url) as load:
                    await replace_each(all_of_them, list(zip(ROLES, running, strict=True)), load)
                assert set(load.answers) == {"POST 200", "GET 200"}, load.answers
                await eventually(lambda: made(load, other), 60)
                assert len(load.tasks) > 50
                assert len(sandbox.tasks) == len(load.tasks)
                callbacks = Counter(callback.error or callback.answer for callback in sandbox.callbacks)
                assert set(callbacks) == {200}, callbacks
                assert len(other.heard) == len(other.ids())
