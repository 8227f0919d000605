"""What no order may contain wherever it hides: text that cannot be stored, numbers that cannot be sent, shapes
that only an attack has. Each is a named fault, never an exception; the shape is measured before anything recurses.
"""

import math
from collections.abc import Iterator

from kling_relay.core.errors import Fault

MAX_VALUES = 10_000
"""A body of Kling's has some dozen values; one with more keeps a CPU busy instead of making a picture."""
MAX_DEPTH = 16
_SHOWN = 64
_INT64 = range(-(2**63), 2**63)


def printable(text: str) -> str:
    """Return `text` shortened and escaped, so that it can stand in a message, a log line or a terminal."""
    short = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return short if short.isprintable() else ascii(short)[1:-1]


def find_fault(name: str, value: object) -> Fault | None:
    """Return the first thing inside the member `name` that must not be in an order, with its path, or None."""
    if says := _text_fault(name):
        return Fault(printable(name), f"has a name that {says}")
    if not isinstance(value, dict | list):
        return Fault(printable(name), says) if (says := _scalar_fault(value)) else None
    if says := _shape_fault(value):
        return Fault(printable(name), says)
    return next(_faults(printable(name), value), None)


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
            elif says := _text_fault(key):
                yield Fault(f"{path}.{printable(key)}", f"has a name that {says}")
            else:
                yield from _faults(f"{path}.{printable(key)}", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _faults(f"{path}[{index}]", item)
    elif says := _scalar_fault(value):
        yield Fault(path, says)


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
