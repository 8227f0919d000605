"""All code that relies on undocumented details of aiohttp; no other module does.

`tests/api/test_aiohttp_internals.py` checks each detail, so that a new release of aiohttp cannot break one unnoticed.
"""

import asyncio
import http
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast

from aiohttp import EMPTY_PAYLOAD, ClientConnectionResetError, HttpVersion10, HttpVersion11, web
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import BadStatusLine, HttpProcessingError, InvalidURLError, LineTooLong
from aiohttp.web_protocol import _ErrInfo
from typing_extensions import override

from kling_relay.web.http.headers import format_headers

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in http.HTTPStatus}
_READ_BYTES = 32 * 1024
_UNREAD_BYTES = 16 * 1024
"""Of a body that its handler does not read; aiohttp stops to read at twice as many."""
_BODILESS = frozenset({204, 304})
MAX_UNSENT = 8 * 1024
"""Bytes that wait in this process for a client to read: beyond them, nothing is written to it or read from it.

A small response costs twice its bytes while it waits."""
_PART = 32 * 1024
"""Bytes of a large body that are written at a time."""
_MAX_UNSENT_BY_KERNEL = 64 * 1024
"""Bytes that wait in the kernel and were not sent yet; without a limit they may be megabytes."""
MAX_PIPELINED = 4
"""Requests that are read before the one before them is answered."""
MAX_PIPELINED_BYTES = 16 * 1024
"""Bytes of further requests that may arrive behind those; more are nobody's honest work."""
MAX_HEAD = 64 * 1024
"""Bytes of a request's head, or four times the limit of one header if that is more."""


class Response:
    """A response whose head and body are written in one call.

    It has what aiohttp's server calls on a response (`prepare`, `write_eof`, `keep_alive`) and nothing else: aiohttp's
    own class can also stream, compress and set cookies, which takes a tenth of a callback's time. `headers` may change
    until the response is sent; `common` holds lines from `CommonHeaders`; Content-Length and Connection are added.
    """

    __slots__ = ("_is_last", "body", "common", "headers", "keep_alive", "status")

    def __init__(self, *, body: bytes = b"", status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.body = body
        self.status = status
        self.headers: dict[str, str] = dict(headers) if headers else {}
        self.common = ""
        self.keep_alive = False
        self._is_last = False

    def force_close(self) -> None:
        """Close the connection after this response."""
        self._is_last = True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send the response, and wait if the client reads slower than we write. Raises ConnectionError."""
        self.keep_alive = request.keep_alive and not self._is_last
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        head = self._head(request).encode()
        if request.method == "HEAD" or self.status in _BODILESS:
            transport.write(head)
        elif len(self.body) <= _PART:
            transport.write(head + self.body)
        else:
            await self._write_in_parts(request, transport, head)
        await request.writer.drain()

    async def _write_in_parts(self, request: web.BaseRequest, transport: asyncio.Transport, head: bytes) -> None:
        """Write no more than the client reads, and without a copy: many clients share the body of a file."""
        transport.write(head)
        body = memoryview(self.body)
        for start in range(0, len(body), _PART):
            await request.writer.drain()
            if transport.is_closing():
                raise ClientConnectionResetError("Cannot write to closing transport")
            transport.write(body[start : start + _PART])

    async def write_eof(self) -> None:
        """Do nothing: `prepare` has sent everything."""

    def _head(self, request: web.BaseRequest) -> str:
        length = "" if self.status in _BODILESS else f"Content-Length: {len(self.body)}\r\n"
        connection = ""
        if not self.keep_alive:
            connection = "Connection: close\r\n" if request.version >= HttpVersion11 else ""
        elif request.version == HttpVersion10:
            connection = "Connection: keep-alive\r\n"
        return f"{_STATUS_LINES[self.status]}{self.common}{format_headers(self.headers)}{length}{connection}\r\n"


class MalformedRequestError(Exception):
    """Bytes that are not HTTP. `reason` is one of `observer.MALFORMED`; the message repeats none of the bytes."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


_TLS = "Received HTTPS"
_HTTP_2 = "Pause on PRI"
_TOO_MANY = "Too many headers"
_ABOUT_LENGTH = ("content-length", "transfer-encoding", "chunk")


def malformed(error: HttpProcessingError) -> MalformedRequestError:
    """Return why aiohttp could not read a request, in our words: its own may repeat a header with a secret."""
    message = error.message
    if message.startswith(_TLS):
        return MalformedRequestError("tls", "this port does not speak TLS")
    if isinstance(error, LineTooLong) or message.startswith(_TOO_MANY):
        return MalformedRequestError("too_long", "its first line or a header is too long, or there are too many")
    if isinstance(error, BadStatusLine | InvalidURLError) or message.startswith(_HTTP_2):
        return MalformedRequestError("first_line", "its first line is not a method, a path and HTTP/1.1")
    if any(word in message.lower() for word in _ABOUT_LENGTH):
        return MalformedRequestError("body", "the length of its body is unclear")
    return MalformedRequestError("header", "a header is malformed, or Host is missing")


class ServerConnection(web.RequestHandler):
    """A connection of aiohttp's with our error responses and log lines, and with bounds on what it holds in memory.

    `resumes` counts how often the client read so much that writing went on.
    """

    __slots__ = ("_head_size", "_max_head", "resumes")

    def __init__(self, manager: web.Server, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(manager, loop=loop, **options)
        self.resumes = 0
        self._head_size = 0
        self._max_head = max(MAX_HEAD, 4 * self.max_field_size)
        self._max_msg_queue_size, self._msg_queue_resume_size = MAX_PIPELINED, MAX_PIPELINED // 2
        self._parser = HttpRequestParser(  # the one that aiohttp has made reads 32 requests ahead
            self,
            loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=MAX_PIPELINED,
        )

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=MAX_UNSENT)
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MAX_UNSENT_BY_KERNEL)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._pause_transport_reading()  # a client that does not read its responses need not send more requests

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        self.resumes += 1
        if not (self._reading_paused or self._buffer_paused):
            self._resume_transport_reading()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._current_request is None and not self._messages:  # between two requests: it is a part of a head
            self._head_size += len(data)
            if self._head_size > self._max_head:
                self._refuse_head()
            return
        self._head_size = 0
        if self._buffer_paused and len(data) > MAX_PIPELINED_BYTES and self.transport is not None:
            self.transport.abort()
        # aiohttp answers bytes that are not HTTP in their turn; a body that they belong to would wait for its timeout
        if self._messages and self._current_request is not None and isinstance(self._messages[-1][0], _ErrInfo):
            self._current_request.content.set_exception(web.RequestPayloadError("not HTTP"))

    def _refuse_head(self) -> None:
        self._head_size = 0
        too_long = LineTooLong(b"", self._max_head)
        self._messages.append((_ErrInfo(400, too_long, ""), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._close = True  # nothing more is read

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> Any:
        server: Any = self._manager
        if server is None or request.writer.output_size > 0:
            raise ConnectionError("the client is gone, or has a part of the response already")
        return server.refuse(malformed(exc) if isinstance(exc, HttpProcessingError) else exc or TimeoutError())

    @override
    def log_exception(self, *args: Any, **named: Any) -> None:
        if not isinstance(named.get("exc_info"), web.RequestPayloadError | ConnectionError):  # the client's own doing
            super().log_exception(*args, **named)


class _Reader(asyncio.BufferedProtocol):
    """Passes what arrives to a connection of aiohttp's, at most `_READ_BYTES` at a time.

    uvloop alone reads up to 256 KB, of all connections before any of them is handled: hundreds of megabytes at once.
    """

    __slots__ = ("_buffer", "_connection")

    def __init__(self, connection: web.RequestHandler, buffer: memoryview) -> None:
        """Readers may share one buffer: it is emptied before the next one reads."""
        self._connection = connection
        self._buffer = buffer

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self._connection.data_received(bytes(self._buffer[:nbytes]))

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.connection_made(transport)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    @override
    def pause_writing(self) -> None:
        self._connection.pause_writing()

    @override
    def resume_writing(self) -> None:
        self._connection.resume_writing()


class _Server(web.Server):
    """A server whose connections are ours; `refuse` makes the response to a request that no handler answers."""

    refuse: Callable[[BaseException], Response]
    buffer: memoryview

    @override
    def __call__(self) -> Any:
        return _Reader(ServerConnection(self, loop=self._loop, **self._kwargs), self.buffer)


class Takeover:
    """A response that has been sent in part; its connection belongs to `protocol` from then on, and not to aiohttp.

    What aiohttp has for the connection and the request (some 15 KB) goes.
    """

    status = 200
    keep_alive = False

    def __init__(self, protocol: asyncio.BufferedProtocol) -> None:
        """`protocol` hears at once of a connection that is lost already."""
        self._protocol = protocol

    async def prepare(self, request: web.BaseRequest) -> None:
        """Hand the connection over. Raises ConnectionError if it is lost."""
        connection, transport = request.protocol, request.transport
        if transport is None or transport.is_closing():
            self._protocol.connection_lost(None)
            raise ClientConnectionResetError("Cannot write to closing transport")
        is_paused = connection.writing_paused
        connection.transport = None  # or it would be closed
        connection.connection_lost(None)
        transport.set_protocol(self._protocol)
        transport.resume_reading()  # to learn when the client goes away
        self._protocol.connection_made(transport)
        if is_paused:
            self._protocol.pause_writing()

    async def write_eof(self) -> None:
        """Do nothing: the protocol ends the response."""


def make_server(
    handler: Callable[[web.BaseRequest], Awaitable[Response | web.StreamResponse | Takeover]],
    refuse: Callable[[BaseException], Response],
    **options: Any,
) -> web.Server:
    """Return aiohttp's low-level server around `handler`, which may return a `Response` of ours.

    `refuse` returns the response to a MalformedRequestError, or to an exception that left `handler`. Bodies are not
    decompressed: aiohttp would answer an encoding that it does not know itself, and close the connection for one that
    is damaged.
    """
    untyped: Any = handler
    server = _Server(untyped, read_bufsize=_UNREAD_BYTES, **options)
    server.refuse = refuse
    server.buffer = memoryview(bytearray(_READ_BYTES))
    return server


def open_connections(server: web.Server) -> Iterable[tuple[ServerConnection, asyncio.Transport]]:
    """Return a server's connections with their transports, also those that close once everything is sent."""
    connections: Any = server._connections  # noqa: SLF001 - a connection forgets its transport when it begins to close
    return cast("Iterable[tuple[ServerConnection, asyncio.Transport]]", connections.items())


def is_unused(connection: object) -> bool:
    """Return whether no request has arrived on a server's connection yet."""
    return getattr(connection, "_request_count", 1) == 0


async def send_continue(request: web.BaseRequest) -> None:
    """Tell a client that waits for "100 Continue" to send its body."""
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # these bytes are not part of the response


def keep_reading(request: web.BaseRequest, seconds: float) -> None:
    """After the response, read and drop the rest of the body for up to `seconds`; then close the connection.

    Most senders look for the response only when they have sent everything.
    """
    request.protocol._lingering_time = seconds  # noqa: SLF001 - a setting of the whole server
