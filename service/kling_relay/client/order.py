"""The body of an order: Kling's own fields. An image is a URL, Base64, bytes or a file."""

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from kling_relay.core.operation import operation_of

Image = str | bytes | Path
"""A URL, Base64, the bytes of a picture, or its file."""


class OrderOptions(TypedDict, total=False):
    """The optional fields of every order."""

    model_name: str | None
    negative_prompt: str | None
    aspect_ratio: str | None
    external_task_id: str | None
    notify_hook: str | None
    idempotency_key: str | None


class VideoOptions(OrderOptions, total=False):
    """The optional fields of an order for a video; `mode` is std or pro, `duration` is in seconds."""

    cfg_scale: float | None
    mode: str | None
    duration: str | int | None
    camera_control: Mapping[str, Any] | None


def path_of(kind: str) -> str:
    """Return the API path for an order of this kind, or at this operation."""
    return f"/kling/v1/{operation_of(kind)}"


def body_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are set, ready for JSON. Raises OSError if an image's file cannot be read."""
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
