"""When a failed delivery is tried again: a list of waits, full jitter, and the subscriber's own Retry-After."""

from dataclasses import dataclass

MAX_RETRY_AFTER = 86_400.0
"""Seconds; a Retry-After beyond a day is taken as a day."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Waits between attempts in seconds; one attempt more than there are waits is made."""

    waits: tuple[float, ...]

    def wait(self, attempt: int, jitter: float, retry_after: float | None) -> float | None:
        """Return the seconds to wait after failed attempt number `attempt` (from 1), or None when it was the last.

        Full jitter: somewhere between nothing and the listed wait (`jitter` in [0, 1)), so that a subscriber that
        comes back is not met by everybody at once. A Retry-After is a promise asked for and is kept in full.
        """
        if attempt > len(self.waits):
            return None
        wait = self.waits[attempt - 1] * jitter
        return wait if retry_after is None else max(wait, min(retry_after, MAX_RETRY_AFTER))
