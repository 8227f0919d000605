"""Traces: the header `traceparent` (W3C Trace Context) joins spans of several processes into one trace.

A task keeps the header of its order, and everything that happens to the task later belongs to the same trace.
"""

import re
from dataclasses import dataclass

_TEXT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
)
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class Trace:
    """A span: its trace, its own id, and whether it is recorded."""

    trace: int
    span: int
    sampled: bool

    @property
    def text(self) -> str:
        """The `traceparent` that makes other spans children of this one."""
        return f"00-{self.trace:032x}-{self.span:016x}-{int(self.sampled):02x}"


def parse(text: str | None) -> Trace | None:
    """Return the span in a `traceparent`, or None if it is not valid (§3.2 of the recommendation).

    Later versions may have more fields after the four known ones; version 00 may not.
    """
    match = _TEXT.fullmatch((text or "").strip())
    if match is None or match["version"] == "ff" or (match["version"] == "00" and match["rest"]):
        return None
    trace, span = int(match["trace"], 16), int(match["span"], 16)
    return Trace(trace, span, bool(int(match["flags"], 16) & _SAMPLED)) if trace and span else None
