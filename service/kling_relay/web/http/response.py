"""Responses of the API: plain JSON on our paths, Kling's envelope on Kling's, and errors in the format of either."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from kling_relay.core.errors import Refusal
from kling_relay.web.http.aiohttp_internals import Response

__all__ = [
    "Response",
    "error_response",
    "json_response",
    "kling_response",
    "no_content",
    "page_response",
    "unknown_path_response",
]

KLING_SUCCESS = "成功"
"""The message in every successful response of Kling's gateway."""
_JSON = {"Content-Type": "application/json"}
_JSON_UTF8 = {"Content-Type": "application/json; charset=utf-8"}
_PROBLEM = {"Content-Type": "application/problem+json"}


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `content` as JSON."""
    return Response(body=orjson.dumps(content), status=status, headers={**_JSON, **(headers or {})})


def no_content() -> Response:
    """Return a response without a body."""
    return Response(status=204)


def page_response(items: Sequence[Any], next_cursor: str | None) -> Response:
    """Return one page of a list; the last page has no `next_cursor`."""
    return json_response({"data": items, "next_cursor": next_cursor})


def kling_response(content: Any, request_id: str) -> Response:
    """Return `content` in Kling's envelope."""
    envelope = {"code": 0, "message": KLING_SUCCESS, "request_id": request_id, "data": content}
    return Response(body=orjson.dumps(envelope), headers=_JSON_UTF8)


def error_response(refusal: Refusal, request_id: str, *, kling: bool) -> Response:
    """Return an error in Kling's envelope, or as `application/problem+json`."""
    headers = {} if refusal.retry_after is None else {"Retry-After": str(max(1, round(refusal.retry_after)))}
    if refusal.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    content = _kling_error(refusal, request_id) if kling else _problem(refusal, request_id)
    headers |= _JSON_UTF8 if kling else _PROBLEM
    return Response(body=orjson.dumps(content), status=refusal.http_status, headers=headers)


def unknown_path_response(refusal: Refusal, request_id: str) -> Response:
    """Return an error that can be read as Kling's envelope and as a problem, and close the connection."""
    content = _kling_error(refusal, request_id) | _problem(refusal, request_id)
    headers = {**_PROBLEM, "Connection": "close"}
    response = Response(body=orjson.dumps(content), status=refusal.http_status, headers=headers)
    response.force_close()
    return response


def _kling_error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Return Kling's envelope, with the member `error` for clients that read only that."""
    return {
        "code": refusal.code,
        "message": refusal.message,
        "request_id": request_id,
        "error": {"message": refusal.message, "type": refusal.type, "code": refusal.code},
    }


def _problem(refusal: Refusal, request_id: str) -> dict[str, Any]:
    content = {
        "type": f"urn:kling-relay:{refusal.type}",
        "title": (type(refusal).__doc__ or refusal.type).splitlines()[0],
        "status": refusal.http_status,
        "detail": refusal.message,
        "code": refusal.code,
        "request_id": request_id,
    }
    if refusal.faults:
        content["errors"] = [{"field": fault.field, "detail": fault.detail} for fault in refusal.faults]
    return content
