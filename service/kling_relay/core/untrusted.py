"""Reads JSON and text from untrusted senders. The result is safe to store; anything else raises `UnreadableError`.

No input raises another exception. Deep nesting is detected before parsing, NaN and infinities read as null, and text
loses what PostgreSQL cannot store (NUL, halves of surrogate pairs).
"""

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

MAX_BYTES = 1024 * 1024
"""The largest body that is read."""
MAX_WAIT = 86_400.0
"""Seconds; a longer Retry-After counts as one day."""

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]+")


class UnreadableError(Exception):
    """The body has no meaning that we know; the message says why."""


def parse_json(body: bytes, depth: int = 32) -> Any:
    """Return the JSON value in `body`, with NaN and infinities as None. Raises `UnreadableError` if it is not JSON.

    Invalid UTF-8 becomes U+FFFD. A byte order mark and raw control characters inside strings are accepted. Whole
    numbers beyond 64 bits may become floats, as in JavaScript.
    """
    if len(body) > MAX_BYTES:
        raise UnreadableError(f"larger than {MAX_BYTES} bytes")
    # Most bodies have fewer brackets than allowed levels; only the others are measured.
    if body.count(b"[") + body.count(b"{") > depth and _depth(body) > depth:
        raise UnreadableError(f"nested deeper than {depth} levels")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass  # orjson is stricter; fall back to the standard library
    try:
        return _DECODER.decode(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        raise UnreadableError("not JSON") from None


def clean(text: str, max_bytes: int) -> str:
    """Return `text` without NUL and lone surrogates, cut between characters to at most `max_bytes` of UTF-8."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if text.isascii():
        return text[:max_bytes]
    # A character has at least one byte, so the first slice avoids encoding the whole of a huge text.
    return text[:max_bytes].encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")


def identifier(value: Any, limit: int = 128) -> str | None:
    """Return `value` as an identifier (printable text of at most `limit` characters without spaces), or None."""
    if not isinstance(value, str):
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 10**limit:
            return None
        value = str(value)
    return value if 0 < len(value) <= limit and value.isprintable() and " " not in value else None


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Return the header `Retry-After` (seconds or an HTTP date) as seconds from `now`, between 0 and a day.

    Returns None if the header is missing or cannot be read.
    """
    header = (header or "").strip()
    if not header or len(header) > 64:
        return None
    if header.isascii() and header.isdigit():
        return min(float(header), MAX_WAIT)
    try:
        at = parsedate_to_datetime(header)
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(wait.total_seconds(), 0.0), MAX_WAIT)


def _depth(body: bytes) -> int:
    """Return the deepest nesting of brackets outside strings."""
    max_depth = level = 0
    for run in _BRACKETS.findall(_STRINGS.sub(b"", body)):
        for bracket in run:
            level += 1 if bracket in b"[{" else -1
            max_depth = max(max_depth, level)
    return max_depth


def _no_number(_: str) -> None:
    return None


_DECODER = json.JSONDecoder(strict=False, parse_constant=_no_number)
