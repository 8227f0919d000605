"""The ceilings: what aiohttp does on this machine, at this moment, when nothing is durable.

`python -m bench.ceilings JSON`: an aiohttp `server` that answers without work, a `proxy` that only passes orders on, and a
`client` loop that signs and posts the same bytes as deliveries do.
"""

import asyncio
import json
import signal
import sys
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import aiohttp
import uvloop
from aiohttp import web

from kling_relay.core import signature
from kling_relay.core.event import webhook_id

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


async def server(said: dict[str, Any]) -> None:
    """Read every body and answer all with the same bytes."""
    body = said["answer"].encode()

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            await request.read()
        return web.Response(body=body, headers=_JSON)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    await _serve(app)


async def proxy(said: dict[str, Any]) -> None:
    """Pass every order on to the provider and its answer back."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def pass_on(request: web.Request) -> web.Response:
            body = await request.read()
            async with session.post(said["provider"] + request.path, data=body, headers=_JSON) as answer:
                return web.Response(body=await answer.read(), status=answer.status, headers=_JSON)

        app = web.Application()
        app.router.add_post("/{path:.*}", pass_on)
        await _serve(app)


async def client(said: dict[str, Any]) -> None:
    """Sign and post `events` times as many deliveries as there are `urls`, so many at once; say how long it took."""
    body = said["body"].encode()
    jobs = ((url, number) for number in range(said["events"]) for url in said["urls"])
    subject = UUID(said["subject"])
    failed = 0
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def run() -> None:
            nonlocal failed
            for url, number in jobs:
                now = datetime.now(UTC)
                name = webhook_id(subject, number)
                headers = {
                    "Content-Type": "application/json",
                    "webhook-id": name,
                    "webhook-timestamp": str(int(now.timestamp())),
                    "webhook-signature": signature.sign((said["secret"],), name, now, body),
                }
                async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                    await answer.read()
                    failed += answer.status != 200

        print(json.dumps({"ready": True}), flush=True)
        begun = time.monotonic()
        await asyncio.gather(*(run() for _ in range(said["at_once"])))
        print(json.dumps({"seconds": time.monotonic() - begun, "failed": failed}), flush=True)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run({"server": server, "proxy": proxy, "client": client}[given["act"]](given))
