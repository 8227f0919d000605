"""The overview's answer, as models; what the figures mean is said in `kling_relay.store.stats.tasks`."""

from typing import Literal

from pydantic import Field

from kling_relay.web.models.fields import Asked, Id
from kling_relay.web.models.responses import Shown


class OverviewAsked(Asked):
    span: Literal["hour", "day"] = "hour"
    subscription: Id | None = Field(None, description="only this one's deliveries")


class TaskFigures(Shown):
    """Tasks ordered in the span; latencies are from order to success."""

    ordered: int
    is_estimate: bool = Field(description="some bins were reckoned from a part of them")
    succeeded: int
    failed: int
    open: int = Field(description="not final at this moment")
    duration_p50_ms: float | None
    duration_p95_ms: float | None


class SubscriptionFigures(Shown):
    """Attempts made in the span; latencies are of those that delivered."""

    id: str
    attempts: int
    delivered: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    pending: int
    exhausted: int
    next_attempt_at: str | None


class DeliveryFigures(Shown):
    """Attempts made in the span, to all subscriptions together."""

    attempts: int
    delivered: int
    is_partial: bool = Field(description="a subscription had more attempts than are looked at: the newest are")
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    pending: int
    exhausted: int
    next_attempt_at: str | None


class SlotFigures(Shown):
    in_use: int = Field(description="slots at the provider that the caller's tasks hold")
    limit: int | None = Field(description="slots that the service has for everybody; null is without limit")


class SilentTask(Shown):
    task_id: str
    last_update_at: str


class Reason(Shown):
    reason: str
    count: int


class ErrorFigures(Shown):
    code: str = Field(description="an HTTP status, or why there was none: timeout, refused, dns, tls, reset, blocked")
    count: int


class Bin(Shown):
    """One part of the span; `open` and `pending` are as they were at its end."""

    at: str
    ordered: int
    is_estimate: bool
    succeeded: int
    failed: int
    open: int
    duration_p50_ms: float | None
    duration_p95_ms: float | None
    attempts: int
    delivered: int
    pending: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None


class Overview(Shown):
    """The caller's own figures over the last hour or day."""

    span: Literal["hour", "day"]
    since: str
    until: str
    bin_seconds: float
    tasks: TaskFigures
    deliveries: DeliveryFigures
    slots: SlotFigures
    stalest_task: SilentTask | None
    reasons: list[Reason]
    errors: list[ErrorFigures]
    bins: list[Bin]
    subscriptions: list[SubscriptionFigures]
