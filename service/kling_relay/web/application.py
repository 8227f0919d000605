"""The web of one process, made of its tools: `make` for what answers, `server.serve` for a server with its limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from kling_relay.flows.follow_log import Tail
from kling_relay.flows.lookup import LookUp
from kling_relay.web.api.routes import ROUTES
from kling_relay.web.dispatch import Dispatch
from kling_relay.web.http.auth import Doorman
from kling_relay.web.http.context import Tools
from kling_relay.web.http.request import Site
from kling_relay.web.http.routing import Table
from kling_relay.web.static import Files


@dataclass(frozen=True, slots=True)
class Web:
    """What answers requests (`dispatch.answer`), and what it has beside its tools."""

    site: Site
    dispatch: Dispatch

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the tail of the log for whoever waits, until the end of the block."""
        following = asyncio.create_task(self.site.tail.run(), name="tail")
        try:
            yield
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following

    def hang_up(self) -> None:
        """End streams and waiters: the server stops."""
        self.site.tail.close()


def make(tools: Tools) -> Web:
    """Return the web; it must be made inside the loop that serves it."""
    limits = tools.limits
    site = Site(
        tools=tools,
        doorman=Doorman(tools.database, tools.sealer, rate=limits.rate, burst=limits.burst),
        tail=Tail(tools.database, tools.bell),
        look_up=LookUp(tools.database),
    )
    return Web(site, Dispatch(site, Table(ROUTES), Files.read()))
