"""The client library: `Relay` for programs with a loop, `SyncRelay` for those without, `verify` for subscribers.

Built on the HTTP API alone; it needs nothing of a service but its address and a key.
"""

from service.client.blocking import SyncRelay
from service.client.errors import (
    BudgetError,
    ConflictError,
    Fault,
    ForbiddenError,
    ForgedError,
    InvalidError,
    NotFinalError,
    NotFoundError,
    ProviderError,
    RateLimitedError,
    RefusedError,
    RelayError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
)
from service.client.relay import Relay
from service.client.shapes import (
    Attempt,
    Delivery,
    Event,
    Quote,
    Subscription,
    Task,
    TaskDetail,
    Usage,
    UsageLine,
)
from service.client.webhook import verify
from service.core.kind import Kind

__all__ = [
    "Attempt",
    "BudgetError",
    "ConflictError",
    "Delivery",
    "Event",
    "Fault",
    "ForbiddenError",
    "ForgedError",
    "InvalidError",
    "Kind",
    "NotFinalError",
    "NotFoundError",
    "ProviderError",
    "Quote",
    "RateLimitedError",
    "RefusedError",
    "Relay",
    "RelayError",
    "Subscription",
    "SyncRelay",
    "Task",
    "TaskDetail",
    "TooLargeError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "UnreachableError",
    "Usage",
    "UsageLine",
    "verify",
]
