"""The client library: `Relay` for asyncio, `SyncRelay` for other programs, `verify` for subscribers.

It uses only the HTTP API: all it needs is the address of a service and a key.
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
