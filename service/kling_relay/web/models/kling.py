"""Response models of the Kling-compatible paths and of the callback path."""

from typing import Any, Literal

from kling_relay.web.models.fields import ClientStatus, ResponseModel


class KlingTaskResponse(ResponseModel):
    task_id: str
    task_status: ClientStatus
    task_status_msg: str | None = None
    task_info: dict[str, str]
    created_at: int
    updated_at: int
    task_result: dict[str, Any] | None = None


class KlingEnvelopeResponse(ResponseModel):
    code: Literal[0]
    message: str
    request_id: str
    data: KlingTaskResponse


class KlingPageResponse(ResponseModel):
    code: Literal[0]
    message: str
    request_id: str
    data: list[KlingTaskResponse]


class CallbackAcceptedResponse(ResponseModel):
    code: Literal[0]
    message: str
