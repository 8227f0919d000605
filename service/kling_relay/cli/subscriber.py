"""The demo's subscriber, as a user would write one: it verifies each delivery and answers at once."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from kling_relay.client import Event, ForgedError, verify


@dataclass(slots=True)
class DemoSubscriber:
    """A subscriber on this machine. `secret` is set once it has subscribed; until then it answers 503."""

    on_event: Callable[[Event], None]
    secret: str = ""
    url: str = field(default="", init=False)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer 204 to a delivery with a valid signature, otherwise 401."""
        if not self.secret:
            return web.Response(status=503)
        try:
            event = verify(self.secret, request.headers, await request.read())
        except (ForgedError, ValueError):
            return web.Response(status=401)
        self.on_event(event)
        return web.Response(status=204)


@asynccontextmanager
async def listening(subscriber: DemoSubscriber, port: int) -> AsyncIterator[None]:
    """Listen on a port of 127.0.0.1, or on a free one if that is in use, until the end of the block."""
    app = web.Application()
    app.router.add_post("/hook", subscriber.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        except OSError:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        subscriber.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield
    finally:
        await runner.cleanup()
