"""An order's body for aiohttp, which records whether the order may have left this machine.

aiohttp holds the request's head back until the body is written. So an order whose body was never requested has not
left. `may_have_left` is set just before the first write, so it is never false by mistake.
"""

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from typing_extensions import override

_CHUNK = 64 * 1024
"""Bytes per write, so that 30 MB do not block the event loop."""


class OrderPayload(Payload):
    """The JSON of one order; it is sent once."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body, content_type="application/json")
        self.may_have_left = False

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
        self.may_have_left = True
        for start in range(0, len(self._value), _CHUNK):
            await writer.write(self._value[start : start + _CHUNK])
