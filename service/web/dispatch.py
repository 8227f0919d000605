"""Every request takes this way: found in the table, its key and rate judged, its query and body checked, answered;
and whatever is raised on it becomes a refusal in the manner of its path.

Paths are taken as clients write them: with a doubled or trailing slash, and on Kling's paths with any odd query.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
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
from service.core.ids import CHANCE_BITS, new_id
from service.core.key import Caller
from service.core.poison import safe
from service.flows.coalesce import OverloadedError
from service.store.statement import BadRowError, CollisionError, StoreUnavailableError
from service.telemetry import notes
from service.web import bodies
from service.web.answers import InvalidMembers, refused
from service.web.call import NOBODY, SITE, Call, Model, Route, Site
from service.web.cors import preflight, shared
from service.web.table import Table
from service.web.tools import Seen

_ALWAYS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "kling-relay"}
_log = logging.getLogger(__name__)


class Dispatch:
    """The one function behind the server, for one table of routes."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def answer(self, request: web.Request) -> web.StreamResponse:
        site = request.app[SITE]
        tools = site.tools
        began = asyncio.get_running_loop().time()
        now = tools.now()
        segments = tuple(unquote(part) for part in request.rel_url.raw_path.split("/") if part)
        found = self._table.find(segments)
        request_id = new_id(now, tools.chance(CHANCE_BITS))
        notes.begin(request_id=str(request_id))
        caller, code, name = NOBODY, 0, "none"
        is_kling = found.is_kling if found else _looks_kling(segments)
        is_shared = is_kling or segments[:1] == ("v1",)
        response: web.StreamResponse
        headers = {**_ALWAYS, **(shared() if is_shared else {})}
        try:
            if request.method == "OPTIONS" and found and is_shared:
                return preflight(found.methods)
            route = _route(found.routes if found else None, request.method)
            name = route.name
            if route.scope is not None:
                caller = await site.doorman.admit(request.headers.get("Authorization"), now)
                headers |= _judge(site, route, caller)
            call = Call(
                site=site,
                request=request,
                route=route,
                params=found.params if found else {},
                caller=caller,
                body=None,
                query=None,
                now=now,
                request_id=request_id,
            )
            response = await route.act(await _checked(call))
        except Exception as error:  # noqa: BLE001 - the last resort of every request; what is a bug is logged as one
            refusal = _refusal(error)
            code = refusal.code
            if found and isinstance(refusal, WrongMethod):
                headers["Allow"] = ", ".join([*found.methods, *(["OPTIONS"] if is_shared else [])])
            if code == 1302:
                headers |= site.doorman.told(caller.key)
            response = refused(refusal, request_id, kling=is_kling)
            if refusal.http_status in {408, 413}:
                response.force_close()
        if not response.prepared:
            response.headers.update(headers)
            response.headers["X-Request-Id"] = str(request_id)
            if tools.is_draining():  # so that no client asks again on a connection that is about to be closed
                response.force_close()
        tools.seen(
            Seen(
                route=name,
                method=request.method,
                status=response.status,
                seconds=asyncio.get_running_loop().time() - began,
                request_id=str(request_id),
                key=caller.key if caller is not NOBODY else None,
                code=code,
            )
        )
        return response


def _looks_kling(segments: tuple[str, ...]) -> bool:
    return segments[:1] in {("kling",), ("proxy",)} or segments[:2] in {("v1", "images"), ("v1", "videos")}


def _route(routes: Mapping[str, Route] | None, method: str) -> Route:
    if routes is None:
        raise NotFound
    route = routes.get("GET" if method == "HEAD" else method)
    if route is None:
        raise WrongMethod(http_status=405)
    return route


def _judge(site: Site, route: Route, caller: Caller) -> dict[str, str]:
    """Return the headers of the caller's rate. Raises RateLimited, Forbidden where the key may not do this."""
    told = site.doorman.take(caller.key)
    if route.scope is not None and not caller.may(route.scope):
        raise Forbidden(f"This key may not do that; it takes the scope {route.scope}.")
    return told


async def _checked(call: Call) -> Call:
    """Return the call with its query and body read into the models of its route."""
    if call.route.query is None and call.route.body is None:
        return call
    query = None if call.route.query is None else _model(call.route.query, dict(call.request.query), "query")
    body = None
    if call.route.body is not None:
        raw = await call.read()
        if not raw.strip():
            content: Any = {}
        elif len(raw) > bodies.THREAD_FROM:
            content = await asyncio.to_thread(bodies.parse, raw)
        else:
            content = bodies.parse(raw)
        body = _model(call.route.body, content, "body")
    return replace(call, query=query, body=body)


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
