"""The gateway's own web UI (public as chatgpt-web-midjourney-proxy).

It sends `model`, empty strings and headers of its own, deletes rows by `request_id` as if that were the task's id,
shows only `error.message`, and stops polling at the first error.
"""

import base64
import io
from typing import Any

import pytest
from PIL import Image

from tests.api.clients.conftest import Service
from tests.support.service import KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEADERS = {
    "Content-Type": "application/json",
    "x-ptoken": "whatever the page has",
    "x-vtoken": "",
    "x-ctoken": "",
    "Mj-Version": "2.21",
    "Origin": "https://page.example",
    "Authorization": f"Bearer {KEY}",
}


def picture(form: str) -> str:
    file = io.BytesIO()
    Image.new("RGB", (320, 320), "teal").save(file, form)
    return base64.b64encode(file.getvalue()).decode()


JPEG = picture("JPEG")
UNSET = {"negative_prompt": "", "image": "", "image_tail": ""}
FORMS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "a picture": (
        "images/generations",
        {
            "prompt": "大雪纷飞",
            "negative_prompt": "",
            "image": "",
            "image_fidelity": 0.5,
            "n": 1,
            "aspect_ratio": "1:1",
        },
        {"prompt": "大雪纷飞", "image_fidelity": 0.5, "n": 1, "aspect_ratio": "1:1"},
    ),
    "a picture from a picture, with its data: prefix": (
        "images/generations",
        {"prompt": "by moonlight", "image": f"data:image/jpeg;base64,{JPEG}", "image_fidelity": 0.5, "n": 2},
        {"prompt": "by moonlight", "image": JPEG, "image_fidelity": 0.5, "n": 2},
    ),
    "a video": (
        "videos/text2video",
        {**UNSET, "prompt": "a rabbit", "aspect_ratio": "1:1", "mode": "std", "duration": "5", "model": "kling-v1"},
        {"prompt": "a rabbit", "aspect_ratio": "1:1", "mode": "std", "duration": "5", "model_name": "kling-v1"},
    ),
    "a video with a camera": (
        "videos/text2video",
        {**UNSET, "prompt": "a rabbit", "mode": "std", "duration": "5", "camera_control": {"type": "down_back"}},
        {"prompt": "a rabbit", "mode": "std", "duration": "5", "camera_control": {"type": "down_back"}},
    ),
    "a video from a picture": (
        "videos/image2video",
        {**UNSET, "prompt": "", "image": JPEG, "aspect_ratio": "16:9", "duration": "10", "model": "kling-v1-5"},
        {"image": JPEG, "aspect_ratio": "16:9", "duration": "10", "model_name": "kling-v1-5"},
    ),
    "a video between two pictures": (
        "videos/image2video",
        {"prompt": "a rabbit", "image": JPEG, "image_tail": JPEG, "mode": "pro", "duration": "5", "model": "kling-v1"},
        {"image": JPEG, "image_tail": JPEG, "mode": "pro", "model_name": "kling-v1"},
    ),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.long
async def test_orders_of_the_web_uis_forms_are_submitted_polled_and_shown(service: Service, name: str) -> None:
    operation, form, expected = FORMS[name]
    status, body, headers = await service.send("POST", f"/kling/v1/{operation}", form, HEADERS)
    assert (status, body["code"]) == (200, 0), body
    assert body["request_id"] == body["data"]["task_id"]
    assert headers["access-control-allow-origin"] == "*"
    order = service.last_order(operation)
    assert {name: order[name] for name in expected} == expected
    assert "model" not in order
    assert "" not in order.values()
    shown = await service.poll_until_final(f"/kling/v1/{operation}/{body['data']['task_id']}", HEADERS)
    assert shown["request_id"] == body["request_id"]
    result = shown["data"]["task_result"]
    assert (result["images"] or result["videos"])[0]["url"].startswith("http")


@pytest.mark.parametrize(
    ("form", "shows"),
    [
        ({"prompt": "a", "model": "kling-v9"}, "model_name"),
        ({"prompt": ""}, "prompt is required"),
        ({"prompt": "a [1301]"}, "content security"),
        ({"prompt": "a", "image_tail": "not a picture", "camera_control": {"type": "simple"}}, "camera_control"),
    ],
)
async def test_an_error_is_in_the_one_member_that_the_web_ui_reads(
    service: Service, form: dict[str, Any], shows: str
) -> None:
    status, body, _ = await service.send("POST", "/kling/v1/videos/text2video", form, HEADERS)
    assert status == 400
    assert shows in body["error"]["message"].lower()
    assert body["message"] == body["error"]["message"]


async def test_the_web_ui_without_a_key_is_asked_for_one(service: Service) -> None:
    without = {name: value for name, value in HEADERS.items() if name != "Authorization"}
    status, body, headers = await service.send("POST", "/kling/v1/images/generations", {"prompt": "a"}, without)
    assert status == 401
    assert "key" in body["error"]["message"]
    assert headers["access-control-allow-origin"] == "*"


async def test_preflights_of_the_web_ui_are_accepted_on_every_path(service: Service) -> None:
    for path in ("images/generations", "videos/text2video", "videos/image2video", "videos/text2video/any-task"):
        requested = {
            "Origin": "https://page.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,mj-version,x-ctoken,x-ptoken,x-vtoken",
        }
        status, _, headers = await service.send("OPTIONS", f"/kling/v1/{path}", headers=requested)
        assert status == 204
        allowed = {name.strip().lower() for name in headers["access-control-allow-headers"].split(",")}
        assert set(requested["Access-Control-Request-Headers"].split(",")) <= allowed


async def test_polling_survives_errors_of_the_provider(service: Service) -> None:
    _, body, _ = await service.send(
        "POST", "/kling/v1/videos/text2video", {"prompt": "a [takes:0.3s][poll-html][spelling:shouting]"}, HEADERS
    )
    shown = await service.poll_until_final(f"/kling/v1/videos/text2video/{body['data']['task_id']}", HEADERS)
    assert shown["data"]["task_status"] == "succeed"


async def test_the_web_ui_gets_the_reason_of_a_failed_task(service: Service) -> None:
    _, body, _ = await service.send("POST", "/kling/v1/videos/text2video", {"prompt": "a [fail:too dark]"}, HEADERS)
    shown = await service.poll_until_final(f"/kling/v1/videos/text2video/{body['data']['task_id']}", HEADERS)
    assert (shown["data"]["task_status"], shown["data"]["task_status_msg"]) == ("failed", "too dark")
    assert shown["data"]["task_result"] == {}
