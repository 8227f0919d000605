"""Queries and responses of /v1/events."""

from typing import Any

from pydantic import Field

from kling_relay.web.models.fields import MAX_PAGE, EventPatternList, Id, LogCursor, RequestModel, ResponseModel


class EventListQuery(RequestModel):
    limit: int = Field(50, ge=1, le=MAX_PAGE)
    cursor: LogCursor | None = Field(None, description="the same as after")
    after: LogCursor | None = Field(None, description="the cursor of the last event that you have; 0 is the beginning")
    type: EventPatternList | None = None
    task: Id | None = None


class EventStreamQuery(RequestModel):
    after: LogCursor | None = Field(None, description="like Last-Event-ID; without either the stream starts now")
    type: EventPatternList | None = None
    task: Id | None = None


class EventResponse(ResponseModel):
    id: str = Field(description="the webhook-id")
    cursor: str
    type: str
    timestamp: str
    data: dict[str, Any]


class EventPageResponse(ResponseModel):
    data: list[EventResponse]
    next_cursor: str | None
