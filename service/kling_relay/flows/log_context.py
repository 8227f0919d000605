"""Fields that a request collects on its way, for the one log line that is written at its end.

They belong to the request's own asyncio task. A batch does the work of many requests, so code that runs in a batch
must neither add fields nor log with them.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

_FIELDS: ContextVar[dict[str, Any] | None] = ContextVar("log_fields", default=None)


def start(**fields: Any) -> None:
    """Start a request with these fields, and drop those of the connection's last request."""
    _FIELDS.set(fields)


def add(**fields: Any) -> None:
    """Add fields to the current request. Does nothing outside a request."""
    current = _FIELDS.get()
    if current is not None:
        current.update(fields)


def current_fields() -> Mapping[str, Any]:
    """Return the fields of the current request so far."""
    return _FIELDS.get() or {}
