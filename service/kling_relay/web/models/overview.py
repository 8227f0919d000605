"""The query and response of /v1/overview; `kling_relay.store.stats.tasks` says how the figures are obtained."""

from typing import Literal

from pydantic import Field

from kling_relay.web.models.fields import Id, RequestModel, ResponseModel


class OverviewQuery(RequestModel):
    span: Literal["hour", "day"] = "hour"
    subscription: Id | None = Field(None, description="only deliveries of this subscription")


class TaskStatsResponse(ResponseModel):
    """Tasks ordered in the span; durations are from order to success."""

    ordered: int
    is_estimate: bool = Field(description="whether a bin had too many tasks to count them all")
    succeeded: int
    failed: int
    open: int = Field(description="tasks that are not final now")
    duration_p50_ms: float | None
    duration_p95_ms: float | None


class SubscriptionStatsResponse(ResponseModel):
    """Attempts in the span for one subscription; latencies are those of successful attempts."""

    id: str
    attempts: int
    delivered: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    pending: int
    exhausted: int
    next_attempt_at: str | None


class DeliveryStatsResponse(ResponseModel):
    """Attempts in the span for all subscriptions together."""

    attempts: int
    delivered: int
    is_partial: bool = Field(description="whether a subscription had too many attempts to count all but the newest")
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    pending: int
    exhausted: int
    next_attempt_at: str | None


class SlotStatsResponse(ResponseModel):
    """Places for tasks in flight at the provider."""

    in_use: int = Field(description="slots that the caller's tasks use")
    limit: int | None = Field(description="slots of the whole service; null means without limit")


class StalestTaskResponse(ResponseModel):
    """The open task that has been without news for longest."""

    task_id: str
    last_update_at: str


class FailureReasonResponse(ResponseModel):
    reason: str
    count: int


class DeliveryErrorResponse(ResponseModel):
    code: str = Field(description="an HTTP status, or timeout, refused, dns, tls, reset, blocked if there was none")
    count: int


class BinResponse(ResponseModel):
    """One part of the span; `open` and `pending` are as of its end."""

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


class OverviewResponse(ResponseModel):
    """The caller's own figures over the last hour or day."""

    span: Literal["hour", "day"]
    since: str
    until: str
    bin_seconds: float
    tasks: TaskStatsResponse
    deliveries: DeliveryStatsResponse
    slots: SlotStatsResponse
    stalest_task: StalestTaskResponse | None
    reasons: list[FailureReasonResponse]
    errors: list[DeliveryErrorResponse]
    bins: list[BinResponse]
    subscriptions: list[SubscriptionStatsResponse]
