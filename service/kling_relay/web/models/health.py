"""Responses of /livez and /readyz."""

from kling_relay.web.models.fields import ResponseModel


class HealthResponse(ResponseModel):
    status: str
