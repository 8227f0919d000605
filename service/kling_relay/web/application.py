"""The web of one process, made of its tools: `make` for what answers, `server.serve` for a server with its limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from service.flows.look_up import LookUp
from service.web.auth import Doorman
from service.web.call import Site
from service.web.dispatch import Dispatch
from service.web.routes import ROUTES
from service.web.static import Files
from service.web.table import Table
from service.web.tail import Tail
from service.web.tools import Tools


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
