"""The retry schedule of a delivery: a list of waits with full jitter, and the subscriber's Retry-After."""

from dataclasses import dataclass

MAX_RETRY_AFTER = 86_400.0
"""Seconds; a longer Retry-After counts as one day."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The waits between attempts, in seconds. There is one more attempt than there are waits."""

    waits: tuple[float, ...]

    def wait(self, attempt: int, jitter: float, retry_after: float | None) -> float | None:
        """Return the seconds to wait after failed attempt number `attempt` (from 1), or None if it was the last.

        Full jitter: the wait is a random part of the listed one (`jitter` in [0, 1)), so that retries to a subscriber
        that comes back are spread. A Retry-After is honoured in full.
        """
        if attempt > len(self.waits):
            return None
        wait = self.waits[attempt - 1] * jitter
        return wait if retry_after is None else max(wait, min(retry_after, MAX_RETRY_AFTER))
