"""Traces: the text `traceparent` (W3C Trace Context), by which spans of many processes and minutes are one.

A task keeps the text under which it was ordered; whatever happens to the task later happens under it.
"""

import re
from dataclasses import dataclass

_TEXT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
)
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class Trace:
    """A span's place: the trace it belongs to, its own number, and whether somebody records it."""

    trace: int
    span: int
    sampled: bool

    @property
    def text(self) -> str:
        """The `traceparent` that makes others this span's children."""
        return f"00-{self.trace:032x}-{self.span:016x}-{int(self.sampled):02x}"


def parse(text: str | None) -> Trace | None:
    """Return what a `traceparent` says, or None where it says nothing; §3.2 of the recommendation.

    A version to come may have more fields behind the four that are known; ours has none.
    """
    found = _TEXT.fullmatch((text or "").strip())
    if found is None or found["version"] == "ff" or (found["version"] == "00" and found["rest"]):
        return None
    trace, span = int(found["trace"], 16), int(found["span"], 16)
    return Trace(trace, span, bool(int(found["flags"], 16) & _SAMPLED)) if trace and span else None
