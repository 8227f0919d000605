"""One HTTP/1.1 connection: a small request goes out in one write, and its response is read leniently and within bounds.

A status that arrived is the response. Once a whole head with a final status is there, the request has a response,
whatever follows: bytes after a 204 or beyond Content-Length, a body that breaks off, or a head that llhttp refuses (two
Content-Lengths, bare line feeds). Such a connection is then closed. A request fails only if the connection ends, or
sends something else, before a whole head has arrived. The response says if its body may lack its end.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from typing_extensions import override

from kling_relay.outbound.http_response import MAX_HEAD, HTTPResponse, ends_with_connection, find_field, find_head

MAX_FIELDS = 256
"""Fields of a response's head, those of interim responses included."""
MAX_WRITE = 64 * 1024
"""Bytes of a body per write, so that 30 MB do not block the event loop."""


class ConnectionEndedError(ConnectionResetError):
    """The connection ended before a response; `is_untouched` if not one byte of a response had arrived."""

    def __init__(self, *, is_untouched: bool) -> None:
        super().__init__("the connection ended without a response")
        self.is_untouched = is_untouched


class NotHTTPError(Exception):
    """The other end does not speak HTTP/1, or its head is longer than the bound."""

    def __init__(self, *, is_untouched: bool = False) -> None:
        super().__init__("no HTTP response")
        self.is_untouched = is_untouched


class Owner(Protocol):
    """What keeps the connections."""

    def answered(self, connection: "Connection", *, is_reusable: bool) -> None: ...
    def ended(self, connection: "Connection") -> None: ...


class _HeadTooLongError(Exception):
    pass


class Connection(asyncio.Protocol):
    """One connection with at most one request under way. Its owner sets `idle_since` and `tick`."""

    __slots__ = (
        "_before_write",
        "_body",
        "_fields",
        "_has_head",
        "_head",
        "_head_bytes",
        "_is_complete",
        "_is_interim",
        "_is_paused",
        "_is_strict",
        "_keeps_alive",
        "_limit",
        "_loop",
        "_owner",
        "_parser",
        "_response",
        "_retry_after",
        "_size",
        "_status",
        "_unsent",
        "idle_since",
        "origin",
        "requests",
        "tick",
        "transport",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner, origin: Any, limit: int) -> None:
        """`limit` is in bytes of a response's body. The rest is not read."""
        self._loop = loop
        self._owner = owner
        self._limit = limit
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._response: asyncio.Future[HTTPResponse] | None = None
        self.transport: asyncio.Transport | None = None
        self.origin = origin
        self.requests = 0
        self.idle_since = 0.0
        self.tick = 0
        self._is_paused = False
        self._unsent: list[memoryview] = []
        self._before_write: Callable[[], None] | None = None
        self._reset()

    def _reset(self) -> None:
        self._status = 0
        self._retry_after: bytes | None = None
        self._head = b""
        self._head_bytes = 0
        self._fields = 0
        self._body = b""
        self._size = 0
        self._has_head = False
        self._is_interim = False
        self._is_complete = False
        self._is_strict = True
        self._keeps_alive = False

    @property
    def is_usable(self) -> bool:
        """Whether another request may go out."""
        return self.transport is not None and self._response is None and not self.transport.is_closing()

    def send(
        self,
        request: bytes,
        rest: Sequence[bytes | memoryview] = (),
        before_write: Callable[[], None] | None = None,
    ) -> "asyncio.Future[HTTPResponse]":
        """Write a request, and then the rest of its body, uncopied, whenever all before it has left this process.

        The future raises ConnectionEndedError or NotHTTPError if no response comes, and what `before_write` raises,
        which is called before each further write. A response that comes before all is written ends the writing.
        """
        if self.transport is None:
            raise ConnectionEndedError(is_untouched=True)
        response = self._response = self._loop.create_future()
        self.requests += 1
        if rest:
            self._before_write = before_write
            self._unsent = [memoryview(part) for part in reversed(rest)]
            self.transport.set_write_buffer_limits(high=1, low=0)  # with high=0, TLS pauses although all is written
        self.transport.write(request)
        if rest:
            self._write_rest()
        return response

    def _write_rest(self) -> None:
        while self._unsent and not self._is_paused:
            part = self._unsent.pop()
            if len(part) > MAX_WRITE:
                self._unsent.append(part[MAX_WRITE:])
                part = part[:MAX_WRITE]
            self._write_part(part)

    def _write_part(self, part: memoryview) -> None:
        try:
            if self._before_write is not None:
                self._before_write()
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
            self.fail(error)
        else:
            if self.transport is not None and not self.transport.is_closing():
                self.transport.write(part)

    def fail(self, error: Exception) -> None:
        """End the request under way with `error`, and the connection with it."""
        response, self._response = self._response, None
        if response is not None and not response.done():
            response.set_exception(error)
        self._unsent = []
        self.close()

    def close(self) -> None:
        """Close at once, without waiting for unsent bytes."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()

    # asyncio's side

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's is a Transport

    @override
    def pause_writing(self) -> None:
        self._is_paused = True

    @override
    def resume_writing(self) -> None:
        self._is_paused = False
        self._write_rest()

    @override
    def data_received(self, data: bytes) -> None:
        if self._response is None or self._parser is None:  # no request is under way
            self.close()
            return
        if not self._has_head:
            self._head += data
        if self._is_strict:
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade:
                self._is_strict = False
            except HttpParserError as error:
                self._is_strict = False
                if isinstance(error.__context__, _HeadTooLongError):
                    self.fail(NotHTTPError())
                    return
        if self._is_complete or self._size >= self._limit:
            self._answer(is_reusable=self._is_strict and self._keeps_alive)
        elif not self._is_strict:
            self._read_leniently()
        elif not self._has_head and len(self._head) > MAX_HEAD:
            self.fail(NotHTTPError())

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._response is not None:
            if self._has_head:
                is_cut_off = exc is not None or not self._is_strict or not ends_with_connection(self._head)
                self._answer(is_reusable=False, is_cut_off=is_cut_off)
            else:
                self.fail(ConnectionEndedError(is_untouched=not self._head))
        self._unsent = []
        self._parser = None
        self.transport = None
        self._owner.ended(self)

    # llhttp's side

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        self._fields += 1
        if self._head_bytes > MAX_HEAD or self._fields > MAX_FIELDS:
            raise _HeadTooLongError
        if len(name) == 11 and name.lower() == b"retry-after":
            self._retry_after = value

    def on_headers_complete(self) -> None:
        if self._is_complete or self._parser is None:  # a second response to one request
            return
        status = self._parser.get_status_code()
        self._is_interim = 100 <= status < 200 and status != 101
        if not self._is_interim:
            self._status, self._has_head = status, True

    def on_body(self, body: bytes) -> None:
        if not self._is_complete and self._size < self._limit:
            self._body += body
            self._size += len(body)

    def on_message_complete(self) -> None:
        if self._is_interim:
            self._is_interim = False
        elif self._is_complete:
            self._is_strict = False
        elif self._parser is not None:
            self._is_complete, self._keeps_alive = True, self._parser.should_keep_alive()

    # the answer

    def _read_leniently(self) -> None:
        """Take the status from a head that llhttp refused, once its end is there."""
        if self._has_head:
            self._answer(is_reusable=False, is_cut_off=True)
            return
        if not self._head.startswith(b"HTTP/"):
            # on a kept connection these bytes belong to the response before
            self.fail(NotHTTPError(is_untouched=self.requests > 1))
            return
        line, start, end = find_head(self._head)
        if line is None or (end is None and len(self._head) > MAX_HEAD):
            self.fail(NotHTTPError())
        elif end is not None:
            self._status = int(line[1])
            self._retry_after = find_field(self._head, b"retry-after", start, end)
            self._body = self._head[end:]
            self._answer(is_reusable=False, is_cut_off=True)

    def _answer(self, *, is_reusable: bool, is_cut_off: bool = False) -> None:
        response, self._response = self._response, None
        if response is not None and not response.done():
            retry_after = self._retry_after
            response.set_result(
                HTTPResponse(
                    self._status,
                    None if retry_after is None else retry_after.decode("latin-1").strip(),
                    self._body[: self._limit],
                    is_cut_off,
                    self._head,
                )
            )
        else:
            is_reusable = False
        if self._unsent:  # the other end answered before it read the whole request
            self._unsent, is_reusable = [], False
        self._reset()
        self._owner.answered(self, is_reusable=is_reusable)
