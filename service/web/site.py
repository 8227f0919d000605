"""The web of one process, made of its tools: `make` for the application, `serve` for a server with every limit set."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from service.web import static
from service.web.auth import Doorman
from service.web.call import SITE, Site
from service.web.dispatch import Dispatch
from service.web.routes import ROUTES
from service.web.table import Table
from service.web.tail import Tail
from service.web.tools import Tools


def make(tools: Tools) -> web.Application:
    """Return the application; it must be made inside the loop that serves it."""
    limits = tools.limits
    app = web.Application()
    site = Site(
        tools=tools,
        doorman=Doorman(tools.database, tools.sealer, rate=limits.rate, burst=limits.burst),
        tail=Tail(tools.database, tools.bell),
    )
    app[SITE] = site

    async def follow(_: web.Application) -> AsyncIterator[None]:
        following = asyncio.create_task(site.tail.run(), name="tail")
        yield
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following

    async def hang_up(_: web.Application) -> None:
        site.tail.close()

    app.cleanup_ctx.append(follow)
    app.on_shutdown.append(hang_up)
    static.add(app)  # before the way of all the rest, which would take every path
    # whatever the path holds, line breaks too, so that no refusal is the server's own
    app.router.add_route("*", r"/{path:[\s\S]*}", Dispatch(Table(ROUTES)).answer)
    return app
