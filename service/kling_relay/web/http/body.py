"""Request bodies: read within bounds of size, time and memory, and parsed without stalling the event loop.

A JSON parser is slow for many values, not for many bytes. So the values are counted before parsing, and callers run
`parse` in a thread for bodies over THREAD_FROM. If a member appears twice, the last one counts, as in JavaScript.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import orjson
from aiohttp import web

from kling_relay.core.errors import BodyTimeout, InvalidRequest, TooLarge, Unavailable, UndecodableBody
from kling_relay.core.json_limits import printable
from kling_relay.core.untrusted import to_utf8
from kling_relay.web.http.aiohttp_internals import send_continue
from kling_relay.web.http.context import RequestLimits

THREAD_FROM = 256 * 1024
"""Bodies of more bytes than this are parsed in a thread."""
MAX_VALUES = 20_000
ACCEPTED = "gzip, deflate"
"""The content encodings of bodies that are taken."""
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})
_BYTES = "bytes"


class BodyLimit(StrEnum):
    """Which size limit applies to the body of a route."""

    ORDER = "order"
    CALLBACK = "callback"
    OTHER = "other"


async def read_body_of_route(
    request: web.BaseRequest, body_limit: BodyLimit, limits: RequestLimits, load: Counter[str]
) -> bytes:
    """Return the body of a request, decompressed. Raises TooLarge, BodyTimeout, Unavailable, UndecodableBody."""
    match body_limit:
        case BodyLimit.CALLBACK:
            max_bytes = limits.callback_bytes
        case BodyLimit.ORDER:
            max_bytes = limits.order_bytes
        case _:
            max_bytes = limits.body_bytes
    body = await read_body(request, max_bytes, limits.body_seconds, load, limits.total_body_bytes)
    if "Content-Encoding" in request.headers and body:
        encoding = ", ".join(request.headers.getall("Content-Encoding")).strip().lower()
        if encoding not in {"", "identity"}:
            return await asyncio.to_thread(decode, body, encoding, max_bytes)
    return body


def decode(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return a body without its Content-Encoding. Raises UndecodableBody, and TooLarge beyond `max_bytes`."""
    if encoding not in _ENCODINGS:
        name = printable(encoding)
        raise UndecodableBody(f"The Content-Encoding {name} is not supported; send {ACCEPTED}.", body, http_status=415)
    is_zlib = len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0
    bits = zlib.MAX_WBITS
    if encoding != "deflate":
        bits += 16  # a header of gzip
    elif not is_zlib:  # some clients send "deflate" without the header of zlib
        bits = -bits
    decompressor = zlib.decompressobj(bits)
    try:
        content = decompressor.decompress(body, max_bytes + 1)
    except zlib.error:
        content = b""
    if len(content) > max_bytes:
        raise _too_large(max_bytes)
    if not decompressor.eof:
        raise UndecodableBody(f"The body is not {encoding}, as its Content-Encoding says.", body, http_status=400)
    return content


async def read_body(
    request: web.BaseRequest, max_bytes: int, seconds: float, load: Counter[str], max_load: int
) -> bytes:
    """Return the body of a request.

    Raises TooLarge beyond `max_bytes`, BodyTimeout after `seconds`, Unavailable if all bodies being read together
    exceed `max_load` bytes.
    """
    if load[_BYTES] > max_load:
        raise Unavailable("Too many uploads are in progress. Try again soon.")
    content = request.content
    if content.is_eof() and content.exception() is None:  # most bodies arrive with their head: no timeout needed
        body = content.read_nowait()
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        return body
    length = request.content_length
    if length is not None and length > max_bytes:
        raise _too_large(max_bytes)
    if not request.body_exists:
        return b""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await send_continue(request)  # curl waits a second for it before a large body, other clients forever
    chunks: list[bytes] = []
    size = 0
    with _subtract_at_end(load) as sizes:
        try:
            async with asyncio.timeout(seconds):
                async for chunk in content.iter_any():
                    size += len(chunk)
                    if size > max_bytes:
                        raise _too_large(max_bytes)
                    sizes.append(len(chunk))
                    load[_BYTES] += len(chunk)
                    chunks.append(chunk)
        except TimeoutError:
            raise BodyTimeout from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


@contextmanager
def _subtract_at_end(load: Counter[str]) -> Iterator[list[int]]:
    """Yield a list of sizes that are subtracted from the load at the end."""
    sizes: list[int] = []
    try:
        yield sizes
    finally:
        load[_BYTES] -= sum(sizes)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body is larger than {max_bytes} bytes.")


def parse(body: bytes, max_depth: int, content_type: str | None = None) -> Any:
    """Return the JSON value in `body`, which may begin with a byte order mark or be in the Content-Type's charset.

    Raises InvalidRequest if it is not JSON (NaN and lone surrogates are not), has too many values, or is nested too
    deeply.
    """
    body = to_utf8(body, content_type)
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
    if body.count(b"[") + body.count(b"{") > max_depth and _is_deeper(value, max_depth):
        raise InvalidRequest(f"The body is nested deeper than {max_depth} levels.")
    return value


def _is_deeper(value: Any, max_depth: int) -> bool:
    level = [value]
    for _ in range(max_depth):
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return False
    return True
