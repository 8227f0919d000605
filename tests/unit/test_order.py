"""Which orders are accepted, and what is forwarded to the provider."""

from typing import Any

import pytest

from kling_relay.core.operation import OPERATIONS, kind_of, kinds_of, operation_of
from kling_relay.core.order import Order, check, fingerprint
from tests.unit.orders import I2V, IMAGES, SEED, T2V, URL, faults, png


def test_the_seeds_first_example_is_a_text_to_image_order_without_a_hook() -> None:
    order = check(
        IMAGES,
        {
            "prompt": "漫画兔子吃草",
            "negative_prompt": "",
            "image": "",
            "image_fidelity": 0.5,
            "n": 1,
            "aspect_ratio": "4:3",
            "notify_hook": "",
        },
        SEED,
    )
    assert order.kind == "text2image"
    assert (order.hook, order.external_task_id, order.units) == (None, None, 1)
    assert order.fields == {
        "model_name": "kling-v1",
        "prompt": "漫画兔子吃草",
        "image_fidelity": 0.5,
        "n": 1,
        "aspect_ratio": "4:3",
    }


def test_the_seeds_short_examples_get_their_defaults() -> None:
    video = check(T2V, {"prompt": "太空飞船在航行"}, SEED)
    assert video.kind == "text2video"
    assert (video.model, video.mode, video.duration, video.units) == ("kling-v1", "std", "5", 1)
    moved = check(I2V, {"image": URL}, SEED)
    assert moved.kind == "image2video"
    assert moved.fields == {"model_name": "kling-v1", "image": URL, "mode": "std", "duration": "5"}


def test_the_seeds_full_examples_are_accepted() -> None:
    full = {
        "model_name": "kling-v1",
        "prompt": "太空飞船在航行",
        "negative_prompt": "",
        "cfg_scale": 0,
        "mode": "std",
        "aspect_ratio": "1:1",
        "duration": "5",
        "camera_control": {"type": "simple", "config": {"horizontal": 1}},
        "notify_hook": "",
    }
    assert check(T2V, full, SEED).fields["camera_control"] == {"type": "simple", "config": {"horizontal": 1}}
    assert check(T2V, full, SEED).fields["cfg_scale"] == 0
    of_image = {"image": URL, "image_tail": "", "prompt": "", "cfg_scale": 0, "aspect_ratio": "1:1", "duration": "5"}
    assert check(I2V, of_image, SEED).fields["aspect_ratio"] == "1:1"  # officially unknown there, really sent


def test_an_image_order_with_an_image_is_image2image() -> None:
    order = check(IMAGES, {"prompt": "a rabbit", "image": png(10, 10), "n": 4}, SEED)
    assert (order.kind, order.units, order.text_of("n")) == ("image2image", 4, "4")


@pytest.mark.parametrize("operation", [*OPERATIONS, "videos/lip-sync", "audio/tts"])
def test_every_kind_belongs_to_one_operation(operation: str) -> None:
    kinds = kinds_of(operation)
    assert [operation_of(kind) for kind in kinds] == [operation] * len(kinds)
    assert {kind_of(operation, has_image=has_image) for has_image in (False, True)} == set(kinds)


@pytest.mark.parametrize(
    ("sent", "gone_out"),
    [
        ({"model": "kling-v1"}, {"model_name": "kling-v1"}),
        ({"model": "", "model_name": "kling-v1"}, {"model_name": "kling-v1"}),
        ({"model": "kling-v1", "model_name": "kling-v1"}, {"model_name": "kling-v1"}),
        ({"duration": 10}, {"duration": "10"}),
        ({"duration": 10.0}, {"duration": "10"}),
        ({"duration": "10.0"}, {"duration": "10"}),
        ({"duration": None, "mode": "", "aspect_ratio": None}, {"duration": "5", "mode": "std"}),
        ({"cfg_scale": "0.5"}, {"cfg_scale": 0.5}),
        ({"cfg_scale": 1.0}, {"cfg_scale": 1}),
        ({"camera_control": {}}, {}),
        ({"camera_control": {"type": "", "config": None}}, {}),
        ({"camera_control": {"type": "down_back", "config": None}}, {"camera_control": {"type": "down_back"}}),
        ({"camera_control": {"type": "down_back", "config": {"pan": 0}}}, {"camera_control": {"type": "down_back"}}),
        (
            {"camera_control": {"config": {"pan": "-2", "tilt": 0, "zoom": None}}},
            {"camera_control": {"type": "simple", "config": {"pan": -2}}},
        ),
        (
            {"camera_control": {"type": "simple", "config": {"pan": 0.5}}},
            {"camera_control": {"type": "simple", "config": {"pan": 0.5}}},
        ),
        ({"something_new": {"a": [1, None]}}, {"something_new": {"a": [1, None]}}),
        ({"something_unset": None}, {}),
    ],
)
def test_the_spellings_of_clients_are_normalised(sent: dict[str, Any], gone_out: dict[str, Any]) -> None:
    order = check(T2V, {"prompt": "x", **sent}, SEED)
    assert order.fields == {"model_name": "kling-v1", "prompt": "x", "mode": "std", "duration": "5", **gone_out}


@pytest.mark.parametrize("n", ["3", 3.0, 3])
def test_the_number_of_images_may_have_any_spelling(n: object) -> None:
    assert check(IMAGES, {"prompt": "x", "n": n}, SEED).units == 3


@pytest.mark.parametrize("name", ["notify_hook", "callback_url", "notifyHook"])
def test_the_clients_hook_is_not_sent_to_the_provider(name: str) -> None:
    order = check(T2V, {"prompt": "x", name: "http://127.0.0.1:9000/hook?a=b"}, SEED)
    assert order.hook == "http://127.0.0.1:9000/hook?a=b"
    assert name not in order.fields


def test_two_hooks_must_be_equal() -> None:
    same = {"notify_hook": "https://a.example/", "callback_url": "https://a.example/"}
    assert check(T2V, {"prompt": "x", **same}, SEED).hook == "https://a.example/"
    assert (
        "contradict"
        in faults(T2V, {"prompt": "x", **same, "notify_hook": "https://b.example/"})["notify_hook and callback_url"]
    )


@pytest.mark.parametrize(
    "hook",
    ["ftp://a.example/", "a.example", "https://", "https://a b/", "http://[::1", "http://a:99999/", 7, "http://a\n/",
     "https://a.example/" + "x" * 2048, ["https://a.example/"], "javascript:alert(1)", "http://:80/"],
)  # fmt: skip
def test_a_hook_that_is_not_an_http_url_is_refused(hook: object) -> None:
    assert list(faults(T2V, {"prompt": "x", "notify_hook": hook})) == ["notify_hook"]


@pytest.mark.parametrize(("value", "external_id"), [("order 1/a", "order 1/a"), (77, "77"), (None, None), ("", None)])
def test_an_external_task_id_is_not_a_field(value: object, external_id: str | None) -> None:
    order = check(T2V, {"prompt": "x", "external_task_id": value}, SEED)
    assert order.external_task_id == external_id
    assert "external_task_id" not in order.fields


@pytest.mark.parametrize("external", ["x" * 129, "a\tb", "  ", "\x7f", True, {"a": 1}, 1.5])
def test_an_unprintable_external_task_id_is_refused(external: object) -> None:
    assert list(faults(T2V, {"prompt": "x", "external_task_id": external})) == ["external_task_id"]


# Fingerprints


def order(**members: object) -> Order:
    return check(I2V, {"image": URL, **members}, SEED)


def test_a_fingerprint_tells_orders_apart_and_nothing_else() -> None:
    assert fingerprint(order(duration=5)) == fingerprint(order(model="kling-v1", duration="5", prompt=""))
    different = [
        order(),
        order(duration=10),
        order(prompt="x"),
        order(external_task_id="a"),
        order(notify_hook="https://a.example/"),
        order(image=png(400, 400)),
        order(image=png(400, 400, 9000)),
        order(image=png(400, 401, 9000)),
        order(extra={"a": 1, "b": 2}),
        check(I2V, {"image": URL, "prompt": "x" * 400, "image_tail": URL}, SEED),
    ]
    prints = {fingerprint(one) for one in different}
    assert len(prints) == len(different)
    assert all(len(one) == 32 for one in prints)
    assert fingerprint(order(extra={"a": 1, "b": 2})) == fingerprint(order(extra={"b": 2, "a": 1}))
