"""One service, sandbox and subscriber for each file, so that all data belongs to the clients under test."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import pytest_asyncio
from yarl import URL

from kling_relay.core.key import key_id
from kling_relay.sandbox import Sandbox
from kling_relay.store.embedded.server import Server
from tests.support.postgres import fresh_database
from tests.support.service import KEY, Relay, Subscriber, running, sandboxed, subscriber

ACCESS_KEY = str(key_id(KEY))
"""What a client that knows AK and SK is given: the key's id, and the key itself as secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A running service; `send` keeps the path exactly as it is given, as clients write it."""

    relay: Relay
    sandbox: Sandbox
    hook: Subscriber
    session: aiohttp.ClientSession

    async def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Return the status, JSON and headers (in lower case); `headers` replace the default Authorization."""
        sent = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"} if headers is None else headers
        raw = None if body is None else orjson.dumps(body)
        url = URL(self.relay.url + path, encoded=True)
        async with self.session.request(method, url, data=raw, headers=sent) as response:
            text = await response.read()
            lowered = {name.lower(): value for name, value in response.headers.items()}
            return response.status, orjson.loads(text) if text else None, lowered

    async def poll_until_final(
        self, path: str, headers: dict[str, str] | None = None, within: float = 10.0
    ) -> dict[str, Any]:
        """Poll as clients do until the task is final; every response must be successful."""
        async with asyncio.timeout(within):
            while True:
                status, body, _ = await self.send("GET", path, headers=headers)
                assert (status, body["code"]) == (200, 0), body
                assert body["data"]["task_status"] in {"submitted", "processing", "succeed", "failed"}
                if body["data"]["task_status"] in {"succeed", "failed"}:
                    return dict(body)
                await asyncio.sleep(0.02)  # a polling client is what is tested

    def last_order(self, operation: str) -> dict[str, Any]:
        """Return the last order for an operation that the provider received."""
        orders = [
            request
            for request in self.sandbox.requests
            if request.method == "POST" and request.path.endswith(operation)
        ]
        return dict(orjson.loads(orders[-1].body))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(postgres: Server) -> AsyncIterator[Service]:
    """A service that gives its provider 4 s, for all tests of one file."""
    async with (
        fresh_database(postgres) as database,
        sandboxed() as (sandbox, provider),
        subscriber() as hook,
        running(database, provider, provider_timeout="4s") as relay,
        aiohttp.ClientSession() as session,
    ):
        yield Service(relay=relay, sandbox=sandbox, hook=hook, session=session)
