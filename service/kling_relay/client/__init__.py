"""The client library: `Relay` for programs with a loop, `SyncRelay` for those without, `verify` for subscribers.

Built on the HTTP API alone; it needs nothing of a service but its address and a key.
"""

from kling_relay.client.errors import (
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
from kling_relay.client.models import Attempt, Delivery, Event, Quote, Subscription, Task, TaskDetail, Usage, UsageLine
from kling_relay.client.relay import Relay
from kling_relay.client.sync_relay import SyncRelay
from kling_relay.client.webhook import verify
from kling_relay.core.operation import Kind

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
