"""Redaction: keeps secrets out of the log, in fields, texts, tracebacks and nested values.

It hides fields with a secret's name, texts that look like a secret, and this process's own secrets. Whoever can put
text into a line must not be able to make it long or slow: a text is cut before it is searched, containers have few
items, and the time of a search is proportional to the text. The latter holds because every repetition in the pattern
is short, or is the end of a match, so that no character is looked at again and again.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

Item = TypeVar("Item")

HIDDEN = "[redacted]"
_NAMES = frozenset(
    {"authorization", "cookie", "body", "payload", "dsn", "database_url", "headers", "x_ptoken", "x_vtoken", "x_ctoken"}
)
_ENDINGS = ("secret", "secrets", "password", "passwd", "token", "key", "keys", "signature", "authorization", "cookie")
_TRUSTED = frozenset(
    {"at", "level", "route", "method", "status", "seconds", "request_id", "task", "trace", "outcome", "key_id"}
)
"""Fields that we make of numbers, ids and constants; they are not searched."""
_SHORT = 8
"""Shorter texts are not searched."""
_MAX_DEPTH = 6
MAX_TEXT = 4096
"""Characters of a text that are written; of a traceback it is MAX_TRACEBACK."""
MAX_TRACEBACK = 16_384
MAX_ITEMS = 50
"""Items of one container that are written, and items of all containers of one field together."""
_MARGIN = 1024
"""Characters after the cut that are searched too: a secret that the cut would halve has to be recognized."""
_TRACEBACK = "exception"
_CUT = "… ({} characters in all)"

SUSPICIOUS = r"""
      whsec_[A-Za-z0-9+/=_-]+
    | (?:(?i:bearer|basic)\s{1,20})[A-Za-z0-9._~+/=:-]{6,}
    | \bkr-[0-9a-f]{32}-[A-Za-z0-9_-]+
    | \bsk-[A-Za-z0-9_-]{8,}
    | \beyJ[A-Za-z0-9_.-]{10,}
    | (?<=/callbacks/)[0-9a-fA-F-]{32,36}/[A-Za-z0-9_-]+
    | (?<=://)[^/\s@]{1,500}(?=@)
    | (?i:(?:password|passwd|secret|token|api_?key|access_?key|secret_?key|signature|authorization)
        ["']?\s{0,20}[:=]\s{0,20}["']?(?:(?:bearer|basic)\s{1,20})?)[^\s"',;&)}\]]+
"""
"""What looks like a secret; a test checks that each of its repetitions is short, or ends the match."""
_SECRET = re.compile(SUSPICIOUS, re.VERBOSE)


class Redactor:
    """A processor for structlog. `secrets` are this process's own, which are removed wherever they occur."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        own_secrets = sorted({secret for secret in secrets if len(secret) >= _SHORT}, key=len, reverse=True)
        self._own_secrets = re.compile("|".join(map(re.escape, own_secrets))) if own_secrets else None
        self._longest = len(own_secrets[0]) if own_secrets else 0

    def __call__(self, _logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Return the line with every secret replaced, and with what is too long cut."""
        for name, value in line.items():
            if name not in _TRUSTED and value is not None:
                line[name] = HIDDEN if is_secret_name(name) else self._redact_field(name, value)
        return line

    def text(self, text: str, limit: int = MAX_TEXT) -> str:
        """Return the first `limit` characters of `text`, without what is or looks like a secret."""
        if len(text) <= limit:
            if self._own_secrets is not None:
                text = self._own_secrets.sub(HIDDEN, text)
            return _SECRET.sub(HIDDEN, text)
        start = text[: limit + _MARGIN + self._longest]
        if self._own_secrets is not None:
            start = _redacted_before(self._own_secrets, start, limit + _MARGIN)
        return _redacted_before(_SECRET, start, max(0, len(start) - _MARGIN)) + _CUT.format(len(text))

    def _redact_field(self, name: str, value: Any) -> Any:
        if isinstance(value, str):
            if len(value) < _SHORT:
                return value
            return self.text(value, MAX_TRACEBACK) if name == _TRACEBACK else self.text(value)
        return self._redact(value, _MAX_DEPTH, [MAX_ITEMS])

    def _redact(self, value: Any, depth: int, left: list[int]) -> Any:
        """Return a value without secrets; `left` is how many items the field may still have."""
        match value:
            case str():
                return value if len(value) < _SHORT else self.text(value)
            case None | bool() | int() | float() | UUID() | datetime():
                return value
            case bytes() | bytearray() | memoryview():
                return f"{len(value)} bytes"
            case Mapping() if depth:
                return {
                    self.text(str(key)): HIDDEN if is_secret_name(str(key)) else self._redact(inner, depth - 1, left)
                    for key, inner in _first(value.items(), left)
                }
            case list() | tuple() | set() | frozenset() if depth:
                return [self._redact(inner, depth - 1, left) for inner in _first(value, left)]
            case _:
                return self.text(str(value))


def _redacted_before(pattern: re.Pattern[str], text: str, end: int) -> str:
    """Return `text` up to `end` with every match replaced, also one that goes beyond it."""
    parts: list[str] = []
    position = 0
    for match in pattern.finditer(text):
        if match.start() >= end:
            break
        parts += text[position : match.start()], HIDDEN
        position = match.end()
    return "".join((*parts, text[position:end]))


def _first(items: Iterable[Item], left: list[int]) -> Iterator[Item]:
    """Yield items while the field may still have some."""
    for item in items:
        if left[0] <= 0:
            return
        left[0] -= 1
        yield item


def is_secret_name(name: str) -> bool:
    """Return whether a field with this name is or contains a secret."""
    plain = name.lower().replace("-", "_")
    return plain in _NAMES or plain.endswith(_ENDINGS)
