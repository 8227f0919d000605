"""Examples of request bodies, by the name of their route. Tests send each of them, and it is accepted."""

from collections.abc import Mapping
from typing import Any

from kling_relay.core.rule import Camera, Choice, Number, Picture, Rule, Text
from kling_relay.core.rulebook import OperationRules
from kling_relay.core.validation import SIMPLE

_PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAUAAAAFAAQAAAADl65gHAAAAOElEQVR42u3KoQEAAAwCIP9/envBYoNMrhRRFEVRFEVRFEVRFEVRFEVRFEVRFEVR"
    "HEYAAAAAgJEHx5bjtEmozpIAAAAASUVORK5CYII="
)
"""A PNG of 320 by 320 pixels, in Base64, so that the example works without a file or another server."""
_VIDEO = {
    "model_name": "kling-v1",
    "prompt": "A spaceship crosses the night sky",
    "mode": "std",
    "duration": "5",
    "aspect_ratio": "16:9",
}

BODIES: Mapping[str, Mapping[str, Any]] = {
    "order_images_generations": {
        "model_name": "kling-v1",
        "prompt": "A rabbit reads a newspaper, as a comic",
        "aspect_ratio": "16:9",
        "n": 1,
    },
    "order_videos_text2video": _VIDEO,
    "order_videos_image2video": {
        "model_name": "kling-v1",
        "image": _PICTURE,
        "prompt": "The sun rises over the hill",
        "mode": "std",
        "duration": "5",
    },
    "quote": {"operation": "videos/text2video", **_VIDEO},
    "create_subscription": {"url": "https://example.com/webhooks/kling", "events": ["task.succeed", "task.failed"]},
    "change_subscription": {"events": ["task.*"], "description": "All steps of all tasks"},
    "rotate_secret": {"overlap_seconds": 86_400},
    "replay_subscription": {"since": "2026-11-01T00:00:00Z", "only": "failed"},
    "retry_deliveries": {"status": "exhausted", "limit": 1_000},
    "callback": {
        "task_id": "845213798413246546",
        "task_status": "succeed",
        "task_status_msg": "",
        "created_at": 1_795_369_137_844,
        "updated_at": 1_795_369_187_901,
        "task_info": {},
        "task_result": {"videos": [{"id": "1", "url": "https://cdn.example.com/video.mp4", "duration": "5.1"}]},
    },
}


def smallest_order(rules: OperationRules) -> dict[str, Any]:
    """Return an order of the fields that an operation requires, with a value that each rule allows."""
    names = [name for name, rule in rules.fields.items() if rule.required]
    names += [group[0] for group in rules.at_least_one if not set(group) & set(names)]
    return {name: _value(rules.fields[name]) for name in names}


def _value(rule: Rule) -> Any:
    match rule:
        case Text():
            return "A rabbit reads a newspaper"[: rule.max_length]
        case Number():
            return rule.low
        case Choice():
            return rule.values[0]
        case Picture():
            return _PICTURE
        case Camera():
            return {"type": next(kind for kind in rule.types if kind != SIMPLE)}
