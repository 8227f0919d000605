"""The provider's callbacks: 200 once one is on disk, 404 for a wrong token, and 5xx, never 4xx, if we fail.

The token is checked before the body is read, so a forged callback costs neither a body nor a database query.
"""

import orjson

from kling_relay.core import callback_token
from kling_relay.core.errors import NotFound, UndecodableBody
from kling_relay.web.http.body import BodyLimit
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response
from kling_relay.web.http.routing import Route
from kling_relay.web.models.kling import CallbackAcceptedResponse

_BODY = orjson.dumps({"code": 0, "message": "ok"})
_JSON = {"Content-Type": "application/json"}


async def receive_callback(request: Request) -> Response:
    """Record a callback for the task in its path, even if it is late, repeated or unreadable."""
    task = request.id("task")
    context = request.context
    if not callback_token.verify(context.callback_keys, task, request.params["token"]):
        raise NotFound
    try:
        body, is_decoded = bytes(await request.read()), True
    except UndecodableBody as undecodable:
        body, is_decoded = undecodable.body, False
    await context.ingest.callback(task, body, request.http.headers, request.now, is_decoded=is_decoded)
    return Response(body=_BODY, headers=_JSON)


ROUTES = (
    Route(
        name="callback",
        method="POST",
        path="/callbacks/{task}/{token}",
        handler=receive_callback,
        summary="Receive a callback from the provider",
        scope=None,
        response=CallbackAcceptedResponse,
        body_limit=BodyLimit.CALLBACK,
        errors=(1203, 1205, 5001),
    ),
)
