"""HTTP on bare asyncio protocols, for stand-ins and load: as little work per request as Python allows."""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from typing import cast

from typing_extensions import override

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END = b"\r\n\r\n"


def split_message(buffer: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return the head, the body and the rest of a buffer that begins with a whole message, else None."""
    end = buffer.find(_END)
    if end < 0:
        return None
    head = buffer[: end + 2]
    length = _LENGTH.search(head)
    last = end + 4 + (int(length[1]) if length else 0)
    return (head, buffer[end + 4 : last], buffer[last:]) if len(buffer) >= last else None


class ServerProtocol(asyncio.Protocol):
    """One connection of a server. `answer` gets the head and returns the bytes to write, or a future of them."""

    def __init__(self, answer: "Callable[[bytes], bytes | asyncio.Future[bytes]]") -> None:
        self._answer = answer
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not its subclasses

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer and (message := split_message(self._buffer)):
            head, _, self._buffer = message
            answer = self._answer(head)
            if isinstance(answer, bytes):
                self._write(answer)
            else:
                answer.add_done_callback(lambda done: self._write(done.result()))

    def _write(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


class ClientProtocol(asyncio.Protocol):
    """One keep-alive connection of a client, with one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not its subclasses

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer and (message := split_message(self._buffer)):
            head, _, self._buffer = message
            self._waiting.popleft().set_result(int(head[9:12]))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        while self._waiting:
            self._waiting.popleft().set_exception(exc or ConnectionResetError())

    def call(self, request: bytes) -> "asyncio.Future[int]":
        """Write `request` and return a future of the answer's status."""
        if self._transport is None:
            raise ConnectionResetError
        status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(status)
        self._transport.write(request)
        return status
