"""What the doctor finds: a word, a sentence, and what to do."""

from dataclasses import dataclass
from enum import StrEnum


class CheckState(StrEnum):
    """`good`; `poor` works, but is seldom meant; `bad` does not work."""

    GOOD = "good"
    POOR = "poor"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found, and what to do unless it is good."""

    about: str
    state: CheckState
    detail: str
    advice: str = ""


def clock(whose: str, apart: float) -> Finding:
    """Judge a clock that is `apart` seconds from ours."""
    if apart < 2:
        return Finding("clock", CheckState.GOOD, f"within {max(apart, 0.1):.1f} s of that of {whose}")
    advice = "Set both by NTP: signatures hold for five minutes only, tokens of the provider for seconds."
    return Finding(
        "clock", CheckState.POOR if apart < 60 else CheckState.BAD, f"{apart:.0f} s apart from that of {whose}", advice
    )
