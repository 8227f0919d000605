"""Request bodies: read within bounds of size, time and memory, and parsed without stalling the event loop.

A JSON parser is slow for many values, not for many bytes. So the values are counted before parsing, and callers run
`parse` in a thread for bodies over LARGE, when it is their turn for copies (`flows/memory.py`). If a member appears
twice, the last one counts, as in JavaScript.
"""

import asyncio
import zlib
from enum import StrEnum
from typing import Any

import orjson
from aiohttp import StreamReader, web

from kling_relay.core.errors import BodyTimeout, InvalidRequest, TooLarge, Unavailable, UndecodableBody
from kling_relay.core.json_limits import has_long_wide_text, printable
from kling_relay.core.untrusted import to_utf8
from kling_relay.flows.memory import LARGE, OVERHEAD, BodyMemory, BodyShare, NoRoomError, Upload
from kling_relay.web.http.aiohttp_internals import keep_reading, send_continue
from kling_relay.web.http.context import RequestLimits

Body = bytes | bytearray
MAX_VALUES = 20_000
MAX_WIDE_TEXT = 64 * 1024
"""Bytes of a text with characters beyond ASCII: one such character makes a text four times as long in memory."""
ACCEPTED = "gzip, deflate"
"""The content encodings of bodies that are taken."""
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})
_MAX_EXPANSION = 1100
"""A byte of deflate is at most 1,032 bytes of content."""
_REFUSED_FOR = 15.0
"""Seconds for which a body that was refused for lack of room may go on, so that its sender sees the answer."""


class BodyLimit(StrEnum):
    """Which size limit applies to the body of a route."""

    ORDER = "order"
    CALLBACK = "callback"
    OTHER = "other"


async def read_body_of_route(
    request: web.BaseRequest, body_limit: BodyLimit, limits: RequestLimits, memory: BodyMemory, share: BodyShare
) -> Body:
    """Return the body of a request, decompressed, and count it in `share`.

    Raises TooLarge, BodyTimeout, Unavailable, UndecodableBody.
    """
    match body_limit:
        case BodyLimit.CALLBACK:
            max_bytes = limits.callback_bytes
        case BodyLimit.ORDER:
            max_bytes = limits.order_bytes
        case _:
            max_bytes = limits.body_bytes
    try:
        body = await read_body(request, max_bytes, limits.body_seconds, memory, share)
        if "Content-Encoding" in request.headers and body:
            encoding = ", ".join(request.headers.getall("Content-Encoding")).strip().lower()
            if encoding not in {"", "identity"}:
                async with memory.copying(2 * min(max_bytes, len(body) * _MAX_EXPANSION)):
                    body = await asyncio.to_thread(decode, bytes(body), encoding, max_bytes)
                share.resize(OVERHEAD + len(body))
    except NoRoomError:
        keep_reading(request, _REFUSED_FOR)
        raise Unavailable("Too many uploads are in progress. Try again soon.") from None
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
    request: web.BaseRequest, max_bytes: int, seconds: float, memory: BodyMemory, share: BodyShare
) -> Body:
    """Return the body of a request, and count its bytes in `share` as they arrive.

    A body that arrives in pieces is a bytearray: it grows in place, and can be emptied as soon as it is parsed. Raises
    TooLarge beyond `max_bytes`, BodyTimeout after `seconds`, NoRoomError.
    """
    content = request.content
    if content.is_eof() and content.exception() is None:  # most bodies arrive with their head: no timeout needed
        body = content.read_nowait()
        _check_size(body, max_bytes)
        share.resize(OVERHEAD + len(body))
        return body
    length = request.content_length
    if length is not None and length > max_bytes:
        raise _too_large(max_bytes)
    if not request.body_exists:
        return b""
    announced = max_bytes if length is None else length
    if length is not None:
        memory.check_room(OVERHEAD + length)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await send_continue(request)  # curl waits a second for it before a large body, other clients forever
    with memory.receiving(share, announced) as upload:
        received = await _receive(content, max_bytes, seconds, upload)
    share.resize(OVERHEAD + len(received))
    return received


async def _receive(content: StreamReader, max_bytes: int, seconds: float, upload: Upload) -> bytearray:
    received, chunk = bytearray(), b""
    try:
        async with asyncio.timeout(seconds) as deadline:
            upload.cut_off = lambda: None if deadline.expired() else deadline.reschedule(0.0)
            while chunk := await content.readany():
                received += chunk
                _check_size(received, max_bytes)
                upload.count(len(received))
    except BaseException as error:
        received.clear()  # the error's traceback may keep this frame until the next garbage collection
        chunk = b""
        if isinstance(error, TimeoutError):
            raise BodyTimeout from None
        raise
    return received


def _check_size(body: Body, max_bytes: int) -> None:
    if len(body) > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body is larger than {max_bytes} bytes.")


def parse(body: Body, max_depth: int, content_type: str | None = None) -> Any:
    """Return the JSON value in `body`, which may begin with a byte order mark or be in the Content-Type's charset.

    Raises InvalidRequest if it is not JSON (NaN and lone surrogates are not), has too many values, or is nested too
    deeply.
    """
    body = to_utf8(body, content_type)
    if not body or body.isspace():
        raise InvalidRequest("The body is empty; a JSON object is expected.")
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_VALUES:
        raise InvalidRequest(f"The body holds more than {MAX_VALUES} values.")
    if len(body) > LARGE and has_long_wide_text(body, MAX_WIDE_TEXT):
        raise InvalidRequest(f"The body holds a text of more than {MAX_WIDE_TEXT} bytes that is not ASCII.")
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
