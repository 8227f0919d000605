"""One running service, sandbox and subscriber for each file of client shapes: what is told is the clients' alone."""

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
class Place:
    """Where clients come to; `say` sends exactly the path that is given, as clients write it."""

    relay: Relay
    sandbox: Sandbox
    hook: Subscriber
    session: aiohttp.ClientSession

    async def say(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Return status, JSON and headers (by lower-case names); `headers` replace the usual Authorization."""
        sent = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"} if headers is None else headers
        raw = None if body is None else orjson.dumps(body)
        url = URL(self.relay.url + path, encoded=True)
        async with self.session.request(method, url, data=raw, headers=sent) as answer:
            text = await answer.read()
            got = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status, orjson.loads(text) if text else None, got

    async def polled(self, path: str, headers: dict[str, str] | None = None, within: float = 10.0) -> dict[str, Any]:
        """Ask as polling clients do, until one of the four words says that it is over; every answer must be good."""
        async with asyncio.timeout(within):
            while True:
                status, said, _ = await self.say("GET", path, headers=headers)
                assert (status, said["code"]) == (200, 0), said
                assert said["data"]["task_status"] in {"submitted", "processing", "succeed", "failed"}
                if said["data"]["task_status"] in {"succeed", "failed"}:
                    return dict(said)
                await asyncio.sleep(0.02)  # a polling client is what is tested

    def taken(self, operation: str) -> dict[str, Any]:
        """Return the last order that the provider got at this door."""
        orders = [
            request
            for request in self.sandbox.requests
            if request.method == "POST" and request.path.endswith(operation)
        ]
        return dict(orjson.loads(orders[-1].body))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(postgres: Server) -> AsyncIterator[Place]:
    """A service that gives its provider 4 s, for all tests of one file."""
    async with (
        fresh_database(postgres) as database,
        sandboxed() as (sandbox, provider),
        subscriber() as hook,
        running(database, provider, provider_timeout="4s") as relay,
        aiohttp.ClientSession() as session,
    ):
        yield Place(relay=relay, sandbox=sandbox, hook=hook, session=session)
