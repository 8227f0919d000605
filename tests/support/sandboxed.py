"""A sandbox on a port, a client for it, and a receiver of its callbacks, for one test."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from kling_relay.sandbox import Profile, Sandbox

QUICK = (0.0, 0.0)
"""Seconds of a task that ends in the next turn of the event loop."""


@dataclass(frozen=True, slots=True)
class Request:
    """A callback as its receiver gets it."""

    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> dict[str, Any]:
        reply = orjson.loads(self.raw)
        assert isinstance(reply, dict)
        return reply


@dataclass(slots=True, kw_only=True)
class Scene:
    """The sandbox, its client and its receiver; `answers` are the receiver's next statuses, 200 after the last one."""

    sandbox: Sandbox
    url: str
    hook: str
    client: aiohttp.ClientSession
    calls: list[Request]
    answers: list[int] = field(default_factory=list)

    async def submit(self, prompt: str = "a rabbit", operation: str = "videos/text2video", **members: Any) -> str:
        """Submit like a client of the gateway, and return the task's id."""
        status, reply = await self.post(f"/kling/v1/{operation}", prompt=prompt, **members)
        assert status == 200, reply
        return str(reply["data"]["task_id"])

    async def post(self, path: str, **members: Any) -> tuple[int, dict[str, Any]]:
        async with self.client.post(self.url + path, json={"notify_hook": self.hook, **members}) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        async with self.client.get(self.url + path) as answer:
            return answer.status, await answer.json()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on the sandbox or the receiver, at most ten seconds."""
        async with asyncio.timeout(10):
            await self.sandbox.until(condition)

    async def final(self, key: str) -> None:
        await self.until(lambda: self.sandbox.task(key).is_final)

    async def called(self, times: int) -> list[dict[str, Any]]:
        """Wait until the receiver has answered `times` callbacks, and return their bodies."""
        await self.until(lambda: sum(callback.answer is not None for callback in self.sandbox.callbacks) >= times)
        return [call.json for call in self.calls]


@asynccontextmanager
async def scene(profile: Profile | None = None, now: Callable[[], datetime] | None = None) -> AsyncIterator[Scene]:
    """Start a quick sandbox, or one with `profile`, with its client and receiver; stop them at the end."""
    sandbox = Sandbox(profile or Profile(seconds=QUICK), now=now or (lambda: datetime.now(UTC)), rng=random.Random(1))
    calls: list[Request] = []
    answers: list[int] = []

    async def receive(request: web.Request) -> web.Response:
        calls.append(Request({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return web.Response(status=answers.pop(0) if answers else 200)

    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        url = await sandbox.start()
        async with aiohttp.ClientSession(headers={"Authorization": "Bearer hk-sandbox"}) as client:
            yield Scene(sandbox=sandbox, url=url, hook=hook, client=client, calls=calls, answers=answers)
    finally:
        await sandbox.stop()
        await runner.cleanup()
