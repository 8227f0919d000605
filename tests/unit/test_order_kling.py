"""What Kling itself accepts and refuses at present: the wider rule book."""

from typing import Any

import pytest

from kling_relay.core.order import check
from tests.unit.orders import I2V, IMAGES, KLING, T2V, URL, faults, png


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        (T2V, {"prompt": "x" * 2500}),
        (T2V, {"prompt": "x", "model_name": "kling-v3", "mode": "4k", "duration": 15}),
        (T2V, {"prompt": "x", "model_name": "kling-v7-unheard-of", "duration": 12, "sound": "on"}),
        (T2V, {"prompt": "x", "model_name": "kling-v2-master", "mode": "std", "cfg_scale": 0.5}),
        (IMAGES, {"prompt": "x", "aspect_ratio": "21:9", "model_name": "kling-v2"}),
        (I2V, {"image_tail": URL}),
        (I2V, {"image": URL, "image_tail": URL}),
        (I2V, {"image": png(750, 300)}),
        (I2V, {"image": URL, "model_name": "kling-v1-5", "mode": "pro",
               "camera_control": {"config": {"zoom": 2.5}}}),
    ],
)  # fmt: skip
def test_kling_2026_accepts(operation: str, body: dict[str, Any]) -> None:
    check(operation, body, KLING)


@pytest.mark.parametrize(
    ("operation", "body", "field"),
    [
        (T2V, {"prompt": "x", "model_name": "kling-v1-5"}, "model_name"),
        (T2V, {"prompt": "x", "mode": "4k"}, "mode"),
        (T2V, {"prompt": "x", "model_name": "kling-v2-master", "mode": "pro"}, "mode"),
        (T2V, {"prompt": "x", "model_name": "kling-v2-6", "cfg_scale": 0.7}, "cfg_scale"),
        (T2V, {"prompt": "x", "model_name": "kling-v3", "duration": 16}, "duration"),
        (T2V, {"prompt": "x", "duration": 3}, "duration"),
        (T2V, {"prompt": "x", "model_name": "kling-v1-6", "camera_control": {"type": "down_back"}}, "camera_control"),
        (I2V, {"image": URL, "camera_control": {"type": "down_back"}}, "camera_control"),
        (I2V, {"image": URL, "model_name": "kling-v1-5", "mode": "pro", "camera_control": {"type": "down_back"}},
         "camera_control.type"),
        (I2V, {"image": URL, "model_name": "kling-v1-5", "camera_control": {"config": {"pan": 1}}}, "camera_control"),
        (I2V, {"prompt": "x"}, "image or image_tail"),
        (I2V, {"image": URL, "image_tail": URL, "static_mask": URL}, "image_tail and static_mask"),
        (I2V, {"image": png(751, 300)}, "image"),
        (IMAGES, {"prompt": "x", "image": png(100, 100)}, "image"),
    ],
)  # fmt: skip
def test_kling_2026_refuses(operation: str, body: dict[str, Any], field: str) -> None:
    assert list(faults(operation, body, KLING)) == [field]


def test_a_model_without_modes_gets_no_mode() -> None:
    order = check(T2V, {"prompt": "x", "model_name": "kling-v2-master", "mode": "std", "cfg_scale": 0.5}, KLING)
    assert order.fields == {"model_name": "kling-v2-master", "prompt": "x", "duration": "5"}
    assert order.mode is None
