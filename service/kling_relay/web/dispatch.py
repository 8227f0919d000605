"""The path of every request: find its route, authenticate, validate query and body, call the handler.

Any exception on the way becomes an error response in the format of the request's path. Doubled and trailing slashes
in a path are ignored.
"""

import asyncio
import logging
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from aiohttp.web import RequestPayloadError
from pydantic import BaseModel, ValidationError

from kling_relay.core.errors import Fault, Forbidden, InvalidRequest, MethodNotAllowed, NotFound, Refusal, Unavailable
from kling_relay.core.json_limits import printable
from kling_relay.core.key import Caller
from kling_relay.flows import log_context
from kling_relay.flows.coalesce import OverloadedError
from kling_relay.flows.memory import LARGE
from kling_relay.flows.observer import AnsweredRequest
from kling_relay.store.postgres.statement import (
    BadRowError,
    CollisionError,
    MissingPartitionError,
    StoreUnavailableError,
)
from kling_relay.web.http.aiohttp_internals import MalformedRequestError
from kling_relay.web.http.body import ACCEPTED, parse
from kling_relay.web.http.cors import CORS_HEADERS, preflight_response
from kling_relay.web.http.headers import CommonHeaders
from kling_relay.web.http.request import ANONYMOUS, AnyRequest, AppState, Request
from kling_relay.web.http.response import Response, error_response, unknown_path_response
from kling_relay.web.http.routing import AnyResponse, AnyRoute, Match, Router
from kling_relay.web.static import StaticFiles

_SERVER = {"Server": "kling-relay"}
_API_HEADERS = _SERVER | {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_METHOD_ALIASES = {"HEAD": "GET"}
_NO_ROUTE = "none"
_KLING_FAMILIES = {("images",), ("videos",), ("audio",), ("general",), ("account",)}
_log = logging.getLogger(__name__)


class Dispatcher:
    """Answers every request that the server receives."""

    def __init__(self, state: AppState, router: Router, files: StaticFiles) -> None:
        self._state = state
        self._router = router
        self._files = files
        self._clock = asyncio.get_running_loop().time
        self._file_headers = CommonHeaders(_SERVER)
        self._cors_headers = CommonHeaders(_API_HEADERS | CORS_HEADERS)
        self._other_headers = CommonHeaders(_API_HEADERS)

    async def answer(self, http: web.BaseRequest) -> AnyResponse:
        """Return the response to a request; it never raises for anything in the request."""
        context = self._state.context
        started_at = self._clock()
        now = context.now()
        segments = _segments(http.rel_url.raw_path)
        match = self._router.match(segments)
        if match is None and (file := self._files.answer(http, segments)) is not None:
            file.common = self._file_headers.at(now)
            return file
        request: AnyRequest = Request(self._state, http, now, str(context.new_id(now)))
        log_context.start(request_id=request.request_id)
        is_kling = match.is_kling if match else _is_kling_path(segments)
        has_cors = is_kling or segments[:1] == ("v1",)
        if http.method == "OPTIONS" and match and has_cors:
            preflight = preflight_response(match.methods)
            preflight.common = self._file_headers.at(now)
            return preflight
        route = None if match is None else match.routes.get(_METHOD_ALIASES.get(http.method, http.method))
        try:
            response = await self._handle(request, match, route, segments)
        except Exception as error:  # noqa: BLE001 - the last resort of every request; bugs are logged as such
            response = self._error(request, match, error, kling=is_kling, cors=has_cors)
        finally:
            if request.share is not None:
                request.share.release()
        if isinstance(response, Response):  # the head of a stream has been sent already
            response.common = (self._cors_headers if has_cors else self._other_headers).at(now)
            if request.rate_headers:
                response.headers.update(request.rate_headers)
            response.headers["X-Request-Id"] = request.request_id
            # the connection will be closed soon, or cannot be read to the end, so the client should not reuse it
            if context.is_draining() or http.content.exception() is not None or not http.content.is_eof():
                response.force_close()
        context.observer.request_answered(
            AnsweredRequest(
                route.name if route else _NO_ROUTE,
                http.method,
                response.status,
                self._clock() - started_at,
                request.request_id,
                request.caller.key if request.caller is not ANONYMOUS else None,
                request.error_code,
            )
        )
        return response

    async def _handle(
        self, request: AnyRequest, match: Match | None, route: AnyRoute | None, segments: tuple[str, ...]
    ) -> AnyResponse:
        """Call the route's handler once the caller, query and body are known to be good."""
        if match is None:
            raise await self._unserved(request, segments)
        if route is None:
            raise MethodNotAllowed
        request.route, request.params = route, match.params
        if route.scope is not None:
            request.caller = await self._state.authenticator.authenticate(request.http.headers, request.now)
            request.rate_headers = self._authorize(route, request.caller)
        if route.method == "GET" and not request.http.content.is_eof():
            await request.read()  # a body that nobody wants would stay in memory for as long as a stream or a wait
        if route.query is not None:
            request.query = _validate(route.query, dict(request.http.query), "query")
        if route.body is not None:
            request.body = _validate(route.body, await self._json(request), "body")
        if route.is_report:
            async with self._state.turns.report(request.caller):
                return await route.handler(request)
        return await route.handler(request)

    async def _unserved(self, request: AnyRequest, segments: tuple[str, ...]) -> NotFound:
        """Return the error for a path that is not served. Clients test a key with a path of Kling's that may not exist,
        so a wrong key is reported first.
        """
        if not _is_kling_path(segments):
            return NotFound()
        request.caller = await self._state.authenticator.authenticate(request.http.headers, request.now)
        operation = printable("/".join(segments[segments.index("v1") + 1 :] if "v1" in segments else segments))
        offered = ", ".join(request.context.rulebook.operations)
        return NotFound(f"{operation} is not offered here; it has {offered}.")

    def _authorize(self, route: AnyRoute, caller: Caller) -> dict[str, str]:
        """Return the headers of the caller's rate. Raises RateLimited, or Forbidden without the route's scope."""
        headers = self._state.rates.count(caller.key, is_report=route.is_report)
        if route.scope is not None and not caller.may(route.scope):
            raise Forbidden(f"This key may not do that; it needs the scope {route.scope}.")
        return headers

    async def _json(self, request: AnyRequest) -> Any:
        """Return the JSON in the body; an empty body is {}."""
        content, content_type = await request.read(), request.http.headers.get("Content-Type")
        max_depth = self._state.context.limits.json_depth
        if not content or content.isspace():
            return {}
        if len(content) > LARGE:
            async with self._state.context.memory.copying(2 * len(content)):
                return await asyncio.to_thread(parse, content, max_depth, content_type)
        return parse(content, max_depth, content_type)

    def _error(
        self, request: AnyRequest, match: Match | None, error: Exception, *, kling: bool, cors: bool
    ) -> Response:
        if isinstance(error, StoreUnavailableError):
            self._state.context.observer.database_failed("web", error)
            if isinstance(error, MissingPartitionError):
                self._state.context.partition_missing.notify()
        refusal = _refusal(error)
        request.error_code = refusal.code
        response = error_response(refusal, request.request_id, kling=kling)
        if match and isinstance(refusal, MethodNotAllowed):
            response.headers["Allow"] = ", ".join([*match.methods, *(["OPTIONS"] if cors else [])])
        if refusal.code == 1302:
            request.rate_headers = self._state.rates.headers(request.caller.key, is_report=request.route.is_report)
        if refusal.http_status == 415:
            response.headers["Accept-Encoding"] = ACCEPTED
        if refusal.http_status in {408, 413}:
            response.force_close()
        return response

    def refuse(self, error: BaseException) -> Response:
        """Return the response to bytes that are not HTTP, or to a bug: an error that clients of either API can read."""
        context = self._state.context
        now = context.now()
        if isinstance(error, MalformedRequestError):
            context.observer.request_malformed(error.reason)
            refusal: Refusal = InvalidRequest(f"The request is not valid HTTP: {error}.")
        else:
            refusal = _refusal(error)
        response = unknown_path_response(refusal, str(context.new_id(now)))
        response.common = self._cors_headers.at(now)
        return response


def _segments(path: str) -> tuple[str, ...]:
    parts = [part for part in path.split("/") if part]
    return tuple(map(unquote, parts)) if "%" in path else tuple(parts)


def _is_kling_path(segments: tuple[str, ...]) -> bool:
    """Return whether a path without a route looks like one of Kling's."""
    if segments[:1] == ("v1",):
        return segments[1:2] in _KLING_FAMILIES
    return segments[:1] == ("kling",) or segments[:2] == ("proxy", "kling")


def _validate(model: type[BaseModel], content: Any, whole: str) -> BaseModel:
    """Return `content` as a model. Raises InvalidRequest with every fault; `whole` names the content itself."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = [
            Fault(printable(".".join(map(str, detail["loc"]))) or whole, _fault_text(detail["msg"]))
            for detail in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise InvalidRequest(faults=faults) from None


def _fault_text(message: str) -> str:
    """Return a message of pydantic as it follows the name of a field."""
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _refusal(error: BaseException) -> Refusal:
    """Map an exception to an error; an unexpected one is logged and answered as 500 without details."""
    match error:
        case Refusal():
            return error
        case StoreUnavailableError() | OverloadedError() | CollisionError():
            return Unavailable()
        case BadRowError():
            return InvalidRequest("The request holds something that cannot be stored or searched for.")
        case RequestPayloadError():
            return InvalidRequest("The body could not be read.")
        case ConnectionError():  # the client went away, so nobody reads this
            return InvalidRequest("The connection was lost.")
        case _:
            _log.error("a request failed", exc_info=error)
            return Refusal("Something went wrong on our side; it has been logged.")
