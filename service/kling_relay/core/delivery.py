"""A delivery is one event on its way to one subscription; an attempt is one POST of it; `settle` is the whole rule.

2xx is success, 410 ends the subscription, everything else (3xx too, never followed) is a failure that the schedule
answers. A circuit breaker keeps a subscriber that fails again and again from being offered its whole queue.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from kling_relay.core.schedule import Schedule

DISABLE_AFTER = timedelta(days=5)
"""A subscription with nothing but failures for so long is disabled."""

BREAK_AFTER = 5
"""Failures in a row after which a subscription is only probed."""

PROBE_WAITS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds between probes of a broken subscription."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberResponse:
    """What came of one attempt's POST.

    `status` is None where no answer came; then `error` says why ("timeout", "refused", "unreachable", "dns", "tls",
    "reset", "blocked", "protocol", with a detail after a colon that never names a resolved address).
    `retry_after` is in seconds, `latency` too; `body` is the first 16 KiB of the answer.
    """

    status: int | None
    error: str | None
    retry_after: float | None
    body: bytes
    latency: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one subscription; `attempt` counts the attempts already made."""

    subject: UUID
    sequence: int
    subscription: UUID
    attempt: int

    @property
    def text(self) -> str:
        """The delivery's id as the API shows it."""
        return f"{self.subject.hex}-{self.sequence}-{self.subscription.hex}"


def parse_delivery_id(text: str) -> Delivery | None:
    """Return the delivery that an id names (its attempts unknown: 0), or None where it is no such id."""
    parts = text.split("-")
    try:
        subject, sequence, subscription = parts
        found = Delivery(subject=UUID(subject), sequence=int(sequence), subscription=UUID(subscription), attempt=0)
    except ValueError:
        return None
    return found if 0 < found.sequence < 2**15 and found.text == text else None


@dataclass(frozen=True, slots=True)
class Delivered:
    """The subscriber has it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """It failed, and is tried again after `wait` seconds."""

    wait: float


@dataclass(frozen=True, slots=True)
class Exhausted:
    """It failed for the last time; a person may retry it."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The subscriber said 410: the subscription is disabled, the delivery rests."""


Verdict = Delivered | Retry | Exhausted | Gone


def settle(attempt: int, answer: SubscriberResponse, schedule: Schedule, jitter: float) -> Verdict:
    """Return what becomes of a delivery after attempt number `attempt` (from 1) got `answer`; `jitter` in [0, 1)."""
    if answer.status is not None and 200 <= answer.status < 300:
        return Delivered()
    if answer.status == 410:
        return Gone()
    wait = schedule.wait(attempt, jitter, answer.retry_after)
    return Exhausted() if wait is None else Retry(wait)


@dataclass(frozen=True, slots=True)
class SubscriptionHealth:
    """How a subscription answered of late: failures in a row, and since when there was nothing else."""

    failures: int = 0
    failing_since: datetime | None = None

    def after(self, verdict: Verdict, now: datetime) -> "SubscriptionHealth":
        """Return the health after one more verdict."""
        if isinstance(verdict, Delivered):
            return HEALTHY
        return SubscriptionHealth(self.failures + 1, self.failing_since or now)

    def probe_wait(self) -> float | None:
        """Return seconds until a broken subscription may be tried once, or None while it is not broken."""
        if self.failures < BREAK_AFTER:
            return None
        return PROBE_WAITS[min(self.failures - BREAK_AFTER, len(PROBE_WAITS) - 1)]

    def is_hopeless(self, now: datetime) -> bool:
        """Return whether five days of nothing but failures have passed."""
        return self.failing_since is not None and now - self.failing_since >= DISABLE_AFTER


HEALTHY = SubscriptionHealth()
