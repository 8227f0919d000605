"""Bodies, read to a bound in size, time and memory, and JSON that cannot stall the loop.

What makes a parser slow is not length but the number of values: that is counted before anything is parsed, and a long
text is then parsed (and checked) in a thread. Of members named twice the last one counts, as in JavaScript.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import orjson
from aiohttp import web

from kling_relay.core.errors import BodyTimeout, InvalidRequest, TooLarge, Unavailable
from kling_relay.web.http.context import Limits

THREAD_FROM = 256 * 1024
"""Bytes from which a body is parsed in a thread."""
MAX_VALUES = 20_000
_BYTES = "bytes"


class Size(StrEnum):
    """Which limit holds for a path's body."""

    ORDER = "order"
    CALLBACK = "callback"
    OTHER = "other"


@contextmanager
def _counted(in_hand: Counter[str]) -> Iterator[list[int]]:
    """Give a list whose numbers count as bytes in hand until the end."""
    mine: list[int] = []
    try:
        yield mine
    finally:
        in_hand[_BYTES] -= sum(mine)


async def read_for(request: web.BaseRequest, size: Size, limits: Limits, in_hand: Counter[str]) -> bytes:
    """Return the body, within the limit of its kind of path. Raises TooLarge, TooSlow, Unavailable."""
    match size:
        case Size.CALLBACK:
            limit = limits.callback_bytes
        case Size.ORDER:
            limit = limits.order_bytes
        case _:
            limit = limits.body_bytes
    return await read(request, limit, limits.body_seconds, in_hand, limits.bytes_in_hand)


async def read(request: web.BaseRequest, limit: int, seconds: float, in_hand: Counter[str], max_in_hand: int) -> bytes:
    """Return the body. Raises TooLarge beyond `limit` bytes, TooSlow after `seconds`, Unavailable when all is full."""
    if in_hand[_BYTES] > max_in_hand:
        raise Unavailable("Too much is being uploaded at this moment. Try again.")
    content = request.content
    if content.is_eof() and content.exception() is None:  # it came with its head, as nearly all do: no clock is needed
        body = content.read_nowait()
        if len(body) > limit:
            raise TooLarge(f"The body is larger than {limit} bytes.")
        return body
    length = request.content_length
    if length is not None and length > limit:
        raise TooLarge(f"The body is larger than {limit} bytes.")
    if not request.body_exists:
        return b""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await _ask_for_it(request)
    chunks: list[bytes] = []
    size = 0
    with _counted(in_hand) as mine:
        try:
            async with asyncio.timeout(seconds):
                async for chunk in content.iter_any():
                    size += len(chunk)
                    if size > limit:
                        raise TooLarge(f"The body is larger than {limit} bytes.")
                    mine.append(len(chunk))
                    in_hand[_BYTES] += len(chunk)
                    chunks.append(chunk)
        except TimeoutError:
            raise BodyTimeout from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _ask_for_it(request: web.BaseRequest) -> None:
    """Say that the body may come: some clients wait for that before a large one, curl for a second, others for ever."""
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # it is no part of the answer, as aiohttp's own applications have it


def parse(body: bytes, max_depth: int) -> Any:
    """Return the JSON value in `body`. Raises InvalidRequest, also for NaN, lone surrogates, too many values."""
    if not body.strip():
        raise InvalidRequest("The body is empty; a JSON object is expected.")
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_VALUES:
        raise InvalidRequest(f"The body holds more than {MAX_VALUES} values.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    if body.count(b"[") + body.count(b"{") > max_depth and _is_deep(value, max_depth):
        raise InvalidRequest(f"The body is nested deeper than {max_depth} levels.")
    return value


def _is_deep(value: Any, max_depth: int) -> bool:
    level = [value]
    for _ in range(max_depth):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True
