"""The provider's door: 200 when what it said is on disk, 404 for a wrong token, 5xx, never 4xx, when we failed.

The token is checked before anything is read, so that a forged call costs neither a body nor the database.
"""

import orjson

from kling_relay.core import callback_token
from kling_relay.core.errors import NotFound
from kling_relay.web.http.request import Request
from kling_relay.web.http.response import Response

_GOOD = orjson.dumps({"code": 0, "message": "ok"})
_JSON = {"Content-Type": "application/json"}


async def callback(call: Request) -> Response:
    """Record what the provider says of the task that its path names; also where it is late, doubled or unreadable."""
    task = call.id("task")
    if not callback_token.verify(call.tools.callback_keys, task, call.params["token"]):
        raise NotFound
    body = await call.read()
    await call.tools.ingest.callback(task, body, call.request.headers, call.now)
    return Response(body=_GOOD, headers=_JSON)
