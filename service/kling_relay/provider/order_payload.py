"""An order as aiohttp writes it, which knows whether it may have left.

aiohttp holds the head back until there is a body to go with it. So an order whose first piece was not asked for has
not left, and one whose first piece was may have: `has_left` is set before that, and errs only on the safe side.
"""

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from typing_extensions import override

_PIECE = 64 * 1024
"""Bytes that are written at once, so that 30 MB do not hold up the loop."""


class OrderPayload(Payload):
    """One order's JSON, sent once."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body, content_type="application/json")
        self.has_left = False

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
        self.has_left = True
        for start in range(0, len(self._value), _PIECE):
            await writer.write(self._value[start : start + _PIECE])
