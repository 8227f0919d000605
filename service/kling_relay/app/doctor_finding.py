"""A finding of the doctor: a state, a sentence, and advice."""

from dataclasses import dataclass
from enum import StrEnum


class CheckState(StrEnum):
    """The state of a check. A `warning` works, but is seldom intended; an `error` does not work."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, with advice unless it is ok."""

    check: str
    state: CheckState
    detail: str
    advice: str = ""


def clock_finding(other: str, seconds: float) -> Finding:
    """Return the finding for a clock that differs from ours by `seconds`."""
    if seconds < 2:
        return Finding("clock", CheckState.OK, f"within {max(seconds, 0.1):.1f} s of {other}")
    return Finding(
        "clock",
        CheckState.WARNING if seconds < 60 else CheckState.ERROR,
        f"{seconds:.0f} s apart from {other}",
        "Synchronise both clocks by NTP: signatures are valid for five minutes, the provider's tokens for less.",
    )
