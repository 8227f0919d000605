"""SDKs that know only an access key and a secret key: they sign a JWT and read responses strictly.

Kling's own ComfyUI node wants exactly 200, `data`, and a `task_result` in every response about images.
"""

import time
from typing import Any

import jwt
import pytest

from tests.api.clients.conftest import ACCESS_KEY, Service
from tests.api.clients.test_web_ui import JPEG
from tests.support.service import KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE = 5.0
"""Seconds after which the node gives up."""
CAMERA = {"horizontal": 0.5, "vertical": None, "pan": None, "tilt": None, "roll": None, "zoom": None}

STILL = dict.fromkeys(CAMERA, 0.0)


def signed(**claims: Any) -> dict[str, str]:
    """Return the headers of an SDK: seconds as integers, valid since 5 s and for 1800 s."""
    now = int(time.time())
    claims = {"iss": ACCESS_KEY, "exp": now + 1800, "nbf": now - 5, **claims}
    token = jwt.encode(claims, KEY, algorithm="HS256", headers={"typ": "JWT"})
    return {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}


ORDERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "a picture with everything unset": (
        "images/generations",
        {
            "model_name": "kling-v1",
            "prompt": "a rabbit",
            "negative_prompt": None,
            "image": None,
            "image_fidelity": None,
            "n": None,
            "aspect_ratio": None,
            "callback_url": None,
        },
        {"model_name": "kling-v1", "prompt": "a rabbit", "n": 1},
    ),
    "pictures counted in floats": (
        "images/generations",
        {"model_name": "kling-v1", "prompt": "rabbits", "n": 2.0, "image_fidelity": 0.5, "image": JPEG},
        {"n": 2, "image_fidelity": 0.5},
    ),
    "a video whose seconds are a number": (
        "videos/text2video",
        {"model_name": "kling-v1", "prompt": "a rabbit", "duration": 5, "cfg_scale": 0.5, "mode": None},
        {"duration": "5", "cfg_scale": 0.5, "mode": "std"},
    ),
    "a video whose seconds are a float": (
        "videos/text2video",
        {"prompt": "a rabbit", "duration": 10.0, "cfg_scale": 1.0, "camera_control": {"type": None, "config": None}},
        {"duration": "10", "cfg_scale": 1},
    ),
    "a camera moved by half": (
        "videos/text2video",
        {"prompt": "a rabbit", "duration": "5", "camera_control": {"type": "simple", "config": CAMERA}},
        {"camera_control": {"type": "simple", "config": {"horizontal": 0.5}}},
    ),
    "a video from a picture": (
        "videos/image2video",
        {
            "model_name": "kling-v1-5",
            "image": JPEG,
            "image_tail": None,
            "prompt": None,
            "cfg_scale": 0.5,
            "mode": "pro",
        },
        {"model_name": "kling-v1-5", "image": JPEG, "mode": "pro", "cfg_scale": 0.5},
    ),
}


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.long
async def test_the_sdks_requests_are_accepted_and_its_fields_answered(service: Service, name: str) -> None:
    operation, order, expected = ORDERS[name]
    headers = signed()
    status, body, _ = await service.send("POST", f"/v1/{operation}", order, headers)
    assert status == 200, body
    assert read(body)["task_status"] == "submitted"
    sent = service.last_order(operation)
    assert {name: sent[name] for name in expected} == expected
    assert None not in sent.values()
    shown = read(await service.poll_until_final(f"/v1/{operation}/{body['data']['task_id']}", headers))
    kind = "images" if operation.startswith("images") else "videos"
    for result in shown["task_result"][kind]:
        assert result["url"].startswith("http")
        assert kind == "images" or (isinstance(result["id"], str) and isinstance(result["duration"], str))


@pytest.mark.long
async def test_an_sdk_gets_its_response_in_time_from_a_slow_provider(service: Service) -> None:
    began = time.monotonic()
    status, body, _ = await service.send("POST", "/v1/videos/text2video", {"prompt": "a [slow:10s]"}, signed())
    assert time.monotonic() - began < PATIENCE
    assert (status, read(body)["task_status"]) == (200, "submitted")
    status, body, _ = await service.send("GET", f"/v1/videos/text2video/{body['data']['task_id']}", headers=signed())
    assert (status, read(body)["task_status"]) == (200, "submitted")


@pytest.mark.parametrize("operation", ["images/generations", "videos/text2video"])
@pytest.mark.long
async def test_an_unfinished_task_has_an_empty_result(service: Service, operation: str) -> None:
    headers = signed()
    _, body, _ = await service.send("POST", f"/v1/{operation}", {"prompt": "a [takes:0.5s]"}, headers)
    _, body, _ = await service.send("GET", f"/v1/{operation}/{body['data']['task_id']}", headers=headers)
    assert read(body)["task_result"] == {}


@pytest.mark.parametrize(
    ("claims", "code"),
    [({"exp": 1}, 1004), ({"nbf": 4_000_000_000}, 1003), ({"iss": "an-access-key-of-somebody-else"}, 1002)],
)
async def test_a_wrong_jwt_is_refused_with_klings_code(service: Service, claims: dict[str, Any], code: int) -> None:
    status, body, _ = await service.send("GET", "/v1/videos/text2video", headers=signed(**claims))
    assert (status, body["code"]) == (401, code)
    assert body["request_id"]


async def test_an_sdk_reads_all_pages_of_tasks(service: Service) -> None:
    headers = signed()
    created = set()
    for number in range(5):
        _, body, _ = await service.send("POST", "/v1/images/generations", {"prompt": f"page {number}"}, headers)
        created.add(body["data"]["task_id"])
    received: list[str] = []
    page = 1
    while True:
        path = f"/v1/images/generations?pageNum={page}&pageSize=2"
        status, body, _ = await service.send("GET", path, headers=headers)
        assert (status, body["code"]) == (200, 0)
        if not body["data"]:
            break
        received += [task["task_id"] for task in body["data"]]
        page += 1
    assert len(received) == len(set(received))
    assert set(received[:5]) == created


def read(body: dict[str, Any]) -> dict[str, Any]:
    """Return `data`, read as strictly typed clients read it."""
    assert isinstance(body["code"], int)
    assert body["code"] == 0
    assert isinstance(body["message"], str)
    assert isinstance(body["request_id"], str)
    data: dict[str, Any] = body["data"]
    assert isinstance(data["task_id"], str)
    assert isinstance(data["created_at"], int)
    assert isinstance(data["updated_at"], int)
    assert data["created_at"] > 1_600_000_000_000
    assert isinstance(data.get("task_result", {}), dict)
    return data
