"""What the provider says of a task, in a callback's body or in the answer to a query, read into a signal.

Every spelling met in the wild is taken, flat and in an envelope, of the old and of the newer style; a status word
that nobody knows is refused, because guessing one would end somebody's task wrongly. What comes out can be stored.
"""

import re
from decimal import Decimal
from typing import Any

import orjson

from kling_relay.core.task import Signal, SignalKind
from kling_relay.core.untrusted import UnreadableError, clean, identifier, parse

__all__ = ["UnreadableError", "of", "read"]

MAX_REASON = 2048
"""Bytes of a reason that are kept."""
MAX_RESULT = 64 * 1024
"""Bytes of a result, written as JSON; a larger one is refused."""
_MAX_URL = 8192
_MAX_ITEMS = 64
_SURELY_SMALL = MAX_RESULT // 4
"""Bytes of a body up to which its result need not be measured: a byte becomes three at most, a file gains sixty."""

_WORDS: dict[SignalKind, str] = {
    SignalKind.SUBMITTED: "submitted not_start queued pending waiting starting",
    SignalKind.PROCESSING: "processing in_progress running dreaming",
    SignalKind.SUCCEED: "succeed succeeded success completed complete ok finished",
    SignalKind.FAILED: "failed failure fail error canceled cancelled expired",
}
_KINDS = {spelling: kind for kind, spellings in _WORDS.items() for spelling in spellings.split()}
_STATUS_KEYS = ("task_status", "status", "state")
_ID_KEYS = ("task_id", "id", "taskId", "request_id")
_REASON_KEYS = ("task_status_msg", "fail_reason", "failReason", "error", "detail", "msg", "message")
_ENVELOPE_REASONS = frozenset({"msg", "message", "detail"})
"""In an envelope these speak of the call, not of the task: a failed task comes with "SUCCEED"."""
_CHARGE_KEYS = ("final_unit_deduction", "unit_deduction", "deduction", "units", "amount")
_URL_KEYS = {"video_url": "videos", "videoUrl": "videos", "image_url": "images", "imageUrl": "images", "result_url": ""}
_OUTPUT_URL_KEYS = _URL_KEYS | {"video": "videos", "image": "images", "url": ""}
"""Inside `output` alone: outside it, `image` is what was ordered, not what was made."""
_PICTURE = re.compile(r"\.(?:png|jpe?g|webp|gif|bmp)(?:[?#]|$)", re.IGNORECASE)
_AMOUNT = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")
_DURATION = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")


def read(body: bytes, depth: int = 32) -> Signal:
    """Return the signal in `body`; raise `UnreadableError`, and nothing else, where there is none.

    The signal's texts and result hold nothing that PostgreSQL's text or json would refuse; the reason is at most
    2 KiB, the result at most 64 KiB. On success the result is a dict, empty where the provider named no files.
    """
    return of(parse(body, depth), len(body))


def of(top: Any, size: int) -> Signal:
    """Return the signal in a JSON value that was read from `size` bytes, as `read` does."""
    if not isinstance(top, dict):
        raise UnreadableError("not an object")
    layers = _layers(top)
    kind, home = _status(layers)
    if len(layers) > 1:  # the one that tells the status is asked first for all else
        layers.sort(key=lambda layer: layer is not home)
    result = None
    if kind is SignalKind.SUCCEED:
        result = _result(layers)
        if not result and home is top and len(layers) > 1:
            raise UnreadableError("the status may be the call's, not the task's")
        if size > _SURELY_SMALL and len(orjson.dumps(result)) > MAX_RESULT:
            raise UnreadableError(f"a result larger than {MAX_RESULT} bytes")
    return Signal(kind, _reason(layers, home, kind), result, _charge(layers), _task_id(layers))


def _layers(top: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects that may speak of the task, the likeliest first: data, data.data, then the top."""
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
            if (found := identifier(layer.get(key))) is not None:
                return found
    return None


def _reason(layers: list[dict[str, Any]], home: dict[str, Any], kind: SignalKind) -> str:
    """Return why, as the provider put it; of a task that did not fail, only Kling's own field counts."""
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
    """Return the settled figure in units as decimal text, or None where none is told in a form we trust."""
    for layer in layers:
        if (amount := _amount(layer.get("final_unit_deduction"))) is not None:
            return amount
        billing = layer.get("billing")
        if isinstance(billing, list) and 0 < len(billing) <= _MAX_ITEMS:
            parts = [_amount(_first(item, _CHARGE_KEYS)) for item in billing]
            told = [Decimal(part) for part in parts if part is not None]
            if len(told) == len(parts):
                return format(sum(told, Decimal(0)), "f")
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
    """Return Kling's `task_result` from the first layer and way that name files; {} where none does."""
    for layer in layers:
        for way in (_listed, _outputs, _single):
            found: dict[str, list[dict[str, Any]]] = {}
            for kind, item in way(layer)[:_MAX_ITEMS]:
                files = found.get(kind)
                if (file := _file(kind, item, len(files) if files else 0)) is not None:
                    if files is None:
                        found[kind] = files = []
                    files.append(file)
            if found:
                return found
    return {}


def _listed(layer: dict[str, Any]) -> list[tuple[str, Any]]:
    named: list[tuple[str, Any]] = []
    for place in ("task_result", "result", "output"):
        inner = layer.get(place)
        if isinstance(inner, dict):
            for kind in ("images", "videos"):
                files = inner.get(kind)
                if isinstance(files, list):
                    named += [(kind, item) for item in files[:_MAX_ITEMS]]
    return named


def _outputs(layer: dict[str, Any]) -> list[tuple[str, Any]]:
    outputs = layer.get("outputs")
    return [(_kind_of(item), item) for item in outputs[:_MAX_ITEMS]] if isinstance(outputs, list) else []


def _single(layer: dict[str, Any]) -> list[tuple[str, Any]]:
    named: list[tuple[str, Any]] = []
    output = layer.get("output")
    for source, keys in ((output, _OUTPUT_URL_KEYS), (layer, _URL_KEYS)):
        if isinstance(source, dict):
            for key, kind in keys.items():
                url = source.get(key)
                if isinstance(url, str) and url:
                    named.append((kind or _kind_of(url), {"url": url, "duration": source.get("duration")}))
    return named


def _kind_of(item: Any) -> str:
    """Return what an item is: by its type where it has one, else by its URL's ending; a video in doubt."""
    if isinstance(item, dict):
        named = item.get("type")
        if isinstance(named, str) and named.lower() in {"image", "video"}:
            return named.lower() + "s"
        item = item.get("url")
    return "images" if isinstance(item, str) and _PICTURE.search(item[:_MAX_URL]) else "videos"


def _file(kind: str, item: Any, position: int) -> dict[str, Any] | None:
    """Return one file in Kling's shape, or None where it has no address."""
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
        usable = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < _MAX_ITEMS
        file = {"index": index if usable else position, "url": url}
    else:
        file = {"id": identifier(item.get("id")) or "", "url": url, "duration": _duration(item.get("duration"))}
    if "watermark_url" in item and (watermarked := _url(item["watermark_url"])) is not None:
        file["watermark_url"] = watermarked
    return file


def _url(value: Any) -> str | None:
    """Return `value` where it can be an address of a file: printable, without spaces, bounded."""
    return identifier(value, _MAX_URL) if isinstance(value, str) else None


def _duration(value: Any) -> str:
    """Return seconds as Kling writes them ("5.1"); "" where none are told."""
    if not isinstance(value, str):
        if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) >= 10**6:
            return ""
        value = repr(value)
    return value if _DURATION.fullmatch(value) else ""
