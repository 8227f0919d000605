"""A subscription: a subscriber's address, its secrets, and the events it wants; the rules for what may stand in one.

Whether an address may be dialled is judged when it is dialled; what can be seen from the text is refused here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kling_relay.core.event import PATTERNS, BodyFormat

SHARDS = 256
"""Subscriptions hash to so many virtual shards, which workers share."""

DEFAULT_IN_FLIGHT = 10
MAX_IN_FLIGHT = 100
MAX_HEADERS = 20
MAX_HEADER_BYTES = 4096
MAX_DESCRIPTION = 500
_OWN_FAMILIES = ("webhook-", "content-")
_OWN_HEADERS = frozenset({"host", "connection", "transfer-encoding", "te", "upgrade", "traceparent"})
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


def _any_case(word: str) -> str:
    return "".join(f"[{each.upper()}{each}]" if each.isalpha() else each for each in word)


HEADER_NAME = (
    f"^(?!{'|'.join(map(_any_case, _OWN_FAMILIES))}|(?:{'|'.join(map(_any_case, sorted(_OWN_HEADERS)))})$)"
    "[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
)
"""The names that extra headers may have, as a regular expression."""

HIDDEN = "[hidden]"
"""Shown in the place of a value that may be a secret; given back, it means the value that is there."""
_SECRET_NAMES = ("auth", "token", "secret", "pass", "key", "cookie", "sign", "credential", "session", "jwt")
_SECRET_VALUES = ("bearer ", "basic ", "token ")


class Ordering(StrEnum):
    """`task`: no later step of a task before an earlier one is delivered or exhausted."""

    NONE = "none"
    TASK = "task"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionOptions:
    """What a client may choose of a subscription, but for its headers, which are kept like secrets."""

    url: str
    events: tuple[str, ...] = ("*",)
    description: str = ""
    format: BodyFormat = BodyFormat.STANDARD
    ordering: Ordering = Ordering.NONE
    max_in_flight: int = DEFAULT_IN_FLIGHT


def shard_of(subscription: int) -> int:
    """Return the shard of a subscription's id given as an integer."""
    return subscription % SHARDS


def header_faults(headers: Any) -> list[str]:
    """Return every fault of a subscription's extra headers, as sentences."""
    if not isinstance(headers, Mapping):
        return ["must be an object of header names and values"]
    faults = []
    if len(headers) > MAX_HEADERS:
        faults.append(f"at most {MAX_HEADERS} headers")
    if sum(len(str(name)) + len(str(text)) for name, text in headers.items()) > MAX_HEADER_BYTES:
        faults.append(f"at most {MAX_HEADER_BYTES} bytes in all")
    for name, text in headers.items():
        lower = str(name).lower()
        if not lower or not _TOKEN.issuperset(lower):
            faults.append(f"{name!r} is no header name")
        elif lower in _OWN_HEADERS or lower.startswith(_OWN_FAMILIES):
            faults.append(f"{name} is ours to set")
        if not isinstance(text, str) or not text.isprintable() or not text.isascii():
            faults.append(f"{name} must have a printable ASCII value")
    return faults


def mask_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers as their client may see them again: what may be a secret is hidden, by its name or its value."""
    return {
        name: HIDDEN
        if any(part in name.lower() for part in _SECRET_NAMES) or text.lower().startswith(_SECRET_VALUES)
        else text
        for name, text in headers.items()
    }


def restore_hidden(asked: Mapping[str, str], kept: Mapping[str, str]) -> dict[str, str] | list[str]:
    """Return the headers asked for, each hidden value being the one that is kept; or every fault, as sentences."""
    known = {name.lower(): text for name, text in kept.items()}
    faults = [
        f"{name} must have a value: none is kept that {HIDDEN} could stand for"
        for name, text in asked.items()
        if text == HIDDEN and name.lower() not in known
    ]
    return faults or {name: known[name.lower()] if text == HIDDEN else text for name, text in asked.items()}


def event_faults(events: Any) -> list[str]:
    """Return every fault of an event filter, as sentences."""
    if not isinstance(events, list | tuple) or not events:
        return ["must be a list of at least one event type or pattern"]
    unknown = [str(kind) for kind in events if kind not in PATTERNS]
    known = ", ".join(sorted(PATTERNS))
    return [f"no such event: {', '.join(unknown)} (known: {known})"] if unknown else []
