"""An order as the provider reads it: lightly checked, and priced by the `seed` price list.

The checks are wider than those of any rule book, so that an order that a client should have refused shows up here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from kling_relay.core.operation import GENERATIONS, IMAGE2VIDEO
from kling_relay.sandbox.errors import RefusalError

_RATIOS = frozenset({"16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"})
_MODES = frozenset({"std", "pro", "4k"})
_CAMERAS = frozenset({"simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward"})
_MOVEMENTS = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
_MAX_PROMPT = 2500


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order with its defaults filled in: `price` in units, `slots` in concurrent tasks, `seconds` of video."""

    operation: str
    prompt: str
    ratio: str
    n: int
    seconds: int
    price: Decimal
    hook: str
    external_task_id: str

    @property
    def slots(self) -> int:
        return self.n if self.operation == GENERATIONS else 1


@lru_cache(maxsize=256)
def video_price(model: str, mode: str, seconds: int) -> Decimal:
    """Return a video's price in units: 1 per 5 s, pro (and 4k) x 3.5, every model after kling-v1 x 2."""
    price = Decimal(seconds) / 5
    if mode != "std":
        price *= Decimal("3.5")
    return price if model == "kling-v1" else price * 2


def read_order(
    operation: str, body: Any, *, hook_fields: tuple[str, ...] = ("notify_hook",), external_ids: bool = True
) -> Order:
    """Return the order in `body`; raise RefusalError 1200 unless it is an object, 1201 for the first wrong member."""
    if not isinstance(body, dict):
        raise RefusalError(1200, "the body is not a JSON object")
    prompt = _text(body, "prompt", max_length=_MAX_PROMPT)
    _text(body, "negative_prompt", max_length=_MAX_PROMPT)
    image = _text(body, "image") or (_text(body, "image_tail") if operation == IMAGE2VIDEO else "")
    if operation == IMAGE2VIDEO:
        if not image:
            raise RefusalError(1201, "image: image or image_tail is required")
    elif not prompt:
        raise RefusalError(1201, "prompt: required")
    ratio = _one_of(body, "aspect_ratio", _RATIOS, "16:9")
    hook = next((url for name in hook_fields if (url := _text(body, name))), "")
    external = _text(body, "external_task_id", max_length=256) if external_ids else ""
    if operation == GENERATIONS:
        _number(body, "image_fidelity", 0, 1)
        n = _whole(body, "n", 1, 9, 1)
        price, seconds = Decimal(n), 0
    else:
        _number(body, "cfg_scale", 0, 1)
        n, seconds = 1, _whole(body, "duration", 3, 15, 5)
        price = video_price(
            _text(body, "model_name") or "kling-v1",
            _one_of(body, "mode", _MODES, "std"),
            seconds,
        )
        _check_camera(body.get("camera_control"))
    return Order(
        operation=operation,
        prompt=prompt,
        ratio=ratio,
        n=n,
        seconds=seconds,
        price=price,
        hook=hook,
        external_task_id=external,
    )


def _text(body: Mapping[str, Any], name: str, *, max_length: int | None = None) -> str:
    """Return a member that is a string, "" if it is absent or null."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RefusalError(1201, f"{name}: must be a string")
    if max_length is not None and len(value) > max_length:
        raise RefusalError(1201, f"{name}: must have at most {max_length} characters")
    return value


def _one_of(body: Mapping[str, Any], name: str, values: frozenset[str], default: str) -> str:
    value = _text(body, name) or default
    if value not in values:
        raise RefusalError(1201, f"{name}: must be one of {', '.join(sorted(values))}")
    return value


def _number(body: Mapping[str, Any], name: str, minimum: float, maximum: float) -> None:
    value = body.get(name)
    if value is None or value == "":
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not minimum <= value <= maximum:
        raise RefusalError(1201, f"{name}: must be a number from {minimum} to {maximum}")


def _whole(body: Mapping[str, Any], name: str, minimum: int, maximum: int, default: int) -> int:
    """Return a whole number, which may be a string ("5"), as in Kling's durations."""
    value = body.get(name)
    if value is None or value == "":
        return default
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdigit() and len(text) < 4):
        raise RefusalError(1201, f"{name}: must be a whole number")
    if not minimum <= int(text) <= maximum:
        raise RefusalError(1201, f"{name}: must be from {minimum} to {maximum}")
    return int(text)


def _check_camera(camera: Any) -> None:
    """Refuse the camera_control that Kling refuses: `simple` takes exactly one movement, the other types take none."""
    if not camera:
        return
    if not isinstance(camera, dict) or camera.get("type", "simple") not in _CAMERAS:
        raise RefusalError(1201, "camera_control.type: is unknown")
    config = camera.get("config") or {}
    if not isinstance(config, dict):
        raise RefusalError(1201, "camera_control.config: must be an object")
    for name in _MOVEMENTS:
        try:
            _number(config, name, -10, 10)
        except RefusalError as error:
            raise RefusalError(1201, f"camera_control.config.{error.message}") from None
    movements = [name for name in _MOVEMENTS if config.get(name)]
    if camera.get("type", "simple") == "simple":
        if len(movements) != 1:
            raise RefusalError(1201, "camera_control.config: must have exactly one member other than 0 for type simple")
    elif movements:
        raise RefusalError(1201, "camera_control.config: is only for type simple")
