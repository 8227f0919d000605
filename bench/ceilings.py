"""The ceilings: what aiohttp reaches on this machine, at this moment, when nothing is durable.

`python -m bench.ceilings JSON` runs one of three programs: a `server` that answers without doing any work, a `proxy`
that only forwards orders, or a `client` that signs and posts the same bytes as deliveries do: aiohttp's,
or with `own` a bare loop of our own HTTP client.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import aiohttp
import uvloop
from aiohttp import web

from kling_relay.core import signature
from kling_relay.core.event import webhook_id
from kling_relay.outbound.http_client import HTTPClient
from kling_relay.outbound.resolver import LoopResolver

_JSON = {"Content-Type": "application/json"}


async def _serve(app: web.Application) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    await stopping.wait()
    await runner.cleanup()


async def server(options: dict[str, Any]) -> None:
    """Read every body and answer each request with the same bytes."""
    body = options["answer"].encode()

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            await request.read()
        return web.Response(body=body, headers=_JSON)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    await _serve(app)


async def proxy(options: dict[str, Any]) -> None:
    """Forward every order to the provider, and its answer back to the client."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def forward(request: web.Request) -> web.Response:
            body = await request.read()
            async with session.post(options["provider"] + request.path, data=body, headers=_JSON) as answer:
                return web.Response(body=await answer.read(), status=answer.status, headers=_JSON)

        app = web.Application()
        app.router.add_post("/{path:.*}", forward)
        await _serve(app)


Post = Callable[[str, dict[str, str], bytes], Awaitable[int]]
"""POSTs bytes to a URL and returns the status."""


@asynccontextmanager
async def _aiohttp_posts() -> AsyncIterator[Post]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def post(url: str, headers: dict[str, str], body: bytes) -> int:
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                await answer.read()
                return answer.status

        yield post


@asynccontextmanager
async def _own_posts() -> AsyncIterator[Post]:
    http = HTTPClient(allowed=None, resolver=LoopResolver(), timeout=15.0, max_body=16 * 1024)
    http.start()

    async def post(url: str, headers: dict[str, str], body: bytes) -> int:
        return (await http.post(url, headers, body)).status

    yield post
    await http.stop()


async def client(options: dict[str, Any]) -> None:
    """Sign and post `events` deliveries to each of the `urls`, `concurrency` at a time; print how long it took."""
    body = options["body"].encode()
    jobs = ((url, number) for number in range(options["events"]) for url in options["urls"])
    subject = UUID(options["subject"])
    failed = 0
    async with AsyncExitStack() as stack:
        post = await stack.enter_async_context(_own_posts() if options["own"] else _aiohttp_posts())

        async def run() -> None:
            nonlocal failed
            for url, number in jobs:
                now = datetime.now(UTC)
                message_id = webhook_id(subject, number)
                headers = {
                    "Content-Type": "application/json",
                    "webhook-id": message_id,
                    "webhook-timestamp": str(int(now.timestamp())),
                    "webhook-signature": signature.sign((options["secret"],), message_id, now, body),
                }
                failed += await post(url, headers, body) != 200

        print(json.dumps({"ready": True}), flush=True)
        started_at = time.monotonic()
        await asyncio.gather(*(run() for _ in range(options["concurrency"])))
        print(json.dumps({"seconds": time.monotonic() - started_at, "failed": failed}), flush=True)


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run({"server": server, "proxy": proxy, "client": client}[arguments["program"]](arguments))
