"""The outcomes of submitting an order to the provider, as a closed union. `read_submit_response` reads the codes.

Submitting costs money, and no provider supports idempotency keys. So an order is sent again only if the provider
certainly did not accept it. Any response that we do not understand is *unknown* and the order is not sent again. HTTP
429 can mean "wait" or "never": the code in the body decides. A failed poll says nothing about the task.
"""

from dataclasses import dataclass
from typing import Any

from kling_relay.core import callback
from kling_relay.core.task import Signal, SignalKind
from kling_relay.core.untrusted import UnreadableError, clean, identifier, parse_json, words

RETRY_CODES = frozenset({1302, 1303, 5001})
"""Too fast, no free slots, maintenance: certainly not accepted, send again."""
ACCOUNT_CODES = frozenset({1000, 1001, 1002, 1003, 1004, 1100, 1101, 1102, 1103, 1202, 1203, 1304})
"""Our key, account, address or configuration is wrong: the client cannot fix it."""
UNKNOWN_CODES = frozenset({5000, 5002})
REFUSED_STATUS = {1200: 400, 1201: 400, 1300: 400, 1301: 400}
"""Codes for faults of the order, with their HTTP status. A gateway may wrap them in another status."""
_ACCOUNT_STATUSES = frozenset({401, 402, 403, 404, 405})
_UNKNOWN_STATUSES = frozenset({408, 409, 499})
"""408 and 499: a proxy stopped waiting. 409: perhaps our own task, accepted before."""

_SUCCESS_WORDS = frozenset({"success", "succeed", "ok"})
_OTHER = -1
"""Stands for a code that is not a number: not success, and otherwise unknown."""
_MAX_MESSAGE = 1024
_MESSAGE_KEYS = ("message", "error", "msg", "detail", "errors")
_NOT_FOUND = 1203


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider accepted the order. `signal` is what its response says about the task."""

    provider_task_id: str
    signal: Signal


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider refused this order. Code, message and status are passed on to the client."""

    code: int
    message: str
    http_status: int


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Certainly not accepted: send it again, after `retry_after` seconds if given. Code 0: no connection."""

    code: int
    reason: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class AccountRefused:
    """Certainly not accepted, and sending again will not help until an operator fixes the account or the key."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Perhaps accepted and charged: do not send it again until this is known."""

    reason: str


SubmitOutcome = Accepted | Refused | RetryLater | AccountRefused | Unknown


@dataclass(frozen=True, slots=True)
class NoSuchTask:
    """The provider answered explicitly that it has no such task."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The poll failed: it says nothing about the task."""

    reason: str


PollResult = Signal | NoSuchTask | NoAnswer


def read_submit_response(status: int, body: bytes, retry_after: float | None = None) -> SubmitOutcome:
    """Return the outcome in a response to a submission. `retry_after` is the header, in seconds."""
    answer = _object(body)
    code, message = _code(answer), _message(answer)
    if 200 <= status < 300 and code in {None, 0}:
        return _accepted(answer, body, status)
    if code in RETRY_CODES:
        return RetryLater(code, message or "the provider asks to wait", retry_after)
    if code in ACCOUNT_CODES:
        return AccountRefused(code, message or "the provider accepts nothing from this account")
    if code in UNKNOWN_CODES or (status >= 500 and code not in REFUSED_STATUS):
        return Unknown(_describe(status, code, message))
    if code is not None and 1000 <= code < 2000:
        http_status = REFUSED_STATUS.get(code, status if 400 <= status < 500 else 400)
        return Refused(code, message or f"refused with code {code}", http_status)
    return _by_status(status, code, message, retry_after)


def read_poll_response(status: int, body: bytes) -> PollResult:
    """Return what a response to a poll says about the task. A response that we do not understand says nothing."""
    answer = _object(body)
    code = _code(answer)
    if code == _NOT_FOUND:
        return NoSuchTask()
    if not 200 <= status < 300 or code not in {None, 0}:
        return NoAnswer(_describe(status, code, _message(answer)))
    try:
        return callback.read(body) if answer is None else callback.read_json(answer, len(body))
    except UnreadableError as error:
        return NoAnswer(f"HTTP {status}, {error}")


def backoff(attempt: int, jitter: float, limit: float = 60.0) -> float:
    """Return the seconds to wait after retry number `attempt` (from 1): 1 s, doubling up to `limit`, plus up to half.

    `jitter` in [0, 1) spreads orders that wait at the same time.
    """
    span = min(limit, 2.0 ** min(max(attempt, 1) - 1, 30))
    return span * (1 + jitter / 2)


def code_of(value: Any) -> int | None:
    """Return a code in any known spelling (`0`, `"0"`, `0.0`, `"success"`, `200`) as Kling's integer; None if absent.

    -1 stands for a code that is not a number.
    """
    if isinstance(value, bool):
        return 0 if value else _OTHER
    if isinstance(value, str):
        text = value[:32].strip().lower()
        if text in _SUCCESS_WORDS:
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
        return Unknown(f"HTTP {status} without a readable body")
    data = answer.get("data")
    layers = [data, answer] if isinstance(data, dict) else [answer]
    ids = (identifier(layer.get(key)) for layer in layers for key in ("task_id", "id", "taskId"))
    provider_task_id = next(filter(None, ids), None) or identifier(data)
    if provider_task_id is None:
        return Unknown(f"HTTP {status} and success, but without a task id")
    try:
        signal = callback.read_json(answer, len(body))._replace(provider_task_id=provider_task_id)
    except UnreadableError:
        signal = Signal(kind=SignalKind.SUBMITTED, provider_task_id=provider_task_id)
    if signal.kind is SignalKind.INCOMPLETE:  # without a file, it is the order that succeeded
        signal = Signal(kind=SignalKind.SUBMITTED, provider_task_id=provider_task_id)
    return Accepted(provider_task_id, signal)


def _by_status(status: int, code: int | None, message: str, retry_after: float | None) -> SubmitOutcome:
    """Return the outcome by the HTTP status, if the body has no code that Kling documents."""
    known_code = code or 0
    if status == 429:
        return RetryLater(known_code, message or "too many requests", retry_after)
    if status in _UNKNOWN_STATUSES or not 300 <= status < 500:
        return Unknown(_describe(status, code, message))
    if status < 400 or status in _ACCOUNT_STATUSES:
        return AccountRefused(known_code, _describe(status, code, message))
    return Refused(known_code if known_code > 0 else 1200, message or f"refused with HTTP {status}", status)


def _describe(status: int, code: int | None, message: str) -> str:
    parts = [f"HTTP {status}"]
    if code not in {None, 0, _OTHER}:
        parts.append(f"code {code}")
    if message:
        parts.append(message)
    return ", ".join(parts)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        answer = parse_json(body)
    except UnreadableError:
        return None
    return answer if isinstance(answer, dict) else None


def _code(answer: dict[str, Any] | None) -> int | None:
    """Return the code at the top level, or else the one inside `error`, where other gateways put it."""
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
    for key in _MESSAGE_KEYS:
        if text := words(answer.get(key)):
            return clean(text, _MAX_MESSAGE)
    return ""
