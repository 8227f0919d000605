"""Queries and responses of /v1/tasks."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from kling_relay.web.models.fields import (
    ClientStatus,
    Moment,
    PageQuery,
    RequestModel,
    ResponseModel,
    SearchText,
    split,
)


class TaskListQuery(PageQuery):
    status: Annotated[list[ClientStatus], BeforeValidator(split)] | None = None
    kind: Annotated[list[SearchText], BeforeValidator(split)] | None = None
    since: Moment | None = None
    until: Moment | None = None
    text: SearchText | None = Field(None, description="text to search for in ids, models and orders")


class TaskQuery(RequestModel):
    wait: float = Field(
        0, ge=0, le=3600, description="seconds to wait until the task is final; the service may wait for less"
    )


class TaskResponse(ResponseModel):
    """A task as in events and lists; times are milliseconds since 1970."""

    task_id: str
    external_task_id: str | None
    kind: str
    task_status: ClientStatus
    task_status_msg: str
    created_at: int
    updated_at: int
    task_result: dict[str, Any] | None
    expires_at: int | None
    sequence: int
    result_missing: bool = Field(
        False,
        description="there, and true, if the task succeeded but the provider named no file; a later success may",
    )


class SubmissionResponse(ResponseModel):
    """How far the order is on its way to the provider; null once the task is final."""

    state: Literal["recorded", "sending", "accepted", "unknown"]
    reason: str | None
    provider_task_id: str | None
    next_check_at: str | None


class ChargeResponse(ResponseModel):
    """What a task costs; amounts are decimal text."""

    quote: str
    charged: str
    currency: str
    prices: str = Field(description="the price list of the quote, name@version")
    state: Literal["reserved", "unknown", "settled", "released"] = Field(
        description="unknown: reserved, because it is unknown whether the provider accepted the order"
    )
    note: str | None = Field(description="why the charge differs from the provider's figure")


class TaskDetailResponse(TaskResponse):
    model: str
    mode: str | None
    duration: str | None
    fields: dict[str, Any]
    unknown_fields: list[str] = Field(
        description="members of the order that the rule book does not know; they were passed on unread"
    )
    trace: str | None
    is_final: bool
    submission: SubmissionResponse | None
    charge: ChargeResponse


class TaskPageResponse(ResponseModel):
    data: list[TaskResponse]
    next_cursor: str | None


class CallbackResponse(ResponseModel):
    """A callback as the provider sent it: `text` if it is UTF-8, else `base64`."""

    received_at: str
    source: str
    outcome: str
    text: str | None
    base64: str | None


class CallbackPageResponse(ResponseModel):
    data: list[CallbackResponse]
    next_cursor: str | None
