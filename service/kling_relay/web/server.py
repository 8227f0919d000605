"""The HTTP server around the web, with every limit that aiohttp leaves open set."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Protocol

from aiohttp import web
from typing_extensions import override

from kling_relay.web.http.context import Limits
from kling_relay.web.http.request import Answer

_BACKLOG = 1024
_LINGER = 2.0
"""Seconds in which the rest of a body that nobody wants is read, so that its sender sees the answer."""

_FIRST_WORD = 1.0
"""Seconds that a connection without a request so far has for its first, when the server stops."""
_LOOK_EVERY = 0.005


class Answers(Protocol):
    """What a request is given to."""

    async def answer(self, request: web.BaseRequest, /) -> Answer: ...


class Answering(Protocol):
    """What is served, as `kling_relay.web.application.WebApplication` is it."""

    @property
    def dispatch(self) -> Answers: ...
    def running(self) -> AbstractAsyncContextManager[None]: ...
    def hang_up(self) -> None: ...


class _Runner(web.ServerRunner):
    """A server of one function: aiohttp's applications look for a route and wrap a handler for every request."""

    def __init__(self, answering: Answering, *, shutdown_timeout: float, **options: Any) -> None:
        handler: Any = answering.dispatch.answer  # what it returns need not be one of aiohttp's responses
        super().__init__(web.Server(handler, **options), shutdown_timeout=shutdown_timeout)
        self._answering = answering

    @override
    async def shutdown(self) -> None:
        self._answering.hang_up()


@asynccontextmanager
async def serve(
    answering: Answering,
    host: str,
    port: int,
    limits: Limits,
    *,
    reuse_port: bool = False,
    bound: socket.socket | None = None,
    shutdown_timeout: float = 5.0,
) -> AsyncIterator[int]:
    """Serve the web and give the port (chosen where `port` is 0), on `bound` where a socket is there already.

    At the end nothing more is accepted, who has connected may still ask, streams and waiters end, requests have
    `shutdown_timeout` seconds to be answered. A connection without a whole request head is closed after
    `limits.idle_seconds`.
    """
    runner = _Runner(
        answering,
        shutdown_timeout=shutdown_timeout,
        access_log=None,
        keepalive_timeout=limits.idle_seconds,
        lingering_time=_LINGER,
        max_line_size=limits.header_bytes,
        max_field_size=limits.header_bytes,
    )
    await runner.setup()
    async with answering.running():
        try:
            if bound is not None:
                await web.SockSite(runner, bound, backlog=_BACKLOG).start()
                yield bound.getsockname()[1]
            else:
                site = web.TCPSite(runner, host, port, reuse_port=reuse_port or None, backlog=_BACKLOG)
                await site.start()
                yield site.port
        finally:
            if bound is not None:
                await _last_ones_in(runner, bound)
            await runner.cleanup()


async def _last_ones_in(runner: _Runner, bound: socket.socket) -> None:
    """Stop listening, and hear out whoever has connected: they were not told that we leave.

    Closing a socket that others share the port with resets what it has in its queue. So the queue is emptied first,
    without a turn of the loop between the last look and the close; what arrives in those microseconds only the
    kernel can hand to another process (Linux: `sysctl net.ipv4.tcp_migrate_req=1`).
    """
    queued = []
    with suppress(BlockingIOError):
        while True:
            queued.append(bound.accept()[0])
    for each in runner.sites:
        await each.stop()
    loop = asyncio.get_running_loop()
    assert runner.server is not None
    for connection in queued:
        await loop.connect_accepted_socket(runner.server, connection)
    with suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_WORD):
            while any(_is_silent(each) for each in runner.server.connections):  # noqa: ASYNC110 - aiohttp has no event
                await asyncio.sleep(_LOOK_EVERY)


def _is_silent(connection: object) -> bool:
    """Return whether nothing has been asked on a connection yet (aiohttp counts, but tells nobody)."""
    return getattr(connection, "_request_count", 1) == 0
