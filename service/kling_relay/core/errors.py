"""A refusal carries a code; HTTP_STATUS maps codes to HTTP. An error class's docstring is its default message.

The codes are Kling's wherever Kling has one (1000-1004, 1102, 1103, 1201-1203, 1302, 5000, 5001); 1204, 1205, 5003
and 5004 are ours, in Kling's families of resource (12xx) and of server (50xx).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

HTTP_STATUS: dict[int, int] = {
    1000: 401,
    1001: 401,
    1002: 401,
    1003: 401,
    1004: 401,
    1102: 402,
    1103: 403,
    1200: 400,
    1201: 400,
    1202: 404,
    1203: 404,
    1204: 409,
    1205: 413,
    1302: 429,
    5000: 500,
    5001: 503,
    5003: 502,
    5004: 502,
}
"""Every code that we refuse with ourselves; a provider's refusal brings its own status."""

MAX_FAULTS = 20
"""A message names so many faults and counts the rest, so that a hostile order makes no endless answer."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the field (a dotted path) and what is wrong with it, both safe to print."""

    field: str
    detail: str

    @property
    def line(self) -> str:
        return f"{self.field} {self.detail}"


def told(faults: Iterable[Fault]) -> str:
    """Return the faults as one line."""
    lines = [fault.line for fault in faults]
    more = len(lines) - MAX_FAULTS
    return "; ".join(lines[:MAX_FAULTS]) + (f"; and {more} more" if more > 0 else "")


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an accident; its kinds are named by what they say
    """The request was refused."""

    code: int = 5000
    type: ClassVar[str] = "refused"
    retry_after: float | None = None
    """Seconds after which asking again may help; None where it will not, or nobody knows."""

    def __init__(
        self,
        message: str | None = None,
        *,
        code: int | None = None,
        http_status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.message = message or type(self).__doc__ or type(self).type
        if code is not None:
            self.code = code
        self.http_status = HTTP_STATUS[self.code] if http_status is None else http_status
        if retry_after is not None:
            self.retry_after = retry_after
        super().__init__(self.message)


class InvalidOrder(Refusal):
    """The order is not valid."""

    code = 1201
    type = "invalid_order"

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(told(self.faults) or None)


class InvalidRequest(Refusal):
    """The request is not valid."""

    code = 1200
    type = "invalid_request"


class Unauthenticated(Refusal):
    """The key is missing or unknown. Send it as "Authorization: Bearer <key>"."""

    code = 1002
    type = "unauthenticated"


class Forbidden(Refusal):
    """This key may not do that."""

    code = 1103
    type = "forbidden"


class WrongMethod(Refusal):
    """Nothing here answers to this method."""

    code = 1202
    type = "wrong_method"


class NotFound(Refusal):
    """There is no such thing, or it is not yours."""

    code = 1203
    type = "not_found"


class Conflict(Refusal):
    """This Idempotency-Key or external_task_id was used before with another order."""

    code = 1204
    type = "conflict"


class TooLarge(Refusal):
    """The body is too large."""

    code = 1205
    type = "too_large"


class RateLimited(Refusal):
    """Too many requests; wait a little."""

    code = 1302
    type = "rate_limited"
    retry_after = 1.0


class BudgetExceeded(Refusal):
    """The budget does not cover this order; nothing was sent."""

    code = 1102
    type = "budget_exceeded"

    def __init__(self, message: str | None = None, *, limit: str = "total") -> None:
        """`limit` says which one: total, day, month or open."""
        self.limit = limit
        super().__init__(message)


class Unavailable(Refusal):
    """The service cannot take this now; nothing was sent. Try again."""

    code = 5001
    type = "unavailable"
    retry_after = 1.0


class ProviderRefused(Refusal):
    """The provider refused the order."""

    type = "provider_refused"

    def __init__(self, code: int, message: str, http_status: int, retry_after: float | None = None) -> None:
        """Pass on what the provider said, to the letter; a status that is no error's becomes 502."""
        status = http_status if 400 <= http_status <= 599 else 502
        super().__init__(message, code=code, http_status=status, retry_after=retry_after)


class ProviderNever(Refusal):
    """The provider takes no orders from this service at present; its operator has been told. Nothing was charged."""

    code = 5003
    type = "provider_never"


class ProviderUnclear(Refusal):
    """The provider's answer was lost: the order may or may not have been taken, and will not be sent again."""

    code = 5004
    type = "provider_unclear"


class ConfigurationError(ValueError):
    """A file of rules or prices is wrong; the message names it and every fault in it."""

    def __init__(self, where: str, faults: Iterable[Fault]) -> None:
        self.where = where
        self.faults = tuple(faults)
        super().__init__(f"{where}: {told(self.faults)}")
