"""The HTTP client of the provider: it submits orders and polls tasks. `core.submission` reads the responses.

A POST is never repeated here. It counts as sent from the moment a connection gets it (`OrderPayload`). An order that
fails before that was certainly not accepted. One that fails after it is unknown, even if the connection was dead.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, assert_never
from urllib.parse import quote
from uuid import UUID

import orjson
from aiohttp import (
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
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
from kling_relay.provider.dialects import OWN_FIELDS, Dialect, credential
from kling_relay.provider.order_payload import OrderPayload

MAX_RESPONSE = 1024 * 1024
"""Bytes of a response that are read. A longer one cannot be understood."""
_MAX_PACK_AGE = timedelta(days=400)
"""Packs are listed by their date of purchase, and an annual one may be this old."""
_ERRORS = (ClientError, OSError, ValueError, RuntimeError)


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
    ) -> None:
        """`keepalive` is short, because a connection that dies while idle makes the next order unknown."""
        self._base = url.rstrip("/") + dialect.prefix
        self._root = self._base + "/v1/"
        self._dialect = dialect
        self._operation_urls: dict[str, URL] = {}
        self._credential = credential(dialect, key)
        self._submit_timeout = ClientTimeout(total=submit_timeout, connect=connect_timeout)
        self._max_response = max_response
        self._poll_timeout = ClientTimeout(total=poll_timeout, connect=connect_timeout)
        self._connections = connections
        self._keepalive = keepalive
        self._session: ClientSession | None = None

    async def start(self) -> None:
        self._session = ClientSession(
            connector=TCPConnector(limit=self._connections, keepalive_timeout=self._keepalive),
            cookie_jar=DummyCookieJar(),
            headers={"User-Agent": "kling-relay", "Accept": "application/json", "Accept-Encoding": "identity"},
            trust_env=False,
        )

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

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
        order = OrderPayload(self._complete(body, task, hook), may_send)
        headers = self._headers(now)
        if trace:
            headers["traceparent"] = trace
        try:
            async with self._open().post(
                self._operation_url(operation_path),
                data=order,
                headers=headers,
                timeout=self._submit_timeout,
                allow_redirects=False,
            ) as response:
                answer = await _read_body(response, self._max_response)
                return read_submit_response(
                    response.status, answer, retry_after_seconds(response.headers.get("Retry-After"), now)
                )
        except _ERRORS as error:
            if order.may_have_left:
                what = "the order was cut off" if order.is_late else "the provider's answer was lost"
                return Unknown(f"{what}: {'this process stood still' if order.is_late else _describe(error)}")
            if order.is_late:
                return RetryLater(0, "this process stood still before it sent the order")
            return RetryLater(0, f"no connection to the provider: {_describe(error)}")

    async def poll(
        self, operation_path: str, provider_task_id: str | None, task: UUID, now: datetime, trace: str | None = None
    ) -> PollResult:
        """Return what the provider says about a task, asked by its own id or else by ours.

        For our id, "no such task" counts only if the dialect knows our ids. `trace` is sent as the header
        `traceparent`.
        """
        name = quote(provider_task_id or str(task), safe="")
        headers = self._headers(now) | ({"traceparent": trace} if trace else {})
        try:
            async with self._open().get(
                URL(f"{self._root}{operation_path}/{name}", encoded=True),
                headers=headers,
                timeout=self._poll_timeout,
                allow_redirects=False,
            ) as response:
                result = read_poll_response(response.status, await _read_body(response, self._max_response))
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
            async with self._open().get(
                URL(f"{self._base}/account/costs?start_time={since}&end_time={until}", encoded=True),
                headers=self._headers(now),
                timeout=self._poll_timeout,
                allow_redirects=False,
            ) as response:
                return read_packs(await _read_body(response, self._max_response))
        except UnreadableError as error:
            return NoAnswer(f"the account cannot be read: {error}")
        except _ERRORS as error:
            return NoAnswer(f"the provider does not answer: {_describe(error)}")

    def _complete(self, body: bytes, task: UUID, hook: str) -> bytes:
        """Return the order with hook and id appended as its last members, without parsing it."""
        members = dict.fromkeys(self._dialect.hook_fields, hook)
        if self._dialect.sends_external_id:
            members["external_task_id"] = str(task)
        rest = orjson.dumps(members)[1:]
        return b"".join((body[:-1], b"," if len(body) > 2 and len(rest) > 1 else b"", rest))

    def _operation_url(self, path: str) -> URL:
        """Return the URL of an operation. Cached, because parsing a URL is slow and there are only a few."""
        if (url := self._operation_urls.get(path)) is None:
            url = self._operation_urls[path] = URL(self._root + path, encoded=True)
        return url

    def _headers(self, now: datetime) -> dict[str, str]:
        return {"Authorization": self._credential.authorization(now)}

    def _open(self) -> ClientSession:
        if self._session is None:
            raise RuntimeError("the provider's client is not started: call start() first")
        return self._session


async def _read_body(response: ClientResponse, limit: int) -> bytes:
    """Return the response's body in UTF-8. One that is too long is cut, and will not be understood."""
    content = response.content
    parts, size = [], 0
    while not content.at_eof():
        part = await content.readany()
        parts.append(part)
        size += len(part)
        if size > limit:
            response.close()
            break
    return to_utf8(b"".join(parts)[:limit], response.headers.get("Content-Type"))


def _describe(error: Exception) -> str:
    """Return what went wrong, in words that contain nothing of the request."""
    match error:
        case TimeoutError():
            return "timed out"
        case ClientConnectorDNSError():
            return "its name cannot be resolved"
        case ClientSSLError():
            return "no secure connection"
        case ClientConnectorError():
            return "refused" if isinstance(error.os_error, ConnectionRefusedError) else "unreachable"
        case _:
            return type(error).__name__
