"""Reads what the provider says about a task, in a callback or in a response to a poll, into a signal.

Every known spelling is accepted: flat or in an envelope, of the old or the newer style. An unknown status is refused,
because a wrong guess would end a task. The signal is safe to store.
"""

import re
from decimal import Decimal
from typing import Any

import orjson

from kling_relay.core.task import Signal, SignalKind
from kling_relay.core.untrusted import UnreadableError, clean, identifier, parse_json

__all__ = ["UnreadableError", "read", "read_json"]

MAX_REASON = 2048
"""Bytes; a longer reason is cut."""
MAX_RESULT = 64 * 1024
"""Bytes of a result as JSON; a larger one is refused."""
_MAX_URL = 8192
_MAX_ITEMS = 64
_CERTAINLY_SMALL = MAX_RESULT // 4
"""Bytes of a body whose result need not be measured: a byte becomes at most three, and a file gains sixty."""

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
_URL_KEYS = {"video_url": "videos", "videoUrl": "videos", "image_url": "images", "imageUrl": "images", "result_url": ""}
_OUTPUT_URL_KEYS = _URL_KEYS | {"video": "videos", "image": "images", "url": ""}
"""Only inside `output`. Outside it, `image` is the input of the order."""
_PICTURE = re.compile(r"\.(?:png|jpe?g|webp|gif|bmp)(?:[?#]|$)", re.IGNORECASE)
_AMOUNT = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")
_DURATION = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")


def read(body: bytes, depth: int = 32) -> Signal:
    """Return the signal in `body`. Raises `UnreadableError`, and nothing else, if it has none.

    PostgreSQL can store the signal's texts and its result. The reason is at most 2 KiB and the result at most 64 KiB.
    On success the result is a dict, which is empty if the provider named no files.
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
    result = None
    if kind is SignalKind.SUCCEED:
        result = _result(layers)
        if not result and home is top and len(layers) > 1:
            raise UnreadableError("the status may be that of the request, not of the task")
        if size > _CERTAINLY_SMALL and len(orjson.dumps(result)) > MAX_RESULT:
            raise UnreadableError(f"a result larger than {MAX_RESULT} bytes")
    return Signal(kind, _reason(layers, home, kind), result, _charge(layers), _task_id(layers))


def _layers(top: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects that may describe the task, the likeliest first: data, data.data, then the top."""
    data = top.get("data")
    if not isinstance(data, dict):
        return [top]
    inner = data.get("data")
    return [data, inner, top] if isinstance(inner, dict) else [data, top]


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
            if isinstance(text, dict):
                text = text.get("message")
            if isinstance(text, str) and text:
                return clean(text, MAX_REASON)
    return ""


def _charge(layers: list[dict[str, Any]]) -> str | None:
    """Return the final charge in units as decimal text, or None if no layer has it in a form that we trust."""
    for layer in layers:
        if (amount := _amount(layer.get("final_unit_deduction"))) is not None:
            return amount
        billing = layer.get("billing")
        if isinstance(billing, list) and 0 < len(billing) <= _MAX_ITEMS:
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


def _result(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return Kling's `task_result`, from the first layer and reader that find files; {} if none does."""
    for layer in layers:
        for read_items in (_listed, _outputs, _single):
            result: dict[str, list[dict[str, Any]]] = {}
            for kind, item in read_items(layer)[:_MAX_ITEMS]:
                files = result.get(kind)
                if (file := _file(kind, item, len(files) if files else 0)) is not None:
                    if files is None:
                        result[kind] = files = []
                    files.append(file)
            if result:
                return result
    return {}


def _listed(layer: dict[str, Any]) -> list[tuple[str, Any]]:
    items: list[tuple[str, Any]] = []
    for place in ("task_result", "result", "output"):
        inner = layer.get(place)
        if isinstance(inner, dict):
            for kind in ("images", "videos"):
                files = inner.get(kind)
                if isinstance(files, list):
                    items += [(kind, item) for item in files[:_MAX_ITEMS]]
    return items


def _outputs(layer: dict[str, Any]) -> list[tuple[str, Any]]:
    outputs = layer.get("outputs")
    return [(_kind_of(item), item) for item in outputs[:_MAX_ITEMS]] if isinstance(outputs, list) else []


def _single(layer: dict[str, Any]) -> list[tuple[str, Any]]:
    items: list[tuple[str, Any]] = []
    output = layer.get("output")
    for source, keys in ((output, _OUTPUT_URL_KEYS), (layer, _URL_KEYS)):
        if isinstance(source, dict):
            for key, kind in keys.items():
                url = source.get(key)
                if isinstance(url, str) and url:
                    items.append((kind or _kind_of(url), {"url": url, "duration": source.get("duration")}))
    return items


def _kind_of(item: Any) -> str:
    """Return the kind of an item: by its type, or else by its URL's ending; a video if in doubt."""
    if isinstance(item, dict):
        kind = item.get("type")
        if isinstance(kind, str) and kind.lower() in {"image", "video"}:
            return kind.lower() + "s"
        item = item.get("url")
    return "images" if isinstance(item, str) and _PICTURE.search(item[:_MAX_URL]) else "videos"


def _file(kind: str, item: Any, position: int) -> dict[str, Any] | None:
    """Return one file in Kling's shape, or None if it has no valid URL."""
    if not isinstance(item, dict):
        if not isinstance(item, str):
            return None
        item = {"url": item}
    url = _url(item.get("url"))
    if url is None:
        return None
    file: dict[str, Any]
    if kind == "images":
        index = item.get("index")
        is_valid = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < _MAX_ITEMS
        file = {"index": index if is_valid else position, "url": url}
    else:
        file = {"id": identifier(item.get("id")) or "", "url": url, "duration": _duration(item.get("duration"))}
    if "watermark_url" in item and (watermarked := _url(item["watermark_url"])) is not None:
        file["watermark_url"] = watermarked
    return file


def _url(value: Any) -> str | None:
    """Return `value` if it can be the URL of a file: printable, without spaces, and not too long."""
    return identifier(value, _MAX_URL) if isinstance(value, str) else None


def _duration(value: Any) -> str:
    """Return seconds as Kling writes them ("5.1"), or "" if there are none."""
    if not isinstance(value, str):
        if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) >= 10**6:
            return ""
        value = repr(value)
    return value if _DURATION.fullmatch(value) else ""
