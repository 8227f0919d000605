"""A subscription: a subscriber's address, its secrets and the events that it gets; and the rules for its members.

Whether an address may be dialled is decided when it is dialled. Faults in its text are found here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from kling_relay.core.event import PATTERNS, BodyFormat

SHARDS = 256
"""The number of virtual shards that subscriptions hash to. Workers share the shards."""

DEFAULT_IN_FLIGHT = 10
MAX_IN_FLIGHT = 100
MAX_HEADERS = 20
MAX_HEADER_BYTES = 4096
MAX_DESCRIPTION = 500
_RESERVED_PREFIXES = ("webhook-", "content-")
_RESERVED_HEADERS = frozenset({"host", "connection", "transfer-encoding", "te", "upgrade", "traceparent"})
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


def _any_case(word: str) -> str:
    return "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in word)


HEADER_NAME = (
    f"^(?!{'|'.join(map(_any_case, _RESERVED_PREFIXES))}|(?:{'|'.join(map(_any_case, sorted(_RESERVED_HEADERS)))})$)"
    "[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
)
"""The valid names of extra headers, as a regular expression."""

HIDDEN = "[hidden]"
"""Replaces a value that may be a secret. A client that sends it back keeps the stored value."""
_SECRET_NAMES = ("auth", "token", "secret", "pass", "key", "cookie", "sign", "credential", "session", "jwt")
_SECRET_VALUES = ("bearer ", "basic ", "token ")
_MIN_SECRET = 4
"""Shorter values are not looked for in answers: they are in many texts."""


class Ordering(StrEnum):
    """`task`: a step of a task is sent only after the earlier ones are delivered or exhausted."""

    NONE = "none"
    TASK = "task"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionOptions:
    """What a client may choose about a subscription, except its headers, which are stored like secrets."""

    url: str
    events: tuple[str, ...] = ("*",)
    description: str = ""
    format: BodyFormat = BodyFormat.STANDARD
    ordering: Ordering = Ordering.NONE
    max_in_flight: int = DEFAULT_IN_FLIGHT


def shard_of(subscription: int) -> int:
    """Return the shard of a subscription, given its id as an integer."""
    return subscription % SHARDS


def header_faults(headers: Any) -> list[str]:
    """Return every fault of a subscription's extra headers, as sentences."""
    if not isinstance(headers, Mapping):
        return ["must be an object of header names and values"]
    faults = []
    if len(headers) > MAX_HEADERS:
        faults.append(f"must have at most {MAX_HEADERS} headers")
    if sum(len(str(name)) + len(str(text)) for name, text in headers.items()) > MAX_HEADER_BYTES:
        faults.append(f"must have at most {MAX_HEADER_BYTES} bytes in all")
    for name, text in headers.items():
        lower = str(name).lower()
        if not lower or not _TOKEN.issuperset(lower):
            faults.append(f"{name!r} is not a valid header name")
        elif lower in _RESERVED_HEADERS or lower.startswith(_RESERVED_PREFIXES):
            faults.append(f"{name} is set by the service")
        if not isinstance(text, str) or not text.isprintable() or not text.isascii():
            faults.append(f"{name} must have a printable ASCII value")
    return faults


def mask_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers as their client may read them: a name or a value that suggests a secret hides the value."""
    return {name: HIDDEN if _may_be_secret(name, text) else text for name, text in headers.items()}


def _may_be_secret(name: str, text: str) -> bool:
    return any(part in name.lower() for part in _SECRET_NAMES) or text.lower().startswith(_SECRET_VALUES)


def hide_values(answer: str, headers: Mapping[str, str]) -> str:
    """Return a subscriber's answer with HIDDEN in place of the values that `mask_headers` hides, if it repeats them.

    Each is also looked for as JSON writes it, and without its scheme (`Bearer`, `Basic`).
    """
    secrets = [text for name, text in headers.items() if _may_be_secret(name, text)]
    parts = {*secrets, *(text.partition(" ")[2] for text in secrets)}
    parts |= {json.dumps(part)[1:-1] for part in parts}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= _MIN_SECRET:
            answer = answer.replace(part, HIDDEN)
    return answer


def restore_hidden(headers: Mapping[str, str], stored_headers: Mapping[str, str]) -> dict[str, str] | list[str]:
    """Return `headers` with the stored value in place of every hidden one; or every fault, as sentences."""
    text_by_name = {name.lower(): text for name, text in stored_headers.items()}
    faults = [
        f"{name} must have a value: no stored value exists for {HIDDEN}"
        for name, text in headers.items()
        if text == HIDDEN and name.lower() not in text_by_name
    ]
    return faults or {name: text_by_name[name.lower()] if text == HIDDEN else text for name, text in headers.items()}


def event_faults(events: Any) -> list[str]:
    """Return every fault of an event filter, as sentences."""
    if not isinstance(events, list | tuple) or not events:
        return ["must be a list of at least one event type or pattern"]
    unknown = [str(event_type) for event_type in events if event_type not in PATTERNS]
    known_types = ", ".join(sorted(PATTERNS))
    return [f"must be known events, not {', '.join(unknown)} (known: {known_types})"] if unknown else []


def origin_of(url: str) -> str:
    """Return the scheme, host and port of `url` as one text. A URL that cannot be read is an origin of its own."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return url
    return f"{parts.scheme}://{(parts.hostname or '').rstrip('.')}:{port}"
