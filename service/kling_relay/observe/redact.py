"""Redaction: keeps secrets out of the log, in fields, texts, tracebacks and nested values.

It hides fields with a secret's name, texts that look like a secret, and this process's own secrets.
"""

import re
from collections.abc import Iterable, Mapping, MutableMapping
from datetime import datetime
from typing import Any
from uuid import UUID

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

_SECRET_PATTERN = re.compile(
    r"""
      whsec_[A-Za-z0-9+/=_-]+
    | (?:(?i:bearer|basic)\s+)[A-Za-z0-9._~+/=:-]{6,}
    | \bkr-[0-9a-f]{32}-[A-Za-z0-9_-]+
    | \bsk-[A-Za-z0-9_-]{8,}
    | \beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*
    | (?<=/callbacks/)[0-9a-fA-F-]{32,36}/[A-Za-z0-9_-]+
    | (?<=://)[^/\s@]+(?=@)
    | (?i:(?:password|passwd|secret|token|api_?key|access_?key|secret_?key|signature|authorization)
        ["']?\s*[:=]\s*["']?(?:(?:bearer|basic)\s+)?)[^\s"',;&)}\]]+
    """,
    re.VERBOSE,
)


class Redactor:
    """A processor for structlog. `secrets` are this process's own, which are removed wherever they occur."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        own_secrets = sorted({secret for secret in secrets if len(secret) >= _SHORT}, key=len, reverse=True)
        self._own_secrets = re.compile("|".join(map(re.escape, own_secrets))) if own_secrets else None

    def __call__(self, _logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Return the line with every secret replaced."""
        for name, value in line.items():
            if name not in _TRUSTED and value is not None:
                line[name] = HIDDEN if is_secret_name(name) else self._redact(value, 0)
        return line

    def text(self, text: str) -> str:
        """Return `text` without what is or looks like a secret."""
        if self._own_secrets is not None:
            text = self._own_secrets.sub(HIDDEN, text)
        return _SECRET_PATTERN.sub(HIDDEN, text)

    def _redact(self, value: Any, depth: int) -> Any:
        match value:
            case str():
                return value if len(value) < _SHORT else self.text(value)
            case None | bool() | int() | float() | UUID() | datetime():
                return value
            case bytes() | bytearray() | memoryview():
                return f"{len(value)} bytes"
            case Mapping() if depth < _MAX_DEPTH:
                return {
                    self.text(str(key)): HIDDEN if is_secret_name(str(key)) else self._redact(inner, depth + 1)
                    for key, inner in value.items()
                }
            case list() | tuple() | set() | frozenset() if depth < _MAX_DEPTH:
                return [self._redact(inner, depth + 1) for inner in value]
            case _:
                return self.text(str(value))


def is_secret_name(name: str) -> bool:
    """Return whether a field with this name is or contains a secret."""
    plain = name.lower().replace("-", "_")
    return plain in _NAMES or plain.endswith(_ENDINGS)
