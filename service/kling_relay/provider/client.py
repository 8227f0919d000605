"""Orders to the provider, and questions about them; what comes back is judged by core.submission.

A POST is never repeated here. It counts as sent from the moment it is handed to a connection (`OrderPayload`): what
fails before that surely was not taken, what fails after it is unknown, a connection found dead when used included.
"""

from collections.abc import Mapping
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
from kling_relay.core.untrusted import UnreadableError, retry_after_seconds
from kling_relay.provider.dialects import OWN_FIELDS, Dialect, credential
from kling_relay.provider.order_payload import OrderPayload

MAX_ANSWER = 1024 * 1024
"""Bytes of an answer that are read; a longer one is not understood."""
_MAX_PACK = timedelta(days=400)
"""Packs are listed by when they were bought; an annual one may be that old."""
_FAULTS = (ClientError, OSError, ValueError, RuntimeError)


class Provider:
    """The provider in one dialect. Start it inside the event loop that uses it; times are in seconds."""

    def __init__(
        self,
        *,
        url: str,
        key: str,
        dialect: Dialect,
        submit_timeout: float = 60.0,
        ask_timeout: float = 15.0,
        max_answer: int = MAX_ANSWER,
        connect_timeout: float = 10.0,
        connections: int = 100,
        keepalive: float = 4.0,
    ) -> None:
        """`keepalive` is short, because a connection that dies idle turns the next order into an unknown one."""
        self._base = url.rstrip("/") + dialect.prefix
        self._root = self._base + "/v1/"
        self._dialect = dialect
        self._doors: dict[str, URL] = {}
        self._credential = credential(dialect, key)
        self._submit_timeout = ClientTimeout(total=submit_timeout, connect=connect_timeout)
        self._most_answer = max_answer
        self._ask_timeout = ClientTimeout(total=ask_timeout, connect=connect_timeout)
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
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def order_body(self, fields: Mapping[str, Any]) -> bytes:
        """Return the JSON of an order as it is kept until it is sent: without hook and ids, which `submit` adds."""
        return orjson.dumps({name: value for name, value in fields.items() if name not in OWN_FIELDS})

    async def submit(
        self, operation_path: str, body: bytes, task: UUID, hook: str, now: datetime, trace: str | None = None
    ) -> SubmitOutcome:
        """Give the provider the order in `body` (of `order_body`) once; `operation_path` as "videos/text2video".

        `trace` is the traceparent that goes along.
        """
        order = OrderPayload(self._complete(body, task, hook))
        headers = self._headers(now)
        if trace:
            headers["traceparent"] = trace
        try:
            async with self._open().post(
                self._operation(operation_path),
                data=order,
                headers=headers,
                timeout=self._submit_timeout,
                allow_redirects=False,
            ) as response:
                answer = await _bounded(response, self._most_answer)
                return read_submit_response(
                    response.status, answer, retry_after_seconds(response.headers.get("Retry-After"), now)
                )
        except _FAULTS as fault:
            if order.has_left:
                return Unknown(f"the provider's answer was lost: {_says(fault)}")
            return RetryLater(0, f"no connection to the provider: {_says(fault)}")

    async def ask(
        self, operation_path: str, provider_task_id: str | None, task: UUID, now: datetime, trace: str | None = None
    ) -> PollResult:
        """Return what the provider knows of a task: by its own id, or by ours where it gave none.

        "No such task" to our own id counts only in a dialect that surely knows our ids. `trace` is the traceparent
        that goes along.
        """
        name = quote(provider_task_id or str(task), safe="")
        headers = self._headers(now) | ({"traceparent": trace} if trace else {})
        try:
            async with self._open().get(
                URL(f"{self._root}{operation_path}/{name}", encoded=True),
                headers=headers,
                timeout=self._ask_timeout,
                allow_redirects=False,
            ) as response:
                finding = read_poll_response(response.status, await _bounded(response, self._most_answer))
        except _FAULTS as fault:
            return NoAnswer(f"the provider does not answer: {_says(fault)}")
        match finding:
            case NoSuchTask() if provider_task_id is None and not self._dialect.knows_external_id:
                return NoAnswer("the provider does not know our id, and may never have been told it")
            case Signal() | NoSuchTask() | NoAnswer():
                return finding
        assert_never(finding)

    async def packs(self, now: datetime) -> list[ResourcePack] | NoAnswer:
        """Return the account's resource packs of the last 400 days, or why they are not known."""
        if not self._dialect.tells_costs:
            return NoAnswer(f"the dialect {self._dialect.name} has no account to ask")
        since, until = milliseconds(now - _MAX_PACK), milliseconds(now)
        try:
            async with self._open().get(
                URL(f"{self._base}/account/costs?start_time={since}&end_time={until}", encoded=True),
                headers=self._headers(now),
                timeout=self._ask_timeout,
                allow_redirects=False,
            ) as response:
                return read_packs(await _bounded(response, self._most_answer))
        except UnreadableError as fault:
            return NoAnswer(f"the account's answer cannot be read: {fault}")
        except _FAULTS as fault:
            return NoAnswer(f"the provider does not answer: {_says(fault)}")

    def _complete(self, body: bytes, task: UUID, hook: str) -> bytes:
        """Return the order with hook and id set in behind its last member, without reading it again."""
        ours = dict.fromkeys(self._dialect.hook_fields, hook)
        if self._dialect.sends_external_id:
            ours["external_task_id"] = str(task)
        rest = orjson.dumps(ours)[1:]
        return b"".join((body[:-1], b"," if len(body) > 2 and len(rest) > 1 else b"", rest))

    def _operation(self, path: str) -> URL:
        """Return a door's address; the few there are are read once."""
        if (url := self._doors.get(path)) is None:
            url = self._doors[path] = URL(self._root + path, encoded=True)
        return url

    def _headers(self, now: datetime) -> dict[str, str]:
        return {"Authorization": self._credential.authorization(now)}

    def _open(self) -> ClientSession:
        if self._session is None:
            raise RuntimeError("the provider's client is not started")
        return self._session


async def _bounded(response: ClientResponse, limit: int) -> bytes:
    """Return the answer's body; of one that is too long the beginning, which nothing will understand."""
    content = response.content
    parts, size = [], 0
    while not content.at_eof():
        part = await content.readany()
        parts.append(part)
        size += len(part)
        if size > limit:
            response.close()
            break
    return b"".join(parts)[:limit]


def _says(fault: Exception) -> str:
    """Return what went wrong in words that hold nothing of the request."""
    match fault:
        case TimeoutError():
            return "timed out"
        case ClientConnectorDNSError():
            return "its name cannot be resolved"
        case ClientSSLError():
            return "no secure connection"
        case ClientConnectorError():
            return "refused" if isinstance(fault.os_error, ConnectionRefusedError) else "unreachable"
        case _:
            return type(fault).__name__
