"""Every request takes this way: found in the table, its key and rate judged, its query and body checked, answered;
and whatever is raised on it becomes a refusal in the manner of its path.

Paths are taken as clients write them: with a doubled or trailing slash, and on Kling's paths with any odd query.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from aiohttp.web import RequestPayloadError
from pydantic import ValidationError

from service.core.errors import (
    Fault,
    Forbidden,
    InvalidRequest,
    NotFound,
    Refusal,
    Unavailable,
    WrongMethod,
)
from service.core.key import Caller
from service.core.poison import safe
from service.flows.coalesce import OverloadedError
from service.store.statement import BadRowError, CollisionError, StoreUnavailableError
from service.telemetry import notes
from service.web import bodies
from service.web.answers import InvalidMembers, refused
from service.web.call import NOBODY, Answer, Call, Model, Route, Site
from service.web.cors import preflight, shared
from service.web.response import Common, Response
from service.web.static import Files
from service.web.table import Found, Table
from service.web.tools import Seen

_SERVER = {"Server": "kling-relay"}
_ALWAYS = _SERVER | {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_log = logging.getLogger(__name__)


class Dispatch:
    """The one function behind the server, for one table of routes and the files for browsers."""

    def __init__(self, site: Site, table: Table, files: Files) -> None:
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
        request_id = str(tools.new_id(now))
        notes.begin(request_id=request_id)
        asked = _Asked(request, found, now, request_id)
        is_kling = found.is_kling if found else _looks_kling(segments)
        is_shared = is_kling or segments[:1] == ("v1",)
        if request.method == "OPTIONS" and found and is_shared:
            return preflight(found.methods)
        try:
            response = await self._act(asked)
        except Exception as error:  # noqa: BLE001 - the last resort of every request; what is a bug is logged as one
            response = self._refused(asked, error, kling=is_kling, shared=is_shared)
        if isinstance(response, Response):  # a stream has its head written already
            response.common = (self._of_shared if is_shared else self._of_others).at(now)
            if asked.told:
                response.headers.update(asked.told)
            response.headers["X-Request-Id"] = request_id
            if tools.is_draining():  # so that no client asks again on a connection that is about to be closed
                response.force_close()
        caller = asked.caller
        tools.seen(
            Seen(
                route=asked.name,
                method=request.method,
                status=response.status,
                seconds=self._clock() - began,
                request_id=request_id,
                key=caller.key if caller is not NOBODY else None,
                code=asked.code,
            )
        )
        return response

    async def _act(self, asked: "_Asked") -> Answer:
        found, request = asked.found, asked.request
        if found is None:
            raise NotFound
        route = found.routes.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            raise WrongMethod(http_status=405)
        asked.name = route.name
        if route.scope is not None:
            asked.caller = await self._site.doorman.admit(request.headers.get("Authorization"), asked.now)
            asked.told = self._judge(route, asked.caller)
        query = None if route.query is None else _model(route.query, dict(request.query), "query")
        call = Call(
            site=self._site,
            request=request,
            route=route,
            params=found.params,
            caller=asked.caller,
            body=None if route.body is None else await self._body(request, route),
            query=query,
            now=asked.now,
            request_id=asked.request_id,
        )
        return await route.act(call)

    def _judge(self, route: Route, caller: Caller) -> dict[str, str]:
        """Return the headers of the caller's rate. Raises RateLimited, Forbidden where the key may not do this."""
        told = self._site.doorman.take(caller.key)
        if route.scope is not None and not caller.may(route.scope):
            raise Forbidden(f"This key may not do that; it takes the scope {route.scope}.")
        return told

    async def _body(self, request: web.BaseRequest, route: Route) -> Any:
        """Return the body read into the model of its route."""
        raw = await bodies.read_for(request, route.size, self._site.tools.limits, self._site.in_hand)
        deepest = self._site.tools.limits.json_depth
        if not raw.strip():
            content: Any = {}
        elif len(raw) > bodies.THREAD_FROM:
            content = await asyncio.to_thread(bodies.parse, raw, deepest)
        else:
            content = bodies.parse(raw, deepest)
        assert route.body is not None
        return _model(route.body, content, "body")

    def _refused(self, asked: "_Asked", error: Exception, *, kling: bool, shared: bool) -> Response:
        refusal = _refusal(error)
        asked.code = refusal.code
        response = refused(refusal, asked.request_id, kling=kling)
        if asked.found and isinstance(refusal, WrongMethod):
            response.headers["Allow"] = ", ".join([*asked.found.methods, *(["OPTIONS"] if shared else [])])
        if refusal.code == 1302:
            asked.told = self._site.doorman.told(asked.caller.key)
        if refusal.http_status in {408, 413}:
            response.force_close()
        return response


@dataclass(slots=True)
class _Asked:
    """What is known of a request so far; `told` are the headers of its key's rate."""

    request: web.BaseRequest
    found: Found | None
    now: datetime
    request_id: str
    name: str = "none"
    caller: Caller = NOBODY
    code: int = 0
    told: Mapping[str, str] | None = None


def _segments(path: str) -> tuple[str, ...]:
    parts = [part for part in path.split("/") if part]
    return tuple(map(unquote, parts)) if "%" in path else tuple(parts)


def _looks_kling(segments: tuple[str, ...]) -> bool:
    return segments[:1] in {("kling",), ("proxy",)} or segments[:2] in {("v1", "images"), ("v1", "videos")}


def _model(model: type[Model], content: Any, whole: str) -> Model:
    """Return `content` as a model. Raises InvalidMembers with every fault."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = [
            Fault(safe(".".join(map(str, each["loc"]))) or whole, _sentence(each["msg"]))
            for each in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise InvalidMembers(faults) from None


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
