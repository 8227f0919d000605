"""Finds what no order may contain: text that cannot be stored, numbers that cannot be sent, and extreme shapes.

Each is a fault with a path, never an exception. The shape is measured before anything recurses.
"""

import math
import re
from collections.abc import Iterator

from kling_relay.core.errors import Fault

MAX_VALUES = 10_000
"""A real order has a few dozen values. One with more only keeps a CPU busy."""
MAX_DEPTH = 16
_MAX_PRINTED = 64
_MAX_QUOTES = 5_000
"""Escaped quotes before a character beyond ASCII in one text; beyond that the text counts as long."""
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_WIDE_ESCAPE = re.compile(rb"\\u(?!00)")
_TEXT_END = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_INT64 = range(-(2**63), 2**63)


def printable(text: str) -> str:
    """Return `text` shortened and escaped, safe for a message, a log line or a terminal."""
    short = text if len(text) <= _MAX_PRINTED else text[:_MAX_PRINTED] + "…"
    return short if short.isprintable() else ascii(short)[1:-1]


def find_fault(name: str, value: object) -> Fault | None:
    """Return the first fault inside the member `name`, with its path, or None."""
    if detail := _text_fault(name):
        return Fault(printable(name), f"has a name that {detail}")
    if not isinstance(value, dict | list):
        return Fault(printable(name), detail) if (detail := _scalar_fault(value)) else None
    if detail := _shape_fault(value):
        return Fault(printable(name), detail)
    return next(_faults(printable(name), value), None)


def has_long_wide_text(body: bytes | bytearray, max_bytes: int) -> bool:
    """Return whether a text in the JSON `body` has characters beyond ASCII and more than about `max_bytes` bytes.

    Takes some milliseconds for 30 MB: it looks only around such characters.
    """
    start = 0
    marks = [_next_mark(pattern, body, start) for pattern in (_NOT_ASCII, _WIDE_ESCAPE)]
    while (mark := min(marks)) < len(body):
        end = _TEXT_END.match(body, mark, mark + max_bytes)
        if end is None or not _begins_within(body, mark, max_bytes):
            return True
        start = end.end()
        marks = [
            place if place >= start else _next_mark(pattern, body, start)
            for pattern, place in zip((_NOT_ASCII, _WIDE_ESCAPE), marks, strict=True)
        ]
    return False


def _next_mark(pattern: re.Pattern[bytes], body: bytes | bytearray, start: int) -> int:
    match = pattern.search(body, start)
    return match.start() if match else len(body)


def _begins_within(body: bytes | bytearray, place: int, max_bytes: int) -> bool:
    """Return whether the text around `place` begins at most `max_bytes` before it."""
    low, quote = max(0, place - max_bytes), place
    for _ in range(_MAX_QUOTES):
        quote = body.rfind(b'"', low, quote)
        if quote < 0:
            return False
        backslashes = quote
        while backslashes > low and body[backslashes - 1] == 0x5C:
            backslashes -= 1
        if (quote - backslashes) % 2 == 0:
            return True
    return False


def _shape_fault(value: dict[object, object] | list[object]) -> str | None:
    level: list[object] = [value]
    values = 0
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict | list):
                values += len(item)
                if values > MAX_VALUES:
                    return f"holds more than {MAX_VALUES} values"
                inner += item.values() if isinstance(item, dict) else item
        if not inner:
            return None
        level = inner
    return f"is nested deeper than {MAX_DEPTH} levels"


def _faults(path: str, value: object) -> Iterator[Fault]:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                yield Fault(path, "has a member whose name is not text")
            elif detail := _text_fault(key):
                yield Fault(f"{path}.{printable(key)}", f"has a name that {detail}")
            else:
                yield from _faults(f"{path}.{printable(key)}", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _faults(f"{path}[{index}]", item)
    elif detail := _scalar_fault(value):
        yield Fault(path, detail)


def _scalar_fault(value: object) -> str | None:
    match value:
        case str():
            return _text_fault(value)
        case None | bool():
            return None
        case int():
            return None if value in _INT64 else "is a number beyond 64 bits"
        case float():
            return None if math.isfinite(value) else "is not a finite number"
        case _:
            return "is not a JSON value"


def _text_fault(text: str) -> str | None:
    if "\x00" in text:
        return "contains a NUL character"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "contains half of a surrogate pair, which is not a character"
    return None
