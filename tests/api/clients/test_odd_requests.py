"""Odd requests of real clients: odd queries, doubled slashes, prefixes of proxies, unknown members."""

from typing import Any

import pytest

from tests.api.clients.conftest import Service
from tests.support.service import KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATHS = [
    "/kling/v1/videos/text2video",
    "/v1/videos/text2video",
    "/proxy/kling/v1/videos/text2video",
    "/kling/v1/videos/text2video/",
    "//kling/v1/videos/text2video",
    "/kling//v1//videos///text2video//",
    "/proxy//kling/v1/videos/text2video/",
    "/kling/v1/videos/text2video?=null",
    "/kling/v1/videos/text2video?",
    "/kling/v1/videos/text2video?&&a=b=c&%00=%ff",
    "/kling/v1/videos/text2video/?=null",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.long
async def test_an_order_and_its_task_work_under_every_spelling_of_a_path(service: Service, path: str) -> None:
    status, body, _ = await service.send("POST", path, {"prompt": "a rabbit"})
    assert (status, body["code"]) == (200, 0), body
    bare, mark, query = path.partition("?")
    task = body["data"]["task_id"]
    shown = await service.poll_until_final(f"{bare}/{task}{mark}{query}")
    assert shown["data"]["task_id"] == task
    status, body, _ = await service.send("GET", path)
    assert (status, body["data"][0]["task_id"]) == (200, task)


ORDERS: dict[str, dict[str, Any]] = {
    "callback_url for notify_hook": {"prompt": "a", "callback_url": "HOOK"},
    "notifyHook": {"prompt": "a", "notifyHook": "HOOK"},
    "two spellings that agree": {"prompt": "a", "notify_hook": "HOOK", "callback_url": "HOOK"},
    "model and model_name that agree": {"prompt": "a", "model": "kling-v1", "model_name": "kling-v1"},
    "members nobody knows": {"prompt": "a", "sound": "off", "watermark_info": {"enabled": False}, "voice_list": []},
    "numbers as text": {"prompt": "a", "cfg_scale": "0.5", "duration": " 5 "},
    "an external id that is a number": {"prompt": "a", "external_task_id": 20261122},
    "a camera that stands still": {"prompt": "a", "camera_control": {"type": "", "config": {}}},
    "characters of every kind": {"prompt": "🐇\u200d🌙 \u202etibbar\u202c \n\t\\ \"'", "negative_prompt": "ＮＯ"},
}


@pytest.mark.parametrize("name", ORDERS)
async def test_an_oddly_written_order_is_accepted(service: Service, name: str) -> None:
    order = {member: service.hook.url if value == "HOOK" else value for member, value in ORDERS[name].items()}
    status, body, _ = await service.send("POST", "/kling/v1/videos/text2video", order)
    assert (status, body["code"]) == (200, 0), body
    shown = await service.poll_until_final(f"/kling/v1/videos/text2video/{body['data']['task_id']}")
    assert shown["data"]["task_status"] == "succeed"
    assert service.last_order("videos/text2video")["prompt"] == order["prompt"]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"bearer {KEY}"},
        {"Authorization": f"Bearer  {KEY} ", "Content-Type": "text/plain"},
        {"Authorization": f"BEARER {KEY}", "Content-Type": "application/json; charset=utf-8"},
        {"Authorization": f"Bearer {KEY}", "Content-Type": "application/x-www-form-urlencoded"},
        {"Authorization": f"Bearer {KEY}", "Accept": "text/html", "Expect": "100-continue"},
    ],
)
async def test_odd_headers_are_accepted(service: Service, headers: dict[str, str]) -> None:
    status, body, response_headers = await service.send(
        "POST", "/kling/v1/images/generations", {"prompt": "a"}, headers
    )
    assert (status, body["code"]) == (200, 0), body
    assert response_headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/kling/v1/videos/text2video/no-such-task", 404, 1203),
        ("GET", "/kling/v1/videos/lip-sync/any", 404, 1203),
        ("POST", "/kling/v1/videos/lip-sync", 404, 1203),
        ("DELETE", "/kling/v1/videos/text2video", 405, 1202),
    ],
)
async def test_an_unknown_path_is_refused_in_klings_format(
    service: Service, method: str, path: str, status: int, code: int
) -> None:
    actual, body, _ = await service.send(method, path)
    assert (actual, body["code"]) == (status, code), body
    assert body["error"]["message"] == body["message"]
    assert body["request_id"]
    assert body.get("data") is None
