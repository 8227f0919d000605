"""Whether the process lives, and whether it should be sent requests."""

import asyncio

from kling_relay.store.events.log import head
from kling_relay.store.postgres.statement import StoreUnavailableError
from kling_relay.web.http.answers import plain
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response

_PATIENCE = 2.0


async def live(_: Request) -> Response:
    """Answer 200 for as long as the loop turns."""
    return plain({"status": "alive"})


async def ready(call: Request) -> Response:
    """Answer 200 when requests can be served: not shutting down, the database there; else 503 with the reason."""
    reason = await _unready(call)
    if reason is None:
        return plain({"status": "ready"})
    return plain({"status": reason}, status=503, headers={"Retry-After": "1"})


async def _unready(call: Request) -> str | None:
    tools = call.tools
    if tools.is_draining():
        return "shutting down"
    try:
        async with asyncio.timeout(_PATIENCE):
            await head(tools.database)
            return await tools.ready() if tools.ready is not None else None
    except (StoreUnavailableError, TimeoutError):
        return "the database is away"
