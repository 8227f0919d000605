"""Notes: what a request finds out on its way, for the one line that is written about it at its end.

They belong to the request's own task. A batch is many requests' work, so nothing that runs in one may note or be
logged with them.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

_NOTES: ContextVar[dict[str, Any] | None] = ContextVar("notes", default=None)


def begin(**fields: Any) -> None:
    """Begin a request's notes with these fields; the notes of the connection's last request are forgotten."""
    _NOTES.set(fields)


def note(**fields: Any) -> None:
    """Add to this request's notes; nothing happens outside a request."""
    notes = _NOTES.get()
    if notes is not None:
        notes.update(fields)


def noted() -> Mapping[str, Any]:
    """Return what was noted so far."""
    return _NOTES.get() or {}
