"""Which orders are refused, and by which faults."""

import base64
import json
from typing import Any

import pytest

from kling_relay.core.order import check
from tests.unit.orders import I2V, IMAGES, SEED, T2V, URL, faults, png


@pytest.mark.parametrize(
    ("operation", "body", "field"),
    [
        (IMAGES, {}, "prompt"),
        (IMAGES, {"prompt": "  "}, "prompt"),
        (IMAGES, {"prompt": 5}, "prompt"),
        (IMAGES, {"prompt": "x" * 501}, "prompt"),
        (IMAGES, {"prompt": "x", "negative_prompt": "y" * 201}, "negative_prompt"),
        (IMAGES, {"prompt": "x", "n": 0}, "n"),
        (IMAGES, {"prompt": "x", "n": 10}, "n"),
        (IMAGES, {"prompt": "x", "n": 1.5}, "n"),
        (IMAGES, {"prompt": "x", "n": True}, "n"),
        (IMAGES, {"prompt": "x", "n": 1e300}, "n"),
        (IMAGES, {"prompt": "x", "image_fidelity": 1.01}, "image_fidelity"),
        (IMAGES, {"prompt": "x", "image_fidelity": "1_0"}, "image_fidelity"),
        (IMAGES, {"prompt": "x", "aspect_ratio": "21:9"}, "aspect_ratio"),
        (IMAGES, {"prompt": "x", "image": "not base64!"}, "image"),
        (IMAGES, {"prompt": "x", "image": "ftp://a.example/a.png"}, "image"),
        (IMAGES, {"prompt": "x", "image": ["a"]}, "image"),
        (T2V, {"prompt": "x", "aspect_ratio": "4:3"}, "aspect_ratio"),
        (T2V, {"prompt": "x", "model_name": "kling-v1-5"}, "model_name"),
        (T2V, {"prompt": "x", "model": "kling-v9"}, "model_name"),
        (T2V, {"prompt": "x", "model": ["kling-v1"]}, "model_name"),
        (I2V, {"image": URL, "model": "kling-v1", "model_name": "kling-v1-5"}, "model"),
        (T2V, {"prompt": "x", "model_name": "*"}, "model_name"),
        (T2V, {"prompt": "x", "mode": "4k"}, "mode"),
        (T2V, {"prompt": "x", "mode": ["std"]}, "mode"),
        (T2V, {"prompt": "x", "duration": 7}, "duration"),
        (T2V, {"prompt": "x", "duration": True}, "duration"),
        (T2V, {"prompt": "x", "cfg_scale": -0.1}, "cfg_scale"),
        (T2V, {"prompt": "x", "camera_control": "simple"}, "camera_control"),
        (T2V, {"prompt": "x", "camera_control": {"type": "spin"}}, "camera_control.type"),
        (T2V, {"prompt": "x", "camera_control": {"type": ["simple"]}}, "camera_control.type"),
        (T2V, {"prompt": "x", "camera_control": {"type": "simple"}}, "camera_control.config"),
        (T2V, {"prompt": "x", "camera_control": {"type": "simple", "config": [1]}}, "camera_control.config"),
        (T2V, {"prompt": "x", "camera_control": {"config": {"pan": 1, "tilt": 1}}}, "camera_control.config"),
        (T2V, {"prompt": "x", "camera_control": {"config": {"pan": 0}}}, "camera_control.config"),
        (T2V, {"prompt": "x", "camera_control": {"config": {"pan": 11}}}, "camera_control.config.pan"),
        (T2V, {"prompt": "x", "camera_control": {"config": {"spin": 1}}}, "camera_control.config.spin"),
        (T2V, {"prompt": "x", "camera_control": {"type": "down_back", "config": {"pan": 1}}}, "camera_control.config"),
        (T2V, {"prompt": "x", "mode": "pro", "camera_control": {"type": "down_back"}}, "camera_control"),
        (T2V, {"prompt": "x", "duration": 10, "camera_control": {"type": "down_back"}}, "camera_control"),
        (I2V, {}, "image"),
        (I2V, {"image": None, "image_tail": URL}, "image"),
        (I2V, {"image": png(299, 400)}, "image"),
        (I2V, {"image": URL, "image_tail": png(400, 200)}, "image_tail"),
        (I2V, {"image": base64.b64encode(b"GIF89a" + bytes(50)).decode()}, "image"),
    ],
)
def test_a_single_fault_is_reported_alone(operation: str, body: dict[str, Any], field: str) -> None:
    assert list(faults(operation, body)) == [field]


def test_every_fault_is_reported_at_once() -> None:
    body = {
        "model": "kling-v1-5",
        "prompt": "x" * 501,
        "negative_prompt": 1,
        "cfg_scale": 2,
        "mode": "fast",
        "aspect_ratio": "2:1",
        "duration": 6,
        "camera_control": {"type": "simple", "config": {"pan": 11, "up": 1}},
        "notify_hook": "nowhere",
        "external_task_id": "\t",
        "extra": [float("nan")],
    }
    assert set(faults(T2V, body)) == {
        "model_name", "prompt", "negative_prompt", "cfg_scale", "mode", "aspect_ratio", "duration",
        "camera_control.config.pan", "camera_control.config.up", "notify_hook", "external_task_id", "extra[0]",
    }  # fmt: skip


def test_a_prompts_length_is_counted_in_characters() -> None:
    assert len(check(T2V, {"prompt": "兔" * 500}, SEED).fields["prompt"]) == 500


def test_an_image_over_ten_megabytes_is_refused_and_one_of_ten_is_not() -> None:
    check(I2V, {"image": png(400, 400, 10 * 2**20 - 33)}, SEED)
    assert "at most 10 MB" in faults(I2V, {"image": png(400, 400, 10 * 2**20)})["image"]


def test_base64_reaches_the_provider_without_its_prefix() -> None:
    plain = png(400, 400)
    order = check(I2V, {"image": f"data:image/png;base64,{plain}"}, SEED)
    assert order.fields["image"] == plain
    assert order.to_json()["image"] == "Base64 image, png 400x400, 0.00 MB"
    assert check(I2V, {"image": URL}, SEED).to_json()["image"] == URL


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("member", "field"),
    [
        ({"prompt": "a\x00b"}, "prompt"),
        ({"prompt": "a\ud800b"}, "prompt"),
        ({"cfg_scale": float("nan")}, "cfg_scale"),
        ({"cfg_scale": float("inf")}, "cfg_scale"),
        ({"cfg_scale": 10**5000}, "cfg_scale"),
        ({"cfg_scale": -(2**63) - 1}, "cfg_scale"),
        ({"extra": nested(17)}, "extra"),
        ({"extra": nested(100_000)}, "extra"),
        ({"extra": [0] * 10_001}, "extra"),
        ({"extra": {"a": [{"b\x00": 1}]}}, "extra.a[0].b\\x00"),
        ({"extra": {"a": ["\udfff"]}}, "extra.a[0]"),
        ({"extra": {1: 2}}, "extra"),
        ({"extra": {1, 2}}, "extra"),
        ({"x\x00": 1}, "x\\x00"),
        ({"\ud800": 1}, "\\ud800"),
        ({3: 1}, "body"),
    ],
)
def test_a_value_that_no_order_may_contain_is_a_fault(member: dict[Any, Any], field: str) -> None:
    details = faults(T2V, {"prompt": "x", **member})
    assert list(details) == [field]
    json.dumps(details).encode()  # every fault can be sent as JSON


@pytest.mark.parametrize("body", [None, [], "x", 1, True, float("nan")])
def test_an_order_must_be_an_object(body: object) -> None:
    assert list(faults(T2V, body)) == ["body"]
