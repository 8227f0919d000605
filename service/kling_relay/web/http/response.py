"""A response whose bytes are all there, written in one go: head and body, with a head that is joined, not built.

It is what aiohttp's server asks of a response (`prepare`, `write_eof`, `keep_alive`) and nothing more; its own
responses can stream, compress and set cookies, and take a tenth of a callback's time for not doing so.
"""

import http
from collections.abc import Mapping
from datetime import datetime
from email.utils import formatdate

from aiohttp import ClientConnectionResetError, HttpVersion10, HttpVersion11, web

_START = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in http.HTTPStatus}
_BODILESS = frozenset({204, 304})


def lines(headers: Mapping[str, str]) -> str:
    """Return headers as they stand in a head. Raises ValueError where one could end its line, or begin the next."""
    if not "".join([*headers, *headers.values()]).isprintable():
        raise ValueError("a header holds a control character")
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


class Common:
    """The headers that all answers of a kind have, as lines; their Date is written once a second."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._lines = lines(headers)
        self._second = -1
        self._dated = ""

    def at(self, now: datetime) -> str:
        """Return the lines of an answer to a request that came `now`."""
        second = int(now.timestamp())
        if second != self._second:
            self._second = second
            self._dated = self._lines + lines({"Date": formatdate(second, usegmt=True)})
        return self._dated


class Response:
    """One answer; `headers` may be added to until it is sent, Content-Length and Connection are its own.

    `common` are lines of headers (`Common.at`).
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
        """Let this be the last answer on its connection."""
        self._is_last = True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send it, and wait where its reader is slower than what was written for it. Raises ConnectionError."""
        self.keep_alive = request.keep_alive and not self._is_last
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        head = self._head(request).encode()
        transport.write(head if request.method == "HEAD" or self.status in _BODILESS else head + self.body)
        await request.writer.drain()

    async def write_eof(self) -> None:
        """Do nothing more: all of it was sent."""

    def _head(self, request: web.BaseRequest) -> str:
        length = "" if self.status in _BODILESS else f"Content-Length: {len(self.body)}\r\n"
        connection = ""
        if not self.keep_alive:
            connection = "Connection: close\r\n" if request.version >= HttpVersion11 else ""
        elif request.version == HttpVersion10:
            connection = "Connection: keep-alive\r\n"
        start = _START[self.status]
        return f"{start}{self.common}{lines(self.headers)}{length}{connection}\r\n"
