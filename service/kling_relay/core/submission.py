"""The outcomes of giving the provider an order, as a closed union; `read_submit_response` reads the provider's codes.

Submitting charges and no provider takes an idempotency key. So an order is sent again only where it surely was not
taken; whatever is not understood is *unknown* and never sent again blindly. HTTP 429 means both "wait" and "never":
the code in the body decides. A failed query never says anything about a task's fate.
"""

from dataclasses import dataclass
from typing import Any

from kling_relay.core import callback
from kling_relay.core.task import Signal, SignalKind
from kling_relay.core.untrusted import UnreadableError, clean, identifier, parse

WAIT_CODES = frozenset({1302, 1303, 5001})
"""Too fast, over the slots, maintenance: surely not taken, ask again."""
NEVER_CODES = frozenset({1000, 1001, 1002, 1003, 1004, 1100, 1101, 1102, 1103, 1202, 1203, 1304})
"""Our key, account, address or configuration: nothing that the client could mend."""
UNKNOWN_CODES = frozenset({5000, 5002})
REFUSED_STATUS = {1200: 400, 1201: 400, 1300: 400, 1301: 400}
"""The order's own faults, and the HTTP status that each belongs to even where a gateway wraps it in another."""
_NEVER_STATUSES = frozenset({401, 402, 403, 404, 405})
_UNKNOWN_STATUSES = frozenset({408, 409, 499})
"""408 and 499: somebody on the way gave up waiting; 409: perhaps our own task, taken before."""

_GOOD_WORDS = frozenset({"success", "succeed", "ok"})
_OTHER = -1
"""A code that is no number: certainly not success, and nothing else is known of it."""
_MAX_MESSAGE = 1024
_NOT_FOUND = 1203


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took it; `signal` is what its answer says of the task."""

    provider_task_id: str
    signal: Signal


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider will not do this order; code, message and status are the client's to see."""

    code: int
    message: str
    http_status: int


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Surely not taken; to be sent again, not before `retry_after` seconds where told. Code 0: no connection."""

    code: int
    reason: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class AccountRefused:
    """Surely not taken, and sending again will not help before an operator mends something."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Perhaps taken and charged: not to be sent again before it is known."""

    reason: str


SubmitOutcome = Accepted | Refused | RetryLater | AccountRefused | Unknown


@dataclass(frozen=True, slots=True)
class NoSuchTask:
    """The provider says, in its own words, that it has no such task."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The query brought nothing: it says nothing of the task."""

    reason: str


PollResult = Signal | NoSuchTask | NoAnswer


def read_submit_response(status: int, body: bytes, retry_after: float | None = None) -> SubmitOutcome:
    """Return what an answer to a submission means; `retry_after` is the header's, in seconds."""
    answer = _object(body)
    code, message = _code(answer), _message(answer)
    if 200 <= status < 300 and code in {None, 0}:
        return _accepted(answer, body, status)
    if code in WAIT_CODES:
        return RetryLater(code, message or "the provider asks to wait", retry_after)
    if code in NEVER_CODES:
        return AccountRefused(code, message or "the provider takes nothing from this account")
    if code in UNKNOWN_CODES or (status >= 500 and code not in REFUSED_STATUS):
        return Unknown(_saying(status, code, message))
    if code is not None and 1000 <= code < 2000:
        said = REFUSED_STATUS.get(code, status if 400 <= status < 500 else 400)
        return Refused(code, message or f"refused with code {code}", said)
    return _by_status(status, code, message, retry_after)


def read_poll_response(status: int, body: bytes) -> PollResult:
    """Return what an answer to a query says of the task; what is not understood says nothing."""
    answer = _object(body)
    code = _code(answer)
    if code == _NOT_FOUND:
        return NoSuchTask()
    if not 200 <= status < 300 or code not in {None, 0}:
        return NoAnswer(_saying(status, code, _message(answer)))
    try:
        return callback.read(body) if answer is None else callback.of(answer, len(body))
    except UnreadableError as fault:
        return NoAnswer(f"HTTP {status}, {fault}")


def backoff(attempt: int, chance: float, limit: float = 60.0) -> float:
    """Return seconds to wait after the attempt-th (from 1) "wait": from 1 s, doubling up to `limit`, plus up to half.

    `chance` in [0, 1) spreads those who wait together.
    """
    span = min(limit, 2.0 ** min(max(attempt, 1) - 1, 30))
    return span * (1 + chance / 2)


def code_of(value: Any) -> int | None:
    """Return a code in any spelling met (`0`, `"0"`, `0.0`, `"success"`, `200`) as Kling's integer; None where absent.

    -1 stands for a code that is there but is no number.
    """
    if isinstance(value, bool):
        return 0 if value else _OTHER
    if isinstance(value, str):
        text = value[:32].strip().lower()
        if text in _GOOD_WORDS:
            return 0
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            return _OTHER
    if isinstance(value, int | float):
        code = int(value) if -(10**9) < value < 10**9 else _OTHER
        return 0 if code == 200 else code
    return None if value is None else _OTHER


def _accepted(answer: dict[str, Any] | None, body: bytes, status: int) -> SubmitOutcome:
    if answer is None:
        return Unknown(f"HTTP {status} without an answer that can be read")
    given = answer.get("data")
    layers = [given, answer] if isinstance(given, dict) else [answer]
    ids = (identifier(layer.get(key)) for layer in layers for key in ("task_id", "id", "taskId"))
    provider_task_id = next((found for found in ids if found), None) or identifier(given)
    if provider_task_id is None:
        return Unknown(f"HTTP {status} and success, but no task id")
    try:
        signal = callback.of(answer, len(body))._replace(provider_task_id=provider_task_id)
    except UnreadableError:
        signal = Signal(kind=SignalKind.SUBMITTED, provider_task_id=provider_task_id)
    return Accepted(provider_task_id, signal)


def _by_status(status: int, code: int | None, message: str, retry_after: float | None) -> SubmitOutcome:
    """Judge where the body has no code that Kling documents."""
    said = code or 0
    if status == 429:
        return RetryLater(said, message or "too many requests", retry_after)
    if status in _UNKNOWN_STATUSES or not 300 <= status < 500:
        return Unknown(_saying(status, code, message))
    if status < 400 or status in _NEVER_STATUSES:
        return AccountRefused(said, _saying(status, code, message))
    return Refused(said if said > 0 else 1200, message or f"refused with HTTP {status}", status)


def _saying(status: int, code: int | None, message: str) -> str:
    parts = [f"HTTP {status}"]
    if code not in {None, 0, _OTHER}:
        parts.append(f"code {code}")
    if message:
        parts.append(message)
    return ", ".join(parts)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        answer = parse(body)
    except UnreadableError:
        return None
    return answer if isinstance(answer, dict) else None


def _code(answer: dict[str, Any] | None) -> int | None:
    """Return the code at the top; else a number inside `error`, as gateways of another family put it."""
    if answer is None:
        return None
    code = code_of(answer.get("code"))
    error = answer.get("error")
    if code is None and isinstance(error, dict):
        inner = code_of(error.get("code"))
        if inner in {None, 0}:
            return _OTHER if error.get("message") else None
        return inner
    return code


def _message(answer: dict[str, Any] | None) -> str:
    if answer is None:
        return ""
    error = answer.get("error")
    nested = error.get("message") if isinstance(error, dict) else error
    for text in (answer.get("message"), nested, answer.get("msg"), answer.get("detail")):
        if isinstance(text, str) and text:
            return clean(text, _MAX_MESSAGE)
    return ""
