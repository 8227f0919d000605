"""The web application of one process: `build` makes it, `server.serve` runs it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from kling_relay.flows.log_follower import LogFollower
from kling_relay.flows.lookup import TaskLookup
from kling_relay.web.dispatch import Dispatcher
from kling_relay.web.http.auth import Authenticator
from kling_relay.web.http.context import Context, RequestLimits
from kling_relay.web.http.event_stream import EventStreams
from kling_relay.web.http.rate_limit import RateLimit, RateLimits
from kling_relay.web.http.reports import ReportTurns
from kling_relay.web.http.request import AppState
from kling_relay.web.http.response import Response
from kling_relay.web.http.routing import AnyResponse, Router
from kling_relay.web.routes import routes
from kling_relay.web.static import StaticFiles


@dataclass(frozen=True, slots=True)
class WebApplication:
    """The dispatcher that answers requests, and the state that they share."""

    state: AppState
    dispatcher: Dispatcher

    @property
    def answer(self) -> Callable[[web.BaseRequest], Awaitable[AnyResponse]]:
        """The function that answers a request."""
        return self.dispatcher.answer

    def refuse(self, error: BaseException) -> Response:
        """Return the response to bytes that are not HTTP, or to a bug."""
        return self.dispatcher.refuse(error)

    def connections_cut(self, count: int) -> None:
        """Report that connections were cut because their clients did not read."""
        self.state.context.observer.connections_cut(count)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the event log for streams and waiters, and look after streams, until the end of the block."""
        tasks = [
            asyncio.create_task(self.state.log_follower.run(), name="log follower"),
            asyncio.create_task(self.state.streams.run(), name="event streams"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def close_streams(self) -> None:
        """End all streams and waiters, because the server stops."""
        self.state.log_follower.close()


def build(context: Context) -> WebApplication:
    """Return the application; call it inside the event loop that serves it."""
    limits = context.limits
    authenticator = Authenticator(context.database, context.encryptor)
    follower = LogFollower(context.database, context.web_wakeup)
    state = AppState(
        context=context,
        authenticator=authenticator,
        rates=_rates(limits),
        turns=ReportTurns(context.database.reports.get_max_size(), limits.report_seconds),
        log_follower=follower,
        streams=EventStreams(follower, authenticator, now=context.now, limits=limits, observer=context.observer),
        lookup=TaskLookup(context.database),
    )
    return WebApplication(
        state, Dispatcher(state, Router(routes(context.rulebook)), StaticFiles.load(context.rulebook))
    )


def _rates(limits: RequestLimits) -> RateLimits:
    clock = asyncio.get_running_loop().time
    return RateLimits(
        None if limits.rate is None else RateLimit("key", limits.rate, limits.burst, clock),
        None if limits.report_rate is None else RateLimit("reports", limits.report_rate, limits.report_burst, clock),
    )
