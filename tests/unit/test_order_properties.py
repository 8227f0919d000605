"""Any JSON is an order or a refusal with its faults, and checking an order twice changes nothing."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_relay.core.errors import InvalidOrder
from kling_relay.core.operation import OPERATIONS
from kling_relay.core.order import check, fingerprint
from tests.unit.orders import I2V, IMAGES, KLING, SEED, T2V, URL, png

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.characters().map(str)
    | st.sampled_from(["kling-v1", "kling-v1-5", "std", "pro", "5", "10", "16:9", "simple", "down_back", URL, "0.5"])
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(
    [
        "prompt", "negative_prompt", "image", "image_tail", "image_fidelity", "n", "aspect_ratio", "model",
        "model_name", "mode", "duration", "cfg_scale", "camera_control", "notify_hook", "callback_url",
        "external_task_id", "masks",
    ]
)  # fmt: skip
bodies = values | st.dictionaries(names | st.text(max_size=6), values, max_size=12)


@pytest.mark.long
@given(st.sampled_from(OPERATIONS), bodies, st.sampled_from([SEED, KLING]))
@settings(max_examples=400)
def test_any_json_value_is_an_order_or_an_invalid_order(operation: str, body: object, book: Any) -> None:
    try:
        order = check(operation, body, book)
    except InvalidOrder as refusal:
        assert refusal.faults  # noqa: PT017 - most bodies are refused, and none must raise anything else
        refusal.message.encode()
        return
    json.dumps(order.fields, allow_nan=False).encode()
    json.dumps(order.to_json()).encode()
    assert order.units >= 1


good: dict[str, st.SearchStrategy[Any]] = {
    "prompt": st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=50).map(
        "x".__add__
    ),
    "negative_prompt": st.none() | st.text("abc ", max_size=9),
    "mode": st.sampled_from(["std", "pro", None, ""]),
    "duration": st.sampled_from(["5", "10", 5, 10, 5.0, None]),
    "cfg_scale": st.floats(0, 1) | st.sampled_from(["0.25", "1", 0]),
    "aspect_ratio": st.sampled_from(["16:9", "9:16", "1:1", None]),
    "image": st.sampled_from([URL, png(400, 300), "data:image/png;base64," + png(300, 300)]),
    "external_task_id": st.none() | st.text("abc/ -", min_size=1, max_size=20).map("x".__add__),
    "notify_hook": st.sampled_from([None, "", "https://a.example/hook"]),
    "unheard_of": values,
}


@given(
    st.sampled_from([(T2V, SEED), (I2V, SEED), (I2V, KLING), (T2V, KLING), (IMAGES, KLING)]),
    st.fixed_dictionaries(good),
)
@settings(max_examples=200)
def test_checking_an_order_again_changes_nothing(at: tuple[str, Any], body: dict[str, Any]) -> None:
    try:
        once = check(*at[:1], body, at[1])
    except InvalidOrder as refusal:
        assert all(fault.field.startswith("unheard_of") for fault in refusal.faults)  # noqa: PT017 - it raises on purpose
        return
    again = {**once.fields, "external_task_id": once.external_task_id, "notify_hook": once.hook}
    assert check(at[0], again, at[1]) == once
    assert fingerprint(check(at[0], again, at[1])) == fingerprint(once)
