"""Reads what the provider says about a task, in a callback or in a response to a poll, into a signal.

Every known spelling is accepted: flat or in an envelope, of the old or the newer style. An unknown status is refused,
because a wrong guess would end a task. A success that names no file is an *incomplete* one: it does not end the task.
The signal is safe to store.
"""

import re
from decimal import Decimal
from typing import Any

import orjson

from kling_relay.core.task import Signal, SignalKind
from kling_relay.core.task_result import find_result
from kling_relay.core.untrusted import UnreadableError, clean, identifier, parse_json, words

__all__ = ["UnreadableError", "read", "read_json"]

MAX_REASON = 2048
"""Bytes; a longer reason is cut."""
MAX_RESULT = 64 * 1024
"""Bytes of a result as JSON; a larger one is refused."""
_MAX_BILLS = 64
_CERTAINLY_SMALL = MAX_RESULT // 4
"""Bytes of a body whose result need not be measured: a byte becomes at most three, and a file gains sixty."""
_MAX_LAYERS = 4
"""Envelopes in envelopes: a gateway may wrap the whole answer of the gateway behind it."""

_SPELLINGS: dict[SignalKind, str] = {
    SignalKind.SUBMITTED: "submitted not_start queued pending waiting starting",
    SignalKind.PROCESSING: "processing in_progress running dreaming",
    SignalKind.SUCCEED: "succeed succeeded success completed complete ok finished",
    SignalKind.FAILED: "failed failure fail error canceled cancelled expired",
}
_KINDS = {spelling: kind for kind, spellings in _SPELLINGS.items() for spelling in spellings.split()}
_STATUS_KEYS = ("task_status", "status", "state")
_ID_KEYS = ("task_id", "id", "taskId", "request_id")
_REASON_KEYS = ("task_status_msg", "fail_reason", "failReason", "error", "detail", "msg", "message")
_ENVELOPE_REASONS = frozenset({"msg", "message", "detail"})
"""In an envelope these describe the request, not the task: a failed task comes with "SUCCEED"."""
_CHARGE_KEYS = ("final_unit_deduction", "unit_deduction", "deduction", "units", "amount")
_AMOUNT = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")


def read(body: bytes, depth: int = 32) -> Signal:
    """Return the signal in `body`. Raises `UnreadableError`, and nothing else, if it has none.

    PostgreSQL can store the signal's texts and its result. The reason is at most 2 KiB and the result at most 64 KiB.
    A success has at least one file with a URL. Without one it is incomplete, and its result has only watermarked
    files, or is None.
    """
    return read_json(parse_json(body, depth), len(body))


def read_json(top: Any, size: int) -> Signal:
    """Return the signal in a parsed JSON value whose text had `size` bytes, as `read` does."""
    if not isinstance(top, dict):
        raise UnreadableError("not an object")
    layers = _layers(top)
    kind, home = _status(layers)
    if len(layers) > 1:  # the layer with the status comes first for everything else
        layers.sort(key=lambda layer: layer is not home)
    result: dict[str, Any] | None = None
    if kind is SignalKind.SUCCEED:
        result, is_complete = find_result(layers)
        if result is None and home is top and len(layers) > 1 and not top.get("task_status"):
            raise UnreadableError("the status may be that of the request, not of the task")
        if not is_complete:
            kind = SignalKind.INCOMPLETE
        if size > _CERTAINLY_SMALL and len(orjson.dumps(result)) > MAX_RESULT:
            raise UnreadableError(f"a result larger than {MAX_RESULT} bytes")
    return Signal(kind, _reason(layers, home, kind), result, _charge(layers), _task_id(layers))


def _layers(top: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects that may describe the task, the likeliest first: data, data.data and so on, then the top."""
    layers: list[dict[str, Any]] = []
    data = top.get("data")
    while isinstance(data, dict) and len(layers) < _MAX_LAYERS:
        layers.append(data)
        data = data.get("data")
    layers.append(top)
    return layers


def _status(layers: list[dict[str, Any]]) -> tuple[SignalKind, dict[str, Any]]:
    for key in _STATUS_KEYS:
        for layer in layers:
            status = layer.get(key)
            if not isinstance(status, str) or not status:
                continue
            kind = _KINDS.get(status) or _KINDS.get(status[:32].strip().lower().replace(" ", "_").replace("-", "_"))
            if kind is None:
                raise UnreadableError(f"unknown status {clean(status, 64)!r}")
            return kind, layer
    raise UnreadableError("no status")


def _task_id(layers: list[dict[str, Any]]) -> str | None:
    for layer in layers:
        for key in _ID_KEYS:
            if (task_id := identifier(layer.get(key))) is not None:
                return task_id
    return None


def _reason(layers: list[dict[str, Any]], home: dict[str, Any], kind: SignalKind) -> str:
    """Return the provider's reason. If the task did not fail, only Kling's own field counts."""
    for key in _REASON_KEYS if kind is SignalKind.FAILED else _REASON_KEYS[:1]:
        for layer in layers:
            if key in _ENVELOPE_REASONS and (layer is not home or "code" in layer):
                continue
            text = layer.get(key)
            if isinstance(text, dict | list):
                text = words(text)
            if isinstance(text, str) and text:
                return clean(text, MAX_REASON)
    return ""


def _charge(layers: list[dict[str, Any]]) -> str | None:
    """Return the final charge in units as decimal text, or None if no layer has it in a form that we trust."""
    for layer in layers:
        if (amount := _amount(layer.get("final_unit_deduction"))) is not None:
            return amount
        billing = layer.get("billing")
        if isinstance(billing, list) and 0 < len(billing) <= _MAX_BILLS:
            parts = [_amount(_first(item, _CHARGE_KEYS)) for item in billing]
            amounts = [Decimal(part) for part in parts if part is not None]
            if len(amounts) == len(parts):
                return format(sum(amounts, Decimal(0)), "f")
    return None


def _first(item: Any, keys: tuple[str, ...]) -> Any:
    if not isinstance(item, dict) or "currency" in item:
        return None
    return next((item[key] for key in keys if item.get(key) is not None), None)


def _amount(value: Any) -> str | None:
    if not isinstance(value, str):
        if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) >= 10**12:
            return None
        value = repr(value)
    return value if _AMOUNT.fullmatch(value) else None
