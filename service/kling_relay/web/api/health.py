"""Liveness and readiness."""

from kling_relay.store.schema.readiness import reason_not_ready
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response, json_response
from kling_relay.web.http.routing import Route
from kling_relay.web.models.health import HealthResponse

DEPLOYMENT_HEADER = "X-Relay-Deployment"
"""Says which database a process uses, without revealing it: processes with the same one may share a port."""


async def live(request: Request) -> Response:
    """Return 200 as long as the event loop runs."""
    return json_response({"status": "alive"}, headers={DEPLOYMENT_HEADER: request.context.deployment})


async def ready(request: Request) -> Response:
    """Return 200 if orders and callbacks can be written, else 503 with the reason."""
    reason = await _reason_not_ready(request)
    if reason is None:
        return json_response({"status": "ready"})
    return json_response({"status": reason}, status=503, headers={"Retry-After": "1"})


async def _reason_not_ready(request: Request) -> str | None:
    context = request.context
    if context.is_draining():
        return "shutting down"
    return await reason_not_ready(context.database, context.now())


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
