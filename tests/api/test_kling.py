"""Kling's paths, as real clients use them."""

import base64
import io
import struct
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import orjson
import pytest

from tests.support.relay import VIDEO, House


def large_picture(size: int) -> str:
    """Return a PNG of 400 by 400 pixels, padded to `size` bytes, as Base64."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 400, 400, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(400 * 1201)))
    padding = chunk(b"tEXt", b"x" * (size - len(pixels)))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + head + pixels + padding + chunk(b"IEND", b"")).decode()


PREFIXES = ("/kling/v1", "/v1", "/proxy/kling/v1")


async def test_an_order_is_answered_as_the_seed_has_it(home: House) -> None:
    status, said = await home.post("/kling/v1/videos/text2video", {"prompt": "太空飞船在航行"})
    assert status == 200
    assert list(said) == ["code", "message", "request_id", "data"]
    assert (said["code"], said["message"]) == (0, "成功")
    assert said["request_id"] == said["data"]["task_id"]
    assert list(said["data"]) == ["task_id", "task_status", "created_at", "updated_at"]
    assert said["data"]["task_status"] == "submitted"
    assert home.provider.orders[0]["prompt"] == "太空飞船在航行"


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_every_prefix_leads_to_the_same_task(home: House, prefix: str) -> None:
    task = await home.order()
    status, said = await home.get(f"{prefix}/videos/text2video/{task}")
    assert (status, said["data"]["task_id"], said["request_id"]) == (200, task, task)


async def test_a_finished_video_has_null_for_pictures(home: House) -> None:
    task = await home.order()
    await home.done(task)
    _, said = await home.get(f"/kling/v1/videos/text2video/{task}")
    data = said["data"]
    assert data["task_status"] == "succeed"
    assert data["task_status_msg"] == ""
    assert data["task_result"] == {"images": None, **VIDEO}


async def test_a_failed_task_is_a_good_answer_with_its_reason(home: House) -> None:
    task = await home.order()
    await home.called_back(task, "failed", task_status_msg="risk control")
    status, said = await home.get(f"/kling/v1/videos/text2video/{task}")
    assert (status, said["code"]) == (200, 0)
    assert (said["data"]["task_status"], said["data"]["task_status_msg"]) == ("failed", "risk control")
    assert said["data"]["task_result"] == {}


async def test_a_task_is_found_by_the_name_its_client_gave_it(home: House) -> None:
    task = await home.order(external_task_id="my task/1")
    status, said = await home.get("/kling/v1/videos/text2video/my%20task%2F1")
    assert (status, said["data"]["task_id"]) == (200, task)
    assert said["data"]["task_info"] == {"external_task_id": "my task/1"}


async def test_a_page_of_tasks_holds_the_newest_of_that_door(home: House) -> None:
    made = [await home.order(f"number {number}") for number in range(3)]
    await home.order("a picture", operation="images/generations")
    _, first = await home.get("/kling/v1/videos/text2video?pageNum=1&pageSize=2")
    _, second = await home.get("/kling/v1/videos/text2video?pageNum=2&pageSize=2")
    assert [task["task_id"] for task in first["data"] + second["data"]] == made[::-1]


@pytest.mark.parametrize("query", ["pageNum=0", "pageSize=501", "pageNum=x", "pageNum=1001"])
async def test_a_page_that_cannot_be_is_refused(home: House, query: str) -> None:
    status, said = await home.get(f"/kling/v1/videos/text2video?{query}")
    assert (status, said["code"]) == (400, 1201)


@pytest.mark.parametrize(
    "path",
    [
        "//kling//v1/videos/text2video/",
        "/kling/v1/videos/text2video?=null",
        "/kling/v1/videos/text2video/?=null&x",
        "/proxy//kling/v1/videos/text2video",
    ],
)
async def test_odd_paths_and_queries_are_taken(home: House, path: str) -> None:
    status, said = await home.post(path, {"prompt": "a rabbit"})
    assert (status, said["code"]) == (200, 0)


async def test_every_fault_of_an_order_is_told_at_once(home: House) -> None:
    status, said = await home.post(
        "/kling/v1/videos/text2video", {"cfg_scale": 7, "duration": "99", "notify_hook": "ftp://x"}
    )
    assert (status, said["code"]) == (400, 1201)
    assert all(name in said["message"] for name in ("prompt", "cfg_scale", "duration", "notify_hook"))
    assert said["error"] == {"message": said["message"], "type": "invalid_order", "code": 1201}
    assert "data" not in said
    assert home.provider.orders == []


@pytest.mark.parametrize(
    "body", ["", "nonsense", '{"prompt": NaN}', '{"prompt": "\\ud800"}', "[1]", '"x"', '{"prompt":' + "[" * 99]
)
async def test_an_invalid_order_is_refused_in_klings_format(home: House, body: str) -> None:
    status, said = await home.call("POST", "/kling/v1/videos/text2video", data=body)
    assert status == 400
    assert said["code"] in {1200, 1201}
    assert said["error"]["message"]


async def test_another_clients_task_is_not_found(home: House) -> None:
    task = await home.order(external_task_id="mine")
    other = await home.key_of("somebody else")
    for name in (task, "mine"):
        status, said = await home.get(f"/kling/v1/videos/text2video/{name}", other)
        assert (status, said["code"]) == (404, 1203)


async def test_a_repeated_order_gives_the_first_task_and_another_body_is_a_conflict(home: House) -> None:
    headers = {"Idempotency-Key": "once"}
    _, first = await home.post("/kling/v1/videos/text2video", {"prompt": "a"}, headers=headers)
    _, again = await home.post("/kling/v1/videos/text2video", {"prompt": "a"}, headers=headers)
    status, other = await home.post("/kling/v1/videos/text2video", {"prompt": "b"}, headers=headers)
    assert first["data"]["task_id"] == again["data"]["task_id"]
    assert (status, other["code"]) == (409, 1204)
    assert len(home.provider.orders) == 1


async def test_a_hook_that_leads_inside_is_refused(home: House) -> None:
    status, said = await home.post(
        "/kling/v1/videos/text2video", {"prompt": "a", "notify_hook": "http://169.254.169.254/latest"}
    )
    assert (status, said["code"]) == (400, 1201)
    assert "notify_hook" in said["message"]


@pytest.mark.parametrize(
    "path", ["/kling/v1/videos/text2video", "/v1/tasks", "/v1/subscriptions", "/v1/images/generations"]
)
async def test_a_browser_of_another_origin_may_ask(home: House, path: str) -> None:
    asked = "authorization, content-type, x-ptoken, x-vtoken, x-ctoken, mj-version, idempotency-key"
    status, _, headers = await home.full(
        "OPTIONS",
        path,
        "",
        headers={
            "Origin": "https://page.example",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": asked,
        },
    )
    assert status == 204
    assert headers["Access-Control-Allow-Origin"] == "*"
    allowed = {name.strip().lower() for name in headers["Access-Control-Allow-Headers"].split(",")}
    assert allowed >= {name.strip() for name in asked.split(",")}
    _, _, refused = await home.full("GET", path, "", headers={"Origin": "https://page.example"})
    assert refused["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/kling/v1/videos/text2video/none", 404),
        ("GET", "/v1/nowhere", 404),
        ("DELETE", "/v1/tasks", 405),
        ("GET", "/livez", 200),
        ("GET", "/console/main.js", 200),
        ("GET", "/console/nothing.js", 404),
        ("OPTIONS", "/v1/tasks", 204),
    ],
)
async def test_every_answer_says_when_and_whose_it_is(home: House, method: str, path: str, status: int) -> None:
    found, _, headers = await home.full(method, path)
    assert found == status
    assert headers["Server"] == "kling-relay"
    assert abs(parsedate_to_datetime(headers["Date"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert headers.get("X-Content-Type-Options") == (None if method == "OPTIONS" else "nosniff")


async def test_an_order_of_two_large_pictures_is_taken(home: House) -> None:
    picture = large_picture(9_500_000)
    body = io.BytesIO(orjson.dumps({"image": picture, "image_tail": picture}))
    status, said = await home.call("POST", "/kling/v1/videos/image2video", data=body)
    assert status == 200, said
    assert len(home.provider.orders[0]["image"]) > 12_000_000


async def test_an_order_beyond_the_limit_is_refused_before_it_is_read(home: House) -> None:
    status, said = await home.call("POST", "/kling/v1/videos/image2video", data=io.BytesIO(bytes(33 * 1024 * 1024)))
    assert (status, said["code"]) == (413, 1205)
