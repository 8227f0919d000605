"""Every request takes this way: found in the table, its key and rate judged, its query and body checked, answered;
and whatever is raised on it becomes a refusal in the manner of its path.

Paths are taken as clients write them: with a doubled or trailing slash, and on Kling's paths with any odd query.
"""

import asyncio
import logging
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from aiohttp.web import RequestPayloadError
from pydantic import ValidationError

from kling_relay.core.errors import Fault, Forbidden, InvalidRequest, MethodNotAllowed, NotFound, Refusal, Unavailable
from kling_relay.core.json_limits import printable
from kling_relay.core.key import Caller
from kling_relay.flows import log_context
from kling_relay.flows.coalesce import OverloadedError
from kling_relay.store.postgres.statement import BadRowError, CollisionError, StoreUnavailableError
from kling_relay.web.http import body
from kling_relay.web.http.answers import refused
from kling_relay.web.http.context import Seen
from kling_relay.web.http.cors import preflight, shared
from kling_relay.web.http.request import NOBODY, Answer, AppState, Model, Request, Route
from kling_relay.web.http.response import Common, Response
from kling_relay.web.http.routing import Found, Router
from kling_relay.web.static import Files

_SERVER = {"Server": "kling-relay"}
_ALWAYS = _SERVER | {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_READ_AS = {"HEAD": "GET"}
_NO_ROUTE = "none"
_log = logging.getLogger(__name__)


class Dispatch:
    """The one function behind the server, for one table of routes and the files for browsers."""

    def __init__(self, site: AppState, table: Router, files: Files) -> None:
        self._site = site
        self._table = table
        self._files = files
        self._clock = asyncio.get_running_loop().time
        self._of_files = Common(_SERVER)
        self._of_shared = Common(_ALWAYS | shared())
        self._of_others = Common(_ALWAYS)

    async def answer(self, request: web.BaseRequest) -> Answer:
        """Answer a request, whatever it holds."""
        tools = self._site.tools
        began = self._clock()
        now = tools.now()
        segments = _segments(request.rel_url.raw_path)
        found = self._table.find(segments)
        if found is None and (file := self._files.answer(request, segments)) is not None:
            file.common = self._of_files.at(now)
            return file
        call = Request(self._site, request, now, str(tools.new_id(now)))
        log_context.begin(request_id=call.request_id)
        is_kling = found.is_kling if found else _looks_kling(segments)
        is_shared = is_kling or segments[:1] == ("v1",)
        if request.method == "OPTIONS" and found and is_shared:
            allowed = preflight(found.methods)
            allowed.common = self._of_files.at(now)
            return allowed
        route = None if found is None else found.routes.get(_READ_AS.get(request.method, request.method))
        try:
            response = await self._act(call, found, route)
        except Exception as error:  # noqa: BLE001 - the last resort of every request; what is a bug is logged as one
            response = self._refused(call, found, error, kling=is_kling, shared=is_shared)
        if isinstance(response, Response):  # a stream has its head written already
            response.common = (self._of_shared if is_shared else self._of_others).at(now)
            if call.told:
                response.headers.update(call.told)
            response.headers["X-Request-Id"] = call.request_id
            if tools.is_draining():  # so that no client asks again on a connection that is about to be closed
                response.force_close()
        tools.seen(
            Seen(
                route.name if route else _NO_ROUTE,
                request.method,
                response.status,
                self._clock() - began,
                call.request_id,
                call.caller.key if call.caller is not NOBODY else None,
                call.code,
            )
        )
        return response

    async def _act(self, call: Request, found: Found | None, route: Route | None) -> Answer:
        """Have the route's function answer, once everything that the route asks for was judged."""
        if found is None:
            raise NotFound
        if route is None:
            raise MethodNotAllowed
        call.route, call.params = route, found.params
        if route.scope is not None:
            call.caller = await self._site.doorman.admit(call.request.headers.get("Authorization"), call.now)
            call.told = self._judge(route, call.caller)
        if route.query is not None:
            call.query = _model(route.query, dict(call.request.query), "query")
        if route.body is not None:
            call.body = _model(route.body, await self._content(call), "body")
        return await route.act(call)

    def _judge(self, route: Route, caller: Caller) -> dict[str, str]:
        """Return the headers of the caller's rate. Raises RateLimited, Forbidden where the key may not do this."""
        told = self._site.doorman.take(caller.key)
        if route.scope is not None and not caller.may(route.scope):
            raise Forbidden(f"This key may not do that; it takes the scope {route.scope}.")
        return told

    async def _content(self, call: Request) -> Any:
        """Return the JSON in the body, {} where there is none."""
        raw = await call.read()
        max_depth = self._site.tools.limits.json_depth
        if not raw.strip():
            return {}
        if len(raw) > body.THREAD_FROM:
            return await asyncio.to_thread(body.parse, raw, max_depth)
        return body.parse(raw, max_depth)

    def _refused(self, call: Request, found: Found | None, error: Exception, *, kling: bool, shared: bool) -> Response:
        refusal = _refusal(error)
        call.code = refusal.code
        response = refused(refusal, call.request_id, kling=kling)
        if found and isinstance(refusal, MethodNotAllowed):
            response.headers["Allow"] = ", ".join([*found.methods, *(["OPTIONS"] if shared else [])])
        if refusal.code == 1302:
            call.told = self._site.doorman.told(call.caller.key)
        if refusal.http_status in {408, 413}:
            response.force_close()
        return response


def _segments(path: str) -> tuple[str, ...]:
    parts = [part for part in path.split("/") if part]
    return tuple(map(unquote, parts)) if "%" in path else tuple(parts)


def _looks_kling(segments: tuple[str, ...]) -> bool:
    return segments[:1] in {("kling",), ("proxy",)} or segments[:2] in {("v1", "images"), ("v1", "videos")}


def _model(model: type[Model], content: Any, whole: str) -> Model:
    """Return `content` as a model. Raises InvalidRequest with every fault."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = [
            Fault(printable(".".join(map(str, each["loc"]))) or whole, _sentence(each["msg"]))
            for each in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise InvalidRequest(faults=faults) from None


def _sentence(message: str) -> str:
    """Return pydantic's sentence as one of ours."""
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _refusal(error: Exception) -> Refusal:
    """Return what is told of an error; what nobody foresaw is logged, and told without its details."""
    match error:
        case Refusal():
            return error
        case StoreUnavailableError() | OverloadedError() | CollisionError():
            return Unavailable()
        case BadRowError():
            return InvalidRequest("The request holds something that cannot be stored or looked for.")
        case RequestPayloadError():
            return InvalidRequest("The body could not be read.")
        case ConnectionError():  # the client went away: whatever is answered, nobody reads it
            return InvalidRequest("The connection was lost.")
        case _:
            _log.error("a request failed", exc_info=error)
            return Refusal("Something went wrong here; it has been noted.")
