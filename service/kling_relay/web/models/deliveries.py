"""Queries, requests and responses of /v1/deliveries."""

from typing import Literal

from pydantic import Field

from kling_relay.web.models.fields import (
    MAX_PAGE,
    DeliveryCursor,
    DeliveryStatus,
    EventId,
    Id,
    RequestModel,
    ResponseModel,
)

MAX_RETRIED = 10_000


class DeliveryListQuery(RequestModel):
    limit: int = Field(50, ge=1, le=MAX_PAGE)
    cursor: DeliveryCursor | None = None
    subscription: Id | None = None
    status: DeliveryStatus | None = None
    event: EventId | None = Field(None, description="a webhook-id")
    task: Id | None = None


class RetryRequest(RequestModel):
    status: DeliveryStatus = "exhausted"
    subscription: Id | None = None
    event: EventId | None = Field(None, description="a webhook-id")
    task: Id | None = None
    limit: int = Field(
        1_000, ge=1, le=MAX_RETRIED, description="how many at most, newest first; repeat the request for more"
    )


class AttemptResponse(ResponseModel):
    attempt: int
    at: str
    latency_ms: float
    status: int | None
    outcome: str
    error: str | None
    answer: str | None = Field(description="the first 16 KiB of the response; bytes that are not UTF-8 are replaced")


class DeliveryResponse(ResponseModel):
    id: str
    event: str = Field(description="the webhook-id")
    type: str | None
    task_id: str | None
    subscription: str = Field(description="the subscription's id")
    status: DeliveryStatus
    attempt_count: int
    held: Literal["probe", "paused", "disabled"] | None = Field(
        description="why it waits: for the probe of a broken subscription, or until the subscription is resumed"
    )
    next_attempt_at: str | None = Field(
        description="when it is due; if `held` is probe, when the subscription is probed next"
    )
    last_attempt_at: str | None
    last_status: int | None
    last_error: str | None


class DeliveryDetailResponse(DeliveryResponse):
    url: str
    body: str | None
    attempts: list[AttemptResponse]


class DeliveryPageResponse(ResponseModel):
    data: list[DeliveryResponse]
    next_cursor: str | None


class CountResponse(ResponseModel):
    count: int
