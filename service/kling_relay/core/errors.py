"""Errors returned to callers. `CODES` defines each code; an error class names its code.

The docstring of an error class is its default message. The codes are Kling's wherever Kling has one; 1204, 1205 and
5003 are ours, in Kling's families for resources (12xx) and servers (50xx).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """The meaning of a code: its HTTP status, a short text, advice for the caller, and the exit code of a command."""

    status: int
    meaning: str
    advice: str
    exit_code: int = 1


_TRY_AGAIN = 3
"""The exit code of a command that may succeed if it is run again."""
_KEY = "Send a valid key; `kling-relay keys create NAME` makes one."
CODES: Mapping[int, ErrorCode] = {
    1001: ErrorCode(401, "no key", _KEY),
    1002: ErrorCode(401, "unknown key", _KEY),
    1003: ErrorCode(401, "JWT not valid yet", "Check the clock of the machine that signs the JWT."),
    1004: ErrorCode(401, "key or JWT expired", "Sign a new JWT, or create a new key."),
    1102: ErrorCode(402, "budget exceeded", "Ask your operator for a larger budget, or order less."),
    1103: ErrorCode(403, "scope missing", "Use a key with the required scope: submit, read or admin."),
    1200: ErrorCode(400, "invalid request", "Correct the fields named in the error and send the request again."),
    1201: ErrorCode(400, "invalid order", "Correct the fields named in the error and send the order again."),
    1202: ErrorCode(405, "method not allowed", "Use one of the methods in the Allow header."),
    1203: ErrorCode(404, "not found", "Check the id, and that the key belongs to the client that owns it."),
    1204: ErrorCode(409, "conflict", "Use a new Idempotency-Key or external_task_id for a new order."),
    1205: ErrorCode(413, "body too large", "Send the image by URL, or send a smaller one."),
    1302: ErrorCode(429, "too many requests", "Wait as long as Retry-After says and try again.", _TRY_AGAIN),
    5000: ErrorCode(500, "internal error", "Look in the service's log for the request id."),
    5001: ErrorCode(503, "service unavailable", "Try again soon.", _TRY_AGAIN),
    5003: ErrorCode(502, "provider accepts no orders", "Ask your operator to check the provider account."),
}
"""Every code of our own. An error from the provider keeps the provider's code and status."""

MAX_FAULTS = 20
"""A message lists this many faults and counts the rest, so that a hostile order cannot make an endless message."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the field (a dotted path) and what is wrong with it, both safe to print."""

    field: str
    detail: str

    @property
    def line(self) -> str:
        return f"{self.field} {self.detail}"


def join_faults(faults: Iterable[Fault]) -> str:
    """Return the faults as one line."""
    lines = [fault.line for fault in faults]
    more = len(lines) - MAX_FAULTS
    return "; ".join(lines[:MAX_FAULTS]) + (f"; and {more} more" if more > 0 else "")


class Refusal(Exception):  # noqa: N818 - a refusal is an expected answer, not a failure
    """The request was refused."""

    code: int = 5000
    type: ClassVar[str] = "refused"
    faults: tuple[Fault, ...] = ()
    retry_after: float | None = None
    """Seconds after which another try may succeed; None if it will not, or if that is unknown."""

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
        self.http_status = CODES[self.code].status if http_status is None else http_status
        if retry_after is not None:
            self.retry_after = retry_after
        super().__init__(self.message)


class InvalidOrder(Refusal):
    """The order is not valid."""

    code = 1201
    type = "invalid_order"

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(join_faults(self.faults) or None)


class InvalidRequest(Refusal):
    """The request is not valid."""

    code = 1200
    type = "invalid_request"

    def __init__(self, message: str | None = None, *, faults: Iterable[Fault] = ()) -> None:
        """Without a message, the faults are joined into one."""
        self.faults = tuple(faults)
        super().__init__(message or join_faults(self.faults) or None)


class ReportTooLong(Refusal):
    """A report, a list or a search took too long; ask for less."""

    code = 1200
    type = "report_too_long"


class BodyTimeout(Refusal):
    """The body took too long to arrive."""

    code = 1200
    type = "body_timeout"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, http_status=408)


class UndecodableBody(Refusal):
    """The body cannot be decoded."""

    code = 1200
    type = "undecodable_body"

    def __init__(self, message: str, body: bytes, *, http_status: int) -> None:
        """`body` is what was received."""
        self.body = body
        super().__init__(message, http_status=http_status)


class Unauthenticated(Refusal):
    """The key is missing or unknown. Send it as "Authorization: Bearer <key>" or "X-API-KEY: <key>"."""

    code = 1002
    type = "unauthenticated"


class Forbidden(Refusal):
    """This key may not do that."""

    code = 1103
    type = "forbidden"


class MethodNotAllowed(Refusal):
    """This path does not support the method."""

    code = 1202
    type = "method_not_allowed"


class NotFound(Refusal):
    """The resource does not exist, or belongs to another client."""

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
    """Too many requests; wait as long as Retry-After says."""

    code = 1302
    type = "rate_limited"
    retry_after = 1.0


class BudgetExceeded(Refusal):
    """The budget does not cover this order; nothing was sent."""

    code = 1102
    type = "budget_exceeded"

    def __init__(self, message: str | None = None, *, limit: str = "total") -> None:
        """`limit` is the one that was reached: total, day, month or open."""
        self.limit = limit
        super().__init__(message)


class Unavailable(Refusal):
    """The service cannot do this now; nothing was sent. Try again."""

    code = 5001
    type = "unavailable"
    retry_after = 1.0


class ProviderRefused(Refusal):
    """The provider refused the order."""

    type = "provider_refused"

    def __init__(self, code: int, message: str, http_status: int, retry_after: float | None = None) -> None:
        """Pass on the provider's words unchanged; a status that is not an error becomes 502."""
        status = http_status if 400 <= http_status <= 599 else 502
        super().__init__(message, code=code, http_status=status, retry_after=retry_after)


class ProviderUnavailable(Refusal):
    """The provider accepts no orders from this service now; its operator has been alerted. Nothing was charged."""

    code = 5003
    type = "provider_unavailable"


class ConfigurationError(ValueError):
    """A file of rules or prices is wrong; the message names the file and its first faults; `faults` has all."""

    def __init__(self, where: str, faults: Iterable[Fault]) -> None:
        self.where = where
        self.faults = tuple(faults)
        super().__init__(f"{where}: {join_faults(self.faults)}")
