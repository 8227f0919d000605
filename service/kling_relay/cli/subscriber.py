"""A subscriber as anybody would write one: it verifies each delivery, answers at once, and says what it got."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from kling_relay.client import Event, ForgedError, verify


@dataclass(slots=True)
class Subscriber:
    """Listens on this machine; `secret` is known only once it has subscribed."""

    got: Callable[[Event], None]
    secret: str = ""
    url: str = field(default="", init=False)
    refused: int = field(default=0, init=False)
    """Calls whose signature did not verify."""

    async def answer(self, request: web.Request) -> web.Response:
        """Answer 204 to what verifies, 401 to what does not."""
        if not self.secret:
            return web.Response(status=503)
        try:
            event = verify(self.secret, request.headers, await request.read())
        except (ForgedError, ValueError):
            self.refused += 1
            return web.Response(status=401)
        self.got(event)
        return web.Response(status=204)


@asynccontextmanager
async def listening(subscriber: Subscriber, port: int) -> AsyncIterator[None]:
    """Listen on a port of 127.0.0.1, a free one where that is taken, until the end of the block."""
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
