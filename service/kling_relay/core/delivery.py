"""A delivery is one event on its way to one subscription, and an attempt is one POST of it.

`verdict_on` decides what follows an attempt: 2xx is success and 410 ends the subscription. Everything else is a failure
that the schedule retries; redirects are failures too and never followed. A circuit breaker probes a failing
subscriber instead of sending its whole queue.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from kling_relay.core.schedule import Schedule

DISABLE_AFTER = timedelta(days=5)
"""A subscription that fails for this long without one success is disabled."""

BREAK_AFTER = 5
"""After this many failures in a row, a subscription is only probed."""

MAX_ENDPOINT_AGE = 3.0
"""Seconds: no attempt uses the address and secrets of a subscription that were read longer ago.

So after this time a change of them is in force in every worker: `rotate-secret` answers only then.
"""

MAX_ATTEMPT = 32_767
"""Attempts of one delivery are counted up to this number; a later one takes the place of the last in the log."""

PROBE_WAITS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds between probes of a failing subscription."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberResponse:
    """A subscriber's response to one attempt.

    `status` is None if there was none. Then `error` is the reason: "timeout", "refused", "unreachable", "dns", "tls",
    "reset", "blocked" or "protocol", with a detail after a colon that never names a resolved address.
    `retry_after` and `latency` are in seconds; `body` is the first 16 KiB of the response.
    """

    status: int | None
    error: str | None
    retry_after: float | None
    body: bytes
    latency: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one subscription. `attempt` counts the attempts made before."""

    subject: UUID
    sequence: int
    subscription: UUID
    attempt: int

    @property
    def text(self) -> str:
        """The delivery's id as the API shows it."""
        return f"{self.subject.hex}-{self.sequence}-{self.subscription.hex}"


def parse_delivery_id(text: str) -> Delivery | None:
    """Return the delivery with this id, its `attempt` set to 0, or None if the text is not such an id."""
    parts = text.split("-")
    try:
        subject, sequence, subscription = parts
        delivery = Delivery(subject=UUID(subject), sequence=int(sequence), subscription=UUID(subscription), attempt=0)
    except ValueError:
        return None
    return delivery if 0 < delivery.sequence < 2**15 and delivery.text == text else None


@dataclass(frozen=True, slots=True)
class Delivered:
    """The subscriber has the event."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The attempt failed; the next one follows after `wait` seconds."""

    wait: float


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The last attempt failed; an operator may retry it."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The subscriber answered 410: the subscription is disabled and the delivery is not retried."""


Verdict = Delivered | Retry | Exhausted | Gone


def verdict_on(attempt: int, response: SubscriberResponse, schedule: Schedule, jitter: float) -> Verdict:
    """Return the verdict on a delivery after attempt number `attempt` (from 1); `jitter` is in [0, 1)."""
    if response.status is not None and 200 <= response.status < 300:
        return Delivered()
    if response.status == 410:
        return Gone()
    wait = schedule.wait(attempt, jitter, response.retry_after)
    return Exhausted() if wait is None else Retry(wait)


@dataclass(frozen=True, slots=True)
class SubscriptionHealth:
    """How a subscription responded lately: the failures in a row, and the time of the first of them."""

    failures: int = 0
    failing_since: datetime | None = None

    def after(self, verdict: Verdict, now: datetime) -> "SubscriptionHealth":
        """Return the health after one more verdict."""
        if isinstance(verdict, Delivered):
            return HEALTHY
        return SubscriptionHealth(self.failures + 1, self.failing_since or now)

    def probe_wait(self) -> float | None:
        """Return the seconds until a failing subscription may be probed, or None if the breaker is closed."""
        if self.failures < BREAK_AFTER:
            return None
        return PROBE_WAITS[min(self.failures - BREAK_AFTER, len(PROBE_WAITS) - 1)]

    def is_hopeless(self, now: datetime) -> bool:
        """Return whether the subscription has failed for DISABLE_AFTER."""
        return self.failing_since is not None and now - self.failing_since >= DISABLE_AFTER


HEALTHY = SubscriptionHealth()
