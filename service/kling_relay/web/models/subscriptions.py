"""Requests and responses of /v1/subscriptions and /v1/hook-secret."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from kling_relay.core.event import BodyFormat
from kling_relay.core.subscription import MAX_DESCRIPTION, MAX_IN_FLIGHT, Ordering
from kling_relay.web.models.fields import EventPatterns, Headers, Moment, RequestModel, ResponseModel, Text, Url

MAX_OVERLAP = 7 * 86_400


class SubscriptionRequest(RequestModel):
    url: Url
    events: EventPatterns = Field(["*"])
    description: Text = Field("", max_length=MAX_DESCRIPTION)
    headers: Headers = Field({})
    format: BodyFormat = BodyFormat.STANDARD
    ordering: Ordering = Ordering.NONE
    max_in_flight: int | None = Field(
        None, ge=1, le=MAX_IN_FLIGHT, description="concurrent attempts; the default is a setting of the service"
    )


class SubscriptionChangeRequest(RequestModel):
    """The members to change; null leaves a member as it is."""

    url: Url | None = None
    events: EventPatterns | None = None
    description: Text | None = Field(None, max_length=MAX_DESCRIPTION)
    headers: Headers | None = None
    format: BodyFormat | None = None
    ordering: Ordering | None = None
    max_in_flight: int | None = Field(None, ge=1, le=MAX_IN_FLIGHT)


class RotateSecretRequest(RequestModel):
    overlap_seconds: int = Field(86_400, ge=0, le=MAX_OVERLAP, description="how long the old secret also signs")


class ReplayRequest(RequestModel):
    since: Moment
    until: Moment | None = None
    only: Literal["failed", "all"] = "failed"


class SubscriptionResponse(ResponseModel):
    id: str
    url: str
    events: list[str]
    description: str
    headers: Mapping[str, str]
    format: BodyFormat
    ordering: Ordering
    max_in_flight: int
    status: Literal["active", "paused", "disabled"]
    is_hook: bool = Field(description="whether it was created by an order's notify_hook")
    disabled_reason: str | None
    expired_deliveries: int = Field(
        description="deliveries given up because their tasks became older than RELAY_RETENTION"
    )
    failing_since: str | None
    old_secrets_until: str | None
    created_at: str
    updated_at: str


class SubscriptionWithSecretResponse(SubscriptionResponse):
    secret: str = Field(description="whsec_…; shown only in this response")


class SubscriptionPageResponse(ResponseModel):
    data: list[SubscriptionResponse]
    next_cursor: str | None


class SecretResponse(ResponseModel):
    secret: str
    old_secrets_until: str | None = None


class HookSecretResponse(ResponseModel):
    secret: str


class TestEventResponse(ResponseModel):
    delivery: str = Field(description="the delivery's id")
    event: str = Field(description="the webhook-id")
