"""The HTTP server around the application, with every limit that aiohttp leaves open set."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from service.web.tools import Limits

MOST_LINE = 16 * 1024
MOST_HEADER = 16 * 1024
_BACKLOG = 1024
_LINGER = 2.0
"""Seconds in which the rest of a body that nobody wants is read, so that its sender sees the answer."""


@asynccontextmanager
async def serve(
    app: web.Application,
    host: str,
    port: int,
    limits: Limits,
    *,
    reuse_port: bool = False,
    bound: socket.socket | None = None,
    shutdown_timeout: float = 5.0,
) -> AsyncIterator[int]:
    """Serve `app` and give the port (chosen where `port` is 0), on `bound` where a socket is there already.

    At the end nothing more is accepted, streams and waiters end, requests have `shutdown_timeout` seconds to be
    answered. A connection without a whole request head is closed after `limits.idle_seconds`.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=shutdown_timeout,
        keepalive_timeout=limits.idle_seconds,
        lingering_time=_LINGER,
        max_line_size=MOST_LINE,
        max_field_size=MOST_HEADER,
    )
    await runner.setup()
    try:
        if bound is not None:
            await web.SockSite(runner, bound, backlog=_BACKLOG).start()
            yield bound.getsockname()[1]
        else:
            site = web.TCPSite(runner, host, port, reuse_port=reuse_port or None, backlog=_BACKLOG)
            await site.start()
            yield site.port
    finally:
        await runner.cleanup()
