"""The whole service in the test's event loop, with sandbox and subscribers, real sockets and a real database."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from standardwebhooks import Webhook

from kling_relay.app.serving import Role, serve
from kling_relay.app.wiring import Parts, Tunables
from kling_relay.sandbox import Profile, Sandbox
from kling_relay.settings import Settings
from tests.support.waiting import eventually

KEY = "test-key-with-every-scope-0123456789abcdef"
SIGNING = "test-signing-key-0123456789abcdef0123456789abcdef"
QUICK = (0.0, 0.01)
"""Seconds that a task of the quick sandbox takes."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A delivery as a subscriber received it."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        said = orjson.loads(self.raw)
        assert isinstance(said, dict)
        return said

    def verified(self, secret: str) -> Any:
        """Verify the signature with the `standardwebhooks` package, and return the body that it reads."""
        return Webhook(secret).verify(self.raw.decode(), self.headers)


@dataclass(slots=True)
class Subscriber:
    """A subscriber. `answers` are its next statuses, then 200; `retry_after` is sent with failures."""

    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    retry_after: str | None = None

    async def answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.heard.append(Heard(request.path, headers, await request.read()))
        status = self.answers.pop(0) if self.answers else 200
        return web.Response(status=status, headers={"Retry-After": self.retry_after} if self.retry_after else {})

    def ids(self) -> set[str]:
        return {heard.id for heard in self.heard}


@asynccontextmanager
async def subscriber(answers: Sequence[int] = ()) -> AsyncIterator[Subscriber]:
    """Run a subscriber on a free port; it answers every path."""
    one = Subscriber(answers=list(answers))
    app = web.Application()
    app.router.add_post("/{path:.*}", one.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield one
    finally:
        await runner.cleanup()


@dataclass(slots=True, kw_only=True)
class Relay:
    """A running service, and a client with its bootstrap key."""

    url: str
    settings: Settings
    parts: Parts
    client: aiohttp.ClientSession
    stop: Callable[[], None]

    async def call(self, method: str, path: str, **request: Any) -> tuple[int, Any]:
        """Call the API; return the status and the parsed body, None if it is empty."""
        async with self.client.request(method, self.url + path, **request) as answer:
            body = await answer.read()
            return answer.status, orjson.loads(body) if body else None

    async def submit(self, prompt: str = "a rabbit", operation: str = "videos/text2video", **members: Any) -> str:
        """Submit an order and return the task's id."""
        status, said = await self.call("POST", f"/kling/v1/{operation}", json={"prompt": prompt, **members})
        assert status == 200, said
        return str(said["data"]["task_id"])

    async def subscribe(self, url: str, **members: Any) -> dict[str, Any]:
        """Subscribe to all events; return the subscription with its secret."""
        status, said = await self.call("POST", "/v1/subscriptions", json={"url": url, "events": ["*"], **members})
        assert status == 201, said
        return dict(said)

    async def task(self, task: str) -> dict[str, Any]:
        status, said = await self.call("GET", f"/v1/tasks/{task}")
        assert status == 200, said
        return dict(said)

    async def final(self, task: str, within: float = 20.0) -> dict[str, Any]:
        """Wait until the task is final and return it."""
        found: list[dict[str, Any]] = []

        async def fact() -> bool:
            found[:] = [await self.task(task)]
            return found[0]["task_status"] in {"succeed", "failed"}

        await eventually(fact, within)
        return found[0]

    async def events(self, task: str) -> list[dict[str, Any]]:
        status, said = await self.call("GET", f"/v1/tasks/{task}/events")
        assert status == 200, said
        return list(said["data"])


@asynccontextmanager
async def sandboxed(profile: Profile | None = None, seed: int = 1) -> AsyncIterator[tuple[Sandbox, str]]:
    """Start a quick sandbox, or one with `profile`; give it and its address."""
    sandbox = Sandbox(profile or Profile(seconds=QUICK), now=lambda: datetime.now(UTC), rng=random.Random(seed))
    url = await sandbox.start()
    try:
        yield sandbox, url
    finally:
        await sandbox.stop()


def settings_for(database: str, provider_url: str, **given: Any) -> Settings:
    """Return the settings of a service under test; `given` are texts as in the environment, without RELAY_."""
    return Settings(
        **{
            "port": "0",
            "metrics_port": "0",
            "database_url": database,
            "provider_url": provider_url,
            "provider_key": "hk-sandbox",
            "signing_keys": SIGNING,
            "bootstrap_key": KEY,
            "allowed_networks": "127.0.0.0/8",
            "retry_schedule": "0.05s,0.05s,0.1s,0.1s,0.2s",
            **given,
        }
    )


@asynccontextmanager
async def running(
    database: str, provider_url: str, role: Role = "up", *, tunables: Tunables = Tunables(), **given: Any
) -> AsyncIterator[Relay]:
    """Run the service until the end of the block, then stop it cleanly."""
    stopping = asyncio.Event()
    started: asyncio.Future[tuple[Parts, Settings]] = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(
        serve(
            settings_for(database, provider_url, **given),
            role,
            stopping=stopping,
            started=lambda parts, settings: started.set_result((parts, settings)),
            tunables=tunables,
        )
    )
    waited: list[asyncio.Future[Any]] = [serving, started]
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
    parts, settings = started.result()
    url = f"http://127.0.0.1:{settings.port}"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as client:
        try:
            yield Relay(url=url, settings=settings, parts=parts, client=client, stop=stopping.set)
        finally:
            stopping.set()
            await serving
