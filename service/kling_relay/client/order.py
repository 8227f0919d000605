"""Orders as bodies: Kling's own fields, an image given as URL, Base64, bytes or a file, nothing sent that is unset."""

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from kling_relay.core.operation import Kind, operation_of

Image = str | bytes | Path
"""A URL, Base64, the picture itself, or the file that it is in."""


class Wishes(TypedDict, total=False):
    """What any order may carry beside its own fields."""

    model_name: str | None
    negative_prompt: str | None
    aspect_ratio: str | None
    external_task_id: str | None
    notify_hook: str | None
    idempotency_key: str | None


class VideoWishes(Wishes, total=False):
    """What an order for a video may carry beside that; `mode` std or pro, `duration` in seconds."""

    cfg_scale: float | None
    mode: str | None
    duration: str | int | None
    camera_control: Mapping[str, Any] | None


def path_of(kind: Kind) -> str:
    """Return the path that an order of this kind is sent to."""
    return f"/kling/v1/{operation_of(kind)}"


def body_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are set, ready for JSON. Raises OSError where an image's file cannot be read."""
    body = {name: value for name, value in fields.items() if value is not None}
    for name in ("image", "image_tail"):
        if name in body:
            body[name] = _as_text(body[name])
    if "duration" in body:
        body["duration"] = str(body["duration"])
    return body


def _as_text(image: Image) -> str:
    match image:
        case Path():
            return b64encode(image.read_bytes()).decode("ascii")
        case bytes():
            return b64encode(image).decode("ascii")
        case _:
            return image
