"""What can go wrong on the way to the service and there, as exceptions whose class says what to do about it.

Both of the service's manners of refusing (Kling's envelope, `application/problem+json`) become the same classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from json import JSONDecodeError, loads
from typing import Any


class RelayError(Exception):
    """Anything that the service or the way to it answered instead of what was asked for."""

    advice = "Look at the service's log for the request id."
    """What to do about it, in a sentence."""


class UnreachableError(RelayError):
    """No answer came: nothing listens there, or the connection broke. An order may have arrived all the same."""

    advice = "Is the service running, and its address right? Orders can be repeated with the same idempotency_key."


class UnexpectedAnswerError(RelayError):
    """Something answered that does not speak this API, a proxy for instance."""

    advice = "Check the address: it is the service's own, without a path of the API behind it."


class NotFinalError(RelayError):
    """The task was not final when the time to wait was over; it goes on by itself."""

    advice = "Wait longer, or subscribe to its events."


class ForgedError(RelayError):
    """A call that claims to come from the service does not verify: answer it 4xx and act on nothing in it."""

    advice = "Check that the secret is the subscription's, and that the body is verified as it came, byte for byte."


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request: the field (a dotted path) and what is wrong with it."""

    field: str
    detail: str


class RefusedError(RelayError):
    """The service refused: `status` of HTTP, Kling's `code` (or ours), the sentence, and what it says it by."""

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
        """Seconds after which the service would like to be asked again; None where it did not say."""


class UnauthenticatedError(RefusedError):
    """The key is missing, unknown, expired or revoked."""

    advice = "Give a client key; `kling-relay keys create NAME` makes one."


class ForbiddenError(RefusedError):
    """The key is good, but may not do that."""

    advice = "Use a key with the scope that this takes (submit, read or admin)."


class BudgetError(RefusedError):
    """The client's budget does not cover this order; nothing was sent."""

    advice = "Have the budget raised, or order less."


class InvalidError(RefusedError):
    """The request is not valid; `faults` names every field that is wrong."""

    advice = "Mend the fields named and send it again."


class NotFoundError(RefusedError):
    """There is no such thing, or it is another client's."""

    advice = "Check the id, and that the key is of the client whose it is."


class ConflictError(RefusedError):
    """The idempotency key or external_task_id was used before with another order, or somebody else was quicker."""

    advice = "Use a new idempotency_key or external_task_id for a new order."


class TooLargeError(RefusedError):
    """The body is larger than the service takes."""

    advice = "Send the image by URL, or a smaller one."


class RateLimitedError(RefusedError):
    """Too many requests, or too many tasks at once; nothing was taken."""

    advice = "Wait `retry_after` seconds and send it again."


class UnavailableError(RefusedError):
    """The service cannot take this now; nothing was sent to the provider."""

    advice = "Try again a little later; orders are safe to repeat with the same idempotency_key."


class ProviderError(RefusedError):
    """The provider refused the order, or its answer was lost; `code` is the provider's own."""

    advice = "Read what it says: the words are the provider's. Order again only where nothing was taken."


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


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> RelayError:
    """Return the exception for an answer that is no success, whatever its body is."""
    content = _object(body)
    if content is None:
        said = body[:200].decode("utf-8", "replace").strip() or "nothing"
        return UnexpectedAnswerError(f"HTTP {status} without an explanation of ours; it said: {said}")
    message = str(content.get("detail") or content.get("message") or content.get("title") or f"HTTP {status}")
    code = content.get("code")
    return _BY_STATUS.get(status, RefusedError)(
        message,
        status=status,
        code=code if isinstance(code, int) else None,
        request_id=str(content["request_id"]) if content.get("request_id") else headers.get("X-Request-Id"),
        faults=tuple(
            Fault(str(each.get("field", "")), str(each.get("detail", "")))
            for each in content.get("errors") or ()
            if isinstance(each, dict)
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
