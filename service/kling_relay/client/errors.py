"""Everything that can go wrong in a call, as exceptions. Each has advice in a sentence.

The two error formats of the service (Kling's envelope and `application/problem+json`) become the same classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from json import JSONDecodeError, loads
from typing import Any

from kling_relay.core.errors import CODES


class RelayError(Exception):
    """Base of all errors of the client."""

    advice = "Look in the service's log for the request id."
    """What to do, in a sentence."""
    exit_code = 1
    """The exit code of a command that ends with this error."""


class UnreachableError(RelayError):
    """There was no answer: nothing listens there, or the connection broke. An order may still have arrived."""

    advice = "Check that the service runs and the address is right."
    exit_code = 3


class UnexpectedAnswerError(RelayError):
    """The answer is not from this API; it may be from a proxy."""

    advice = "Check the address: it must be the service's own, without an API path."


class NotFinalError(RelayError):
    """The task was not final in time. It goes on."""

    advice = "Wait longer, or subscribe to its events."
    exit_code = 4


class ForgedError(RelayError):
    """The signature of a delivery is not valid: answer 4xx and do not use its content."""

    advice = "Check that the secret is the subscription's, and that the body is passed unchanged, byte for byte."


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a request: the field (a dotted path) and what is wrong with it."""

    field: str
    detail: str


class RefusedError(RelayError):
    """The service refused. `status` is the HTTP status, `code` is Kling's code or one of ours."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: int | None = None,
        request_id: str | None = None,
        faults: tuple[Fault, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.request_id = request_id
        self.faults = faults
        self.retry_after = retry_after
        """Seconds to wait before the next try; None if the service did not say."""
        meaning = CODES.get(code or 0)
        if meaning is not None and meaning.status == status:  # a provider's refusal has the provider's code and status
            self.advice, self.exit_code = meaning.advice, meaning.exit_code


class UnauthenticatedError(RefusedError):
    """The key is missing, unknown, expired or revoked."""


class ForbiddenError(RefusedError):
    """The key is valid, but lacks the required scope."""


class BudgetError(RefusedError):
    """The budget does not cover the order. Nothing was sent to the provider."""


class InvalidError(RefusedError):
    """The request is not valid. `faults` lists every field that is wrong."""


class NotFoundError(RefusedError):
    """The resource does not exist, or belongs to another client."""


class ConflictError(RefusedError):
    """The idempotency key or external_task_id was used for another order, or the state does not allow the request."""


class TooLargeError(RefusedError):
    """The body is too large."""


class RateLimitedError(RefusedError):
    """There were too many requests, or too many open tasks. Nothing was accepted."""

    exit_code = 3


class UnavailableError(RefusedError):
    """The service cannot accept this now. Nothing was sent to the provider."""

    exit_code = 3


class ProviderError(RefusedError):
    """The provider refused the order. `code` and message are the provider's own."""

    advice = "Read the message: it is the provider's."


_BY_STATUS: Mapping[int, type[RefusedError]] = {
    400: InvalidError,
    401: UnauthenticatedError,
    402: BudgetError,
    403: ForbiddenError,
    404: NotFoundError,
    405: NotFoundError,
    408: UnavailableError,
    409: ConflictError,
    413: TooLargeError,
    422: InvalidError,
    429: RateLimitedError,
    502: ProviderError,
    503: UnavailableError,
}


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> RelayError:
    """Return the exception for an unsuccessful answer, whatever its body contains."""
    content = _object(body)
    if content is None:
        text = body[:200].decode("utf-8", "replace").strip() or "(empty)"
        return UnexpectedAnswerError(f"HTTP {status}, not from this API: {text}")
    message = str(content.get("detail") or content.get("message") or content.get("title") or f"HTTP {status}")
    code = content.get("code")
    return _BY_STATUS.get(status, RefusedError)(
        message,
        status=status,
        code=code if isinstance(code, int) else None,
        request_id=str(content["request_id"]) if content.get("request_id") else headers.get("X-Request-Id"),
        faults=tuple(
            Fault(str(fault.get("field", "")), str(fault.get("detail", "")))
            for fault in content.get("errors") or ()
            if isinstance(fault, dict)
        ),
        retry_after=_seconds(headers.get("Retry-After")),
    )


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        content = loads(body)
    except (JSONDecodeError, UnicodeDecodeError):
        return None
    return content if isinstance(content, dict) else None


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:
        return None
