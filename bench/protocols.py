"""HTTP on bare asyncio protocols, for sinks and load: as little work per request as Python allows."""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from typing import cast

from typing_extensions import override

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END = b"\r\n\r\n"


def whole(buffer: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return head, body and the rest of a buffer that begins with a whole message of known length, else None."""
    end = buffer.find(_END)
    if end < 0:
        return None
    head = buffer[: end + 2]
    found = _LENGTH.search(head)
    last = end + 4 + (int(found[1]) if found else 0)
    return (head, buffer[end + 4 : last], buffer[last:]) if len(buffer) >= last else None


class Serving(asyncio.Protocol):
    """One connection of a server; `answer` gets the head and returns the bytes to write, now or by a future."""

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
        while self._buffer and (message := whole(self._buffer)):
            head, _, self._buffer = message
            said = self._answer(head)
            if isinstance(said, bytes):
                self._write(said)
            else:
                said.add_done_callback(lambda done: self._write(done.result()))

    def _write(self, said: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(said)


class Calling(asyncio.Protocol):
    """One keep-alive connection of a client, one request at a time."""

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
        while self._buffer and (message := whole(self._buffer)):
            head, _, self._buffer = message
            self._waiting.popleft().set_result(int(head[9:12]))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        while self._waiting:
            self._waiting.popleft().set_exception(exc or ConnectionResetError())

    def call(self, request: bytes) -> "asyncio.Future[int]":
        """Write `request` and return its answer's status, to be awaited."""
        if self._transport is None:
            raise ConnectionResetError
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._transport.write(request)
        return answer
