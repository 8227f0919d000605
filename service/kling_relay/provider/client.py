"""The HTTP client of the provider: it submits orders and polls tasks. `core.submission` reads the responses.

A POST is never repeated here. It counts as sent from the moment before its first byte is written. An order that fails
before that was certainly not accepted. One that fails after it is unknown, even if the connection was dead. The write
that completes a large order comes last, and only when nothing before it waits in this process: an incomplete order
cannot be accepted.
"""

import ssl
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, assert_never
from urllib.parse import quote
from uuid import UUID

import orjson
from yarl import URL

from kling_relay.core.ids import milliseconds
from kling_relay.core.resource_packs import ResourcePack, read_packs
from kling_relay.core.submission import (
    NoAnswer,
    NoSuchTask,
    PollResult,
    RetryLater,
    SubmitOutcome,
    Unknown,
    read_poll_response,
    read_submit_response,
)
from kling_relay.core.task import Signal
from kling_relay.core.untrusted import UnreadableError, retry_after_seconds, to_utf8
from kling_relay.outbound.http_client import HTTPClient, UnresolvedNameError
from kling_relay.outbound.http_connection import MAX_WRITE, NotHTTPError
from kling_relay.outbound.http_response import HTTPResponse
from kling_relay.outbound.proxy import ProxyRefusedError, read_proxy
from kling_relay.outbound.resolver import LoopResolver
from kling_relay.outbound.target import Target, read_target
from kling_relay.provider.dialects import OWN_FIELDS, Dialect, credential

MAX_RESPONSE = 1024 * 1024
"""Bytes of a response that are read. A longer one cannot be understood."""
_MAX_PACK_AGE = timedelta(days=400)
"""Packs are listed by their date of purchase, and an annual one may be this old."""
_ERRORS = (NotHTTPError, OSError, ValueError, RuntimeError)
_HEADERS = {"User-Agent": "kling-relay", "Accept": "application/json", "Accept-Encoding": "identity"}


class _LateOrderError(Exception):
    """The order may not be sent any more."""


class _CutOffError(OSError):
    """The response lacks the end of its body."""


class Provider:
    """The provider in one dialect. Start it inside the event loop that uses it. Times are in seconds."""

    def __init__(
        self,
        *,
        url: str,
        key: str,
        dialect: Dialect,
        submit_timeout: float = 60.0,
        poll_timeout: float = 15.0,
        max_response: int = MAX_RESPONSE,
        connect_timeout: float = 10.0,
        connections: int = 100,
        keepalive: float = 4.0,
        proxy: str | None = None,
    ) -> None:
        """`keepalive` is short, because a connection that dies while idle makes the next order unknown.

        `proxy` is the URL of an HTTP proxy. Raises InvalidRequestError for a wrong URL.
        """
        base = URL(url)
        self._origin = read_target(str(base.origin()))
        self._prefix = base.raw_path.rstrip("/") + dialect.prefix
        self._dialect = dialect
        self._operations: dict[str, Target] = {}
        self._credential = credential(dialect, key)
        self._submit_timeout = submit_timeout
        self._max_response = max_response
        self._http = HTTPClient(
            allowed=None,  # the operator chose the URL
            resolver=LoopResolver(),
            timeout=poll_timeout,
            connect_timeout=connect_timeout,
            max_requests=connections,
            max_body=max_response,
            keepalive=keepalive,
            headers=_HEADERS,
            proxy=read_proxy(proxy) if proxy else None,
        )

    async def start(self) -> None:
        self._http.start()

    async def stop(self) -> None:
        await self._http.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def order_body(self, fields: Mapping[str, Any]) -> bytes:
        """Return an order as JSON without hook and ids. It is stored until `submit` adds those."""
        return orjson.dumps({name: value for name, value in fields.items() if name not in OWN_FIELDS})

    async def submit(
        self,
        operation_path: str,
        body: bytes,
        task: UUID,
        hook: str,
        now: datetime,
        trace: str | None = None,
        *,
        may_send: Callable[[], bool] = lambda: True,
    ) -> SubmitOutcome:
        """Submit the order in `body` (made by `order_body`) once. `operation_path` is like "videos/text2video".

        `trace` is sent as the header `traceparent`. No part of the order is written once `may_send` returns false.
        """
        headers = self._headers(now, trace)
        headers["Content-Type"] = "application/json"
        may_have_left = False

        def check_window() -> None:
            nonlocal may_have_left
            if not may_send():
                raise _LateOrderError
            may_have_left = True

        try:
            response = await self._http.request(
                "POST",
                self._operation(operation_path),
                headers,
                self._complete(body, task, hook),
                timeout=self._submit_timeout,
                is_repeatable=False,
                before_write=check_window,
            )
            answer = _read_body(response, self._max_response)
            return read_submit_response(response.status, answer, retry_after_seconds(response.retry_after, now))
        except _LateOrderError:
            if may_have_left:
                return Unknown("the order was cut off: this process stood still")
            return RetryLater(0, "this process stood still before it sent the order")
        except _ERRORS as error:
            if may_have_left:
                return Unknown(f"the provider's answer was lost: {_describe(error)}")
            return RetryLater(0, f"no connection to the provider: {_describe(error)}")

    async def poll(
        self, operation_path: str, provider_task_id: str | None, task: UUID, now: datetime, trace: str | None = None
    ) -> PollResult:
        """Return what the provider says about a task, asked by its own id or else by ours.

        For our id, "no such task" counts only if the dialect knows our ids. `trace` is sent as the header
        `traceparent`.
        """
        name = quote(provider_task_id or str(task), safe="")
        try:
            response = await self._get(f"/v1/{operation_path}/{name}", self._headers(now, trace))
            result = read_poll_response(response.status, _read_body(response, self._max_response))
        except _ERRORS as error:
            return NoAnswer(f"the provider does not answer: {_describe(error)}")
        match result:
            case NoSuchTask() if provider_task_id is None and not self._dialect.knows_external_id:
                return NoAnswer("the provider does not know our id, and may never have received it")
            case Signal() | NoSuchTask() | NoAnswer():
                return result
        assert_never(result)

    async def resource_packs(self, now: datetime) -> list[ResourcePack] | NoAnswer:
        """Return the account's resource packs of the last 400 days, or why they cannot be read."""
        if not self._dialect.has_account:
            return NoAnswer(f"the dialect {self._dialect.name} cannot read the account")
        since, until = milliseconds(now - _MAX_PACK_AGE), milliseconds(now)
        try:
            path = f"/account/costs?start_time={since}&end_time={until}"
            response = await self._get(path, self._headers(now))
            return read_packs(_read_body(response, self._max_response))
        except UnreadableError as error:
            return NoAnswer(f"the account cannot be read: {error}")
        except _ERRORS as error:
            return NoAnswer(f"the provider does not answer: {_describe(error)}")

    def _complete(self, body: bytes, task: UUID, hook: str) -> Sequence[bytes | memoryview]:
        """Return the parts of the order with hook and id appended as its last members, without parsing it."""
        members = dict.fromkeys(self._dialect.hook_fields, hook)
        if self._dialect.sends_external_id:
            members["external_task_id"] = str(task)
        rest = orjson.dumps(members)[1:]
        start = body[:-1] if len(body) < MAX_WRITE else memoryview(body)[:-1]
        return (start, b"," + rest if len(body) > 2 and len(rest) > 1 else rest)

    async def _get(self, path: str, headers: Mapping[str, str]) -> HTTPResponse:
        return await self._http.request("GET", self._origin.at(self._prefix + path), headers, is_repeatable=True)

    def _operation(self, path: str) -> Target:
        """Return where an operation's orders go."""
        if (target := self._operations.get(path)) is None:
            target = self._operations[path] = self._origin.at(f"{self._prefix}/v1/{path}")
        return target

    def _headers(self, now: datetime, trace: str | None = None) -> dict[str, str]:
        headers = {"Authorization": self._credential.authorization(now)}
        if trace:
            headers["traceparent"] = trace
        return headers


def _read_body(response: HTTPResponse, limit: int) -> bytes:
    """Return the response's body in UTF-8. One that is too long is cut, and will not be understood."""
    if response.is_cut_off:
        raise _CutOffError
    body = response.body
    if body.startswith((b"\x1f\x8b", b"\x78")) and response.field(b"content-encoding"):
        body = _decompress(body, limit)  # though we asked for none
    return to_utf8(body, response.field(b"content-type"))


def _decompress(body: bytes, limit: int) -> bytes:
    try:
        return zlib.decompressobj(wbits=47).decompress(body, limit)
    except zlib.error:
        raise _CutOffError from None


_DESCRIPTIONS: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "timed out"),
    (UnresolvedNameError, "its name cannot be resolved"),
    (ssl.SSLError, "no secure connection"),
    (ConnectionRefusedError, "refused"),
    (ConnectionError, "the connection ended"),
    (NotHTTPError, "not HTTP"),
    (_CutOffError, "its end is missing"),
    (OSError, "unreachable"),
)
"""The first match counts, so specific errors stand before general ones."""


def _describe(error: Exception) -> str:
    """Return what went wrong, in words that contain nothing of the request."""
    if isinstance(error, ProxyRefusedError):
        return str(error)
    return next((text for kind, text in _DESCRIPTIONS if isinstance(error, kind)), type(error).__name__)
