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


def clock_finding(other: str, ahead: float) -> Finding:
    """Return the finding for a machine whose clock is ahead of another one by `ahead` seconds; negative: behind."""
    seconds = abs(ahead)
    if seconds < 2:
        return Finding("clock", CheckState.OK, f"within {max(seconds, 0.1):.1f} s of {other}")
    return Finding(
        "clock",
        CheckState.WARNING if seconds < 60 else CheckState.ERROR,
        f"this machine is {_length(seconds)} {'ahead of' if ahead > 0 else 'behind'} {other}",
        "Synchronise both clocks by NTP. The service goes by the database's: if that is wrong, so are days of budgets,"
        " signatures (valid for five minutes) and the provider's tokens.",
    )


def _length(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
