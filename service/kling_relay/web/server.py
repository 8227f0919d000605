"""The HTTP server around the application, with a limit for everything that aiohttp leaves unlimited."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Protocol

from aiohttp import web
from typing_extensions import override

from kling_relay.web.http.aiohttp_internals import Response, is_unused, make_server, open_connections
from kling_relay.web.http.context import RequestLimits
from kling_relay.web.http.routing import AnyResponse
from kling_relay.web.http.unread import UnreadConnections

_BACKLOG = 1024
_LINGER = 2.0
"""Seconds for which the rest of a refused body is read, so that its sender sees the response."""

_FIRST_REQUEST_WITHIN = 1.0
"""Seconds that an unused connection has for its first request when the server stops."""
_CHECK_EVERY = 0.005


class Service(Protocol):
    """What the server runs; `kling_relay.web.application.WebApplication` is one."""

    @property
    def answer(self) -> Callable[[web.BaseRequest], Awaitable[AnyResponse]]: ...
    def refuse(self, error: BaseException) -> Response: ...
    def connections_cut(self, count: int) -> None: ...
    def running(self) -> AbstractAsyncContextManager[None]: ...
    def close_streams(self) -> None: ...


class _Runner(web.ServerRunner):
    """Runs one handler: aiohttp's applications look for a route and wrap a handler for every request."""

    def __init__(self, service: Service, *, shutdown_timeout: float, **options: Any) -> None:
        super().__init__(make_server(service.answer, service.refuse, **options), shutdown_timeout=shutdown_timeout)
        self._service = service

    @override
    async def shutdown(self) -> None:
        self._service.close_streams()


@asynccontextmanager
async def serve(
    service: Service,
    host: str,
    port: int,
    limits: RequestLimits,
    *,
    reuse_port: bool = False,
    bound: socket.socket | None = None,
    shutdown_timeout: float = 5.0,
) -> AsyncIterator[int]:
    """Serve until the end of the block, and yield the port: `port`, a free one if that is 0, or that of `bound`.

    At the end no connection is accepted any more, clients that have connected may still send a request, streams and
    waiters end, and requests have `shutdown_timeout` seconds to finish. A connection without a whole request head is
    closed after `limits.idle_seconds`, and one whose client does not read is cut after `limits.unread_seconds`.
    """
    runner = _Runner(
        service,
        shutdown_timeout=shutdown_timeout,
        access_log=None,
        keepalive_timeout=limits.idle_seconds,
        lingering_time=_LINGER,
        max_line_size=limits.header_bytes,
        max_field_size=limits.header_bytes,
    )
    await runner.setup()
    async with service.running(), _cutting_unread(service, runner, limits.unread_seconds):
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
                await _accept_remaining(runner, bound)
            await runner.cleanup()


@asynccontextmanager
async def _cutting_unread(service: Service, runner: _Runner, seconds: float) -> AsyncIterator[None]:
    """Cut connections whose clients do not read, until the end of the block."""
    server, unread, clock = runner.server, UnreadConnections(seconds), asyncio.get_running_loop().time
    assert server is not None

    async def cut() -> None:
        while True:
            await asyncio.sleep(unread.check_every)
            if count := unread.check(open_connections(server), clock()):
                service.connections_cut(count)

    cutting = asyncio.create_task(cut(), name="unread connections")
    try:
        yield
    finally:
        cutting.cancel()
        await asyncio.wait({cutting})


async def _accept_remaining(runner: _Runner, bound: socket.socket) -> None:
    """Stop listening, but serve the clients that have connected.

    Closing a socket that shares its port with others resets the connections in its queue. So the queue is emptied
    first, and nothing else runs between the last accept and the close. Connections that arrive in those microseconds
    can only be moved to another process by the kernel (Linux: `sysctl net.ipv4.tcp_migrate_req=1`).
    """
    connections = []
    with suppress(BlockingIOError):
        while True:
            connections.append(bound.accept()[0])
    for site in runner.sites:
        await site.stop()
    loop = asyncio.get_running_loop()
    server = runner.server
    assert server is not None
    for connection in connections:
        await loop.connect_accepted_socket(server, connection)
    with suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_REQUEST_WITHIN):
            while any(map(is_unused, server.connections)):  # noqa: ASYNC110 - aiohttp has no event for it
                await asyncio.sleep(_CHECK_EVERY)
