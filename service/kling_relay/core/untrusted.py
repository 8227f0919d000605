"""Reads JSON and text from strangers: safe to read and to store, or refused as `UnreadableError`.

Nothing here raises anything else, however the bytes were made: deep nesting is seen before the parser meets it, NaN
and infinities read as null, and text loses what PostgreSQL cannot hold (NUL, halves of surrogate pairs).
"""

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

MAX_BYTES = 1024 * 1024
"""No body that we read here is larger."""
MAX_WAIT = 86_400.0
"""Seconds: a day is the longest that somebody may ask us to wait."""

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]+")


class UnreadableError(Exception):
    """The body does not say anything that we understand."""


def parse(body: bytes, depth: int = 32) -> Any:
    """Return the JSON value in `body`, with NaN and infinities as None; raise `UnreadableError` where there is none.

    Invalid UTF-8 becomes U+FFFD, a byte order mark and raw control characters inside strings are borne with. Whole
    numbers beyond 64 bits may come as floats, as in JavaScript.
    """
    if len(body) > MAX_BYTES:
        raise UnreadableError(f"larger than {MAX_BYTES} bytes")
    # Most bodies have fewer brackets than levels allowed: only the others are looked at closely.
    if body.count(b"[") + body.count(b"{") > depth and _depth(body) > depth:
        raise UnreadableError(f"nested deeper than {depth} levels")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass  # what it is too strict for, the other one bears with
    try:
        return _DECODER.decode(body.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        raise UnreadableError("not JSON") from None


def clean(text: str, max_bytes: int) -> str:
    """Return `text` without NUL and lone surrogates, cut to so many bytes of UTF-8 between two characters."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if text.isascii():
        return text[:max_bytes]
    # A character has at least one byte, so that the first slice keeps a huge text from being encoded whole.
    return text[:max_bytes].encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")


def identifier(value: Any, limit: int = 128) -> str | None:
    """Return an identifier: `value` as printable text without spaces and at most `limit` characters, else None."""
    if not isinstance(value, str):
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 10**limit:
            return None
        value = str(value)
    return value if 0 < len(value) <= limit and value.isprintable() and " " not in value else None


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Return the header `Retry-After`, in seconds or as an HTTP date, as seconds from `now`: from 0 to a day.

    None where there is none, or none that can be read.
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
