"""The web of one process, made of its tools: `make` for what answers, `server.serve` for a server with its limits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from kling_relay.flows.follow_log import LogFollower
from kling_relay.flows.lookup import TaskLookup
from kling_relay.web.api.routes import ROUTES
from kling_relay.web.dispatch import Dispatch
from kling_relay.web.http.auth import Authenticator
from kling_relay.web.http.context import Context
from kling_relay.web.http.request import AppState
from kling_relay.web.http.routing import Router
from kling_relay.web.static import Files


@dataclass(frozen=True, slots=True)
class WebApplication:
    """What answers requests (`dispatch.answer`), and what it has beside its tools."""

    site: AppState
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


def make(tools: Context) -> WebApplication:
    """Return the web; it must be made inside the loop that serves it."""
    limits = tools.limits
    site = AppState(
        tools=tools,
        doorman=Authenticator(tools.database, tools.encryptor, rate=limits.rate, burst=limits.burst),
        tail=LogFollower(tools.database, tools.wakeup),
        lookup=TaskLookup(tools.database),
    )
    return WebApplication(site, Dispatch(site, Router(ROUTES), Files.read()))
