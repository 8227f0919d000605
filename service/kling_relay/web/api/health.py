"""Liveness and readiness."""

import asyncio

from kling_relay.store.events.log import head
from kling_relay.store.postgres.statement import StoreUnavailableError
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response, json_response
from kling_relay.web.http.routing import Route
from kling_relay.web.models.health import HealthResponse

_DATABASE_WITHIN = 2.0


async def live(_: Request) -> Response:
    """Return 200 as long as the event loop runs."""
    return json_response({"status": "alive"})


async def ready(request: Request) -> Response:
    """Return 200 if the process should get requests, else 503 with the reason."""
    reason = await _reason_not_ready(request)
    if reason is None:
        return json_response({"status": "ready"})
    return json_response({"status": reason}, status=503, headers={"Retry-After": "1"})


async def _reason_not_ready(request: Request) -> str | None:
    context = request.context
    if context.is_draining():
        return "shutting down"
    try:
        async with asyncio.timeout(_DATABASE_WITHIN):
            await head(context.database)
    except (StoreUnavailableError, TimeoutError):
        return "the database is unavailable"
    return None


ROUTES = (
    Route(
        name="livez",
        method="GET",
        path="/livez",
        handler=live,
        summary="Whether the process is alive",
        scope=None,
        response=HealthResponse,
    ),
    Route(
        name="readyz",
        method="GET",
        path="/readyz",
        handler=ready,
        summary="Whether the process should get requests",
        scope=None,
        response=HealthResponse,
        errors=(5001,),
    ),
)
