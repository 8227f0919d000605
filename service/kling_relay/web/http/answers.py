"""Answers: Kling's envelope on Kling's paths, plain JSON on ours, and every refusal in the manner of its path."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from kling_relay.core.errors import Refusal
from kling_relay.web.http.response import Response

GOOD = "成功"
"""Kling's gateway says so on every good answer."""
_JSON = {"Content-Type": "application/json"}
_JSON_UTF8 = {"Content-Type": "application/json; charset=utf-8"}
_PROBLEM = {"Content-Type": "application/problem+json"}


def plain(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `content` as JSON of ours."""
    return Response(body=orjson.dumps(content), status=status, headers={**_JSON, **(headers or {})})


def nothing(status: int = 204) -> Response:
    """Return an answer without a body."""
    return Response(status=status)


def listed(content: Sequence[Any], next_cursor: str | None) -> Response:
    """Return a page of a list; `next_cursor` None says that it is the last."""
    return plain({"data": content, "next_cursor": next_cursor})


def enveloped(content: Any, request_id: str) -> Response:
    """Return `content` in Kling's envelope."""
    envelope = {"code": 0, "message": GOOD, "request_id": request_id, "data": content}
    return Response(body=orjson.dumps(envelope), headers=_JSON_UTF8)


def refused(refusal: Refusal, request_id: str, *, kling: bool) -> Response:
    """Return a refusal in Kling's members (with `error` for clients that read only that), or as a problem."""
    headers = {} if refusal.retry_after is None else {"Retry-After": str(max(1, round(refusal.retry_after)))}
    if refusal.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    content: dict[str, Any]
    if kling:
        content = {
            "code": refusal.code,
            "message": refusal.message,
            "request_id": request_id,
            "error": {"message": refusal.message, "type": refusal.type, "code": refusal.code},
        }
        headers |= _JSON_UTF8
    else:
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
        headers |= _PROBLEM
    return Response(body=orjson.dumps(content), status=refusal.http_status, headers=headers)
