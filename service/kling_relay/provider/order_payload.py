"""An order's body for aiohttp, which records whether the order may have left this machine, and stops if it is too late.

aiohttp holds the request's head back until the body is written. So an order whose body was never requested has not
left. `may_have_left` is set just before the first write, so it is never false by mistake.

`may_send` is asked before each write, the last of which completes the order: an incomplete one cannot be accepted. A
further write waits until this process holds nothing back of the writes before it.
"""

from collections.abc import Callable

from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_writer import StreamWriter
from aiohttp.payload import Payload
from typing_extensions import override

_CHUNK = 64 * 1024
"""Bytes per write, so that 30 MB do not block the event loop."""


class LateOrderError(Exception):
    """The order may not be sent any more."""


class OrderPayload(Payload):
    """The JSON of one order; it is sent once, and only as long as `may_send` returns true."""

    def __init__(self, body: bytes, may_send: Callable[[], bool]) -> None:
        super().__init__(body, content_type="application/json")
        self._may_send = may_send
        self.may_have_left = False
        self.is_late = False

    @property
    @override
    def size(self) -> int:
        return len(self._value)

    @property
    @override
    def autoclose(self) -> bool:
        return True

    @override
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self._value, encoding, errors)

    @override
    async def write(self, writer: AbstractStreamWriter) -> None:
        is_large = len(self._value) > _CHUNK
        if is_large and isinstance(writer, StreamWriter) and writer.transport is not None:
            writer.transport.set_write_buffer_limits(high=0)
        await self._write_part(writer, 0)
        for start in range(_CHUNK, len(self._value), _CHUNK):
            await writer.drain()
            await self._write_part(writer, start)

    async def _write_part(self, writer: AbstractStreamWriter, start: int) -> None:
        if not self._may_send():
            self.is_late = True
            raise LateOrderError
        self.may_have_left = True
        await writer.write(self._value[start : start + _CHUNK])
