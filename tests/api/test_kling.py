"""Kling's API as real clients use it."""

import base64
import io
import struct
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

import orjson
import pytest

from tests.support.relay import VIDEO, ApiServer


def large_picture(size: int) -> str:
    """Return a PNG of 400 by 400 pixels, padded to `size` bytes, as Base64."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 400, 400, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(400 * 1201)))
    padding = chunk(b"tEXt", b"x" * (size - len(pixels)))
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + head + pixels + padding + chunk(b"IEND", b"")).decode()


PREFIXES = ("/kling/v1", "/v1", "/proxy/kling/v1")


async def test_the_response_to_an_order_is_kling_s(api: ApiServer) -> None:
    status, body = await api.post("/kling/v1/videos/text2video", {"prompt": "太空飞船在航行"})
    assert status == 200
    assert list(body) == ["code", "message", "request_id", "data"]
    assert (body["code"], body["message"]) == (0, "成功")
    assert body["request_id"] == body["data"]["task_id"]
    assert list(body["data"]) == ["task_id", "task_status", "created_at", "updated_at", "task_info"]
    assert body["data"]["task_status"] == "submitted"
    assert api.provider.orders[0]["prompt"] == "太空飞船在航行"


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_task_is_found_under_every_prefix(api: ApiServer, prefix: str) -> None:
    task = await api.order()
    status, body = await api.get(f"{prefix}/videos/text2video/{task}")
    assert (status, body["data"]["task_id"], body["request_id"]) == (200, task, task)


async def test_a_finished_video_has_null_for_images(api: ApiServer) -> None:
    task = await api.order()
    await api.succeed(task)
    _, body = await api.get(f"/kling/v1/videos/text2video/{task}")
    data = body["data"]
    assert data["task_status"] == "succeed"
    assert data["task_status_msg"] == ""
    assert data["task_result"] == {"images": None, **VIDEO}


async def test_a_failed_task_is_a_successful_response_with_its_reason(api: ApiServer) -> None:
    task = await api.order()
    await api.send_callback(task, "failed", task_status_msg="risk control")
    status, body = await api.get(f"/kling/v1/videos/text2video/{task}")
    assert (status, body["code"]) == (200, 0)
    assert (body["data"]["task_status"], body["data"]["task_status_msg"]) == ("failed", "risk control")
    assert body["data"]["task_result"] == {}


async def test_a_task_is_found_by_its_external_task_id(api: ApiServer) -> None:
    task = await api.order(external_task_id="my task/1")
    status, body = await api.get("/kling/v1/videos/text2video/my%20task%2F1")
    assert (status, body["data"]["task_id"]) == (200, task)
    assert body["data"]["task_info"] == {"external_task_id": "my task/1"}


async def test_a_page_has_the_newest_tasks_of_its_operation(api: ApiServer) -> None:
    created = [await api.order(f"number {number}") for number in range(3)]
    await api.order("a picture", operation="images/generations")
    _, first = await api.get("/kling/v1/videos/text2video?pageNum=1&pageSize=2")
    _, second = await api.get("/kling/v1/videos/text2video?pageNum=2&pageSize=2")
    assert [task["task_id"] for task in first["data"] + second["data"]] == created[::-1]


@pytest.mark.parametrize("query", ["pageNum=0", "pageSize=501", "pageNum=x", "pageNum=1001"])
async def test_an_invalid_page_number_or_size_is_refused(api: ApiServer, query: str) -> None:
    status, body = await api.get(f"/kling/v1/videos/text2video?{query}")
    assert (status, body["code"]) == (400, 1201)


@pytest.mark.parametrize(
    "path",
    [
        "//kling//v1/videos/text2video/",
        "/kling/v1/videos/text2video?=null",
        "/kling/v1/videos/text2video/?=null&x",
        "/proxy//kling/v1/videos/text2video",
    ],
)
async def test_odd_paths_and_queries_are_accepted(api: ApiServer, path: str) -> None:
    status, body = await api.post(path, {"prompt": "a rabbit"})
    assert (status, body["code"]) == (200, 0)


async def test_an_invalid_order_is_refused_with_every_fault(api: ApiServer) -> None:
    status, body = await api.post(
        "/kling/v1/videos/text2video", {"cfg_scale": 7, "duration": "99", "notify_hook": "ftp://x"}
    )
    assert (status, body["code"]) == (400, 1201)
    assert all(name in body["message"] for name in ("prompt", "cfg_scale", "duration", "notify_hook"))
    assert body["error"] == {"message": body["message"], "type": "invalid_order", "code": 1201}
    assert "data" not in body
    assert api.provider.orders == []


@pytest.mark.parametrize(
    "body", ["", "nonsense", '{"prompt": NaN}', '{"prompt": "\\ud800"}', "[1]", '"x"', '{"prompt":' + "[" * 99]
)
async def test_an_invalid_order_is_refused_in_klings_format(api: ApiServer, body: str) -> None:
    status, content = await api.call("POST", "/kling/v1/videos/text2video", data=body)
    assert status == 400
    assert content["code"] in {1200, 1201}
    assert content["error"]["message"]


async def test_another_clients_task_is_not_found(api: ApiServer) -> None:
    task = await api.order(external_task_id="mine")
    other = await api.create_key("somebody else")
    for name in (task, "mine"):
        status, body = await api.get(f"/kling/v1/videos/text2video/{name}", other)
        assert (status, body["code"]) == (404, 1203)


async def test_an_idempotency_key_returns_the_first_task_and_conflicts_with_another_order(api: ApiServer) -> None:
    headers = {"Idempotency-Key": "once"}
    _, first = await api.post("/kling/v1/videos/text2video", {"prompt": "a"}, headers=headers)
    _, again = await api.post("/kling/v1/videos/text2video", {"prompt": "a"}, headers=headers)
    status, other = await api.post("/kling/v1/videos/text2video", {"prompt": "b"}, headers=headers)
    assert first["data"]["task_id"] == again["data"]["task_id"]
    assert (status, other["code"]) == (409, 1204)
    assert len(api.provider.orders) == 1


async def test_a_hook_with_an_internal_address_is_refused(api: ApiServer) -> None:
    status, body = await api.post(
        "/kling/v1/videos/text2video", {"prompt": "a", "notify_hook": "http://169.254.169.254/latest"}
    )
    assert (status, body["code"]) == (400, 1201)
    assert "notify_hook" in body["message"]


@pytest.mark.parametrize(
    "path", ["/kling/v1/videos/text2video", "/v1/tasks", "/v1/subscriptions", "/v1/images/generations"]
)
async def test_a_page_of_another_origin_can_call_the_api(api: ApiServer, path: str) -> None:
    requested = "authorization, content-type, x-ptoken, x-vtoken, x-ctoken, mj-version, idempotency-key"
    status, _, headers = await api.call_with_headers(
        "OPTIONS",
        path,
        "",
        headers={
            "Origin": "https://page.example",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": requested,
        },
    )
    assert status == 204
    assert headers["Access-Control-Allow-Origin"] == "*"
    allowed = {name.strip().lower() for name in headers["Access-Control-Allow-Headers"].split(",")}
    assert allowed >= {name.strip() for name in requested.split(",")}
    _, _, refused = await api.call_with_headers("GET", path, "", headers={"Origin": "https://page.example"})
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
async def test_every_response_has_a_date_and_a_server(api: ApiServer, method: str, path: str, status: int) -> None:
    items, _, headers = await api.call_with_headers(method, path)
    assert items == status
    assert headers["Server"] == "kling-relay"
    assert abs(parsedate_to_datetime(headers["Date"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert headers.get("X-Content-Type-Options") == (None if method == "OPTIONS" else "nosniff")


@pytest.mark.long
async def test_an_order_with_two_large_images_is_accepted(api: ApiServer) -> None:
    picture = large_picture(9_500_000)
    body = io.BytesIO(orjson.dumps({"image": picture, "image_tail": picture}))
    status, content = await api.call("POST", "/kling/v1/videos/image2video", data=body)
    assert status == 200, content
    assert len(api.provider.orders[0]["image"]) > 12_000_000


@pytest.mark.long
async def test_an_order_beyond_the_size_limit_is_refused(api: ApiServer) -> None:
    status, body = await api.call("POST", "/kling/v1/videos/image2video", data=io.BytesIO(bytes(33 * 1024 * 1024)))
    assert (status, body["code"]) == (413, 1205)


async def test_task_info_is_always_there(api: ApiServer) -> None:
    status, ordered = await api.post("/kling/v1/videos/text2video", {"prompt": "a"})
    assert (status, ordered["data"]["task_info"]) == (200, {})
    _, shown = await api.get(f"/kling/v1/videos/text2video/{ordered['data']['task_id']}")
    _, listed = await api.get("/kling/v1/videos/text2video")
    assert (shown["data"]["task_info"], listed["data"][0]["task_info"]) == ({}, {})


async def test_unknown_fields_pass_and_are_named_in_a_header_and_on_the_task(api: ApiServer) -> None:
    camera = {"type": "simple", "config": {"pan": 1}, "speed": 2}
    order = {"prompt": "a", "duraton": "10", "mod": "pro", "时长, s": 5, "camera_control": camera}
    status, body, headers = await api.call_with_headers("POST", "/kling/v1/videos/text2video", json=order)
    assert status == 200, body
    names = {"duraton", "mod", "时长, s", "camera_control.speed"}
    assert {unquote(name) for name in headers["Relay-Unknown-Fields"].split(", ")} == names
    assert headers["Relay-Unknown-Fields"].startswith("duraton, mod, ")
    assert api.provider.orders[-1].items() >= {"duraton": "10", "mod": "pro", "时长, s": 5}.items()
    _, task = await api.get(f"/v1/tasks/{body['data']['task_id']}")
    assert set(task["unknown_fields"]) == names
    status, _, headers = await api.call_with_headers("POST", "/v1/quotes", json=order | {"kind": "text2video"})
    assert (status, headers["Relay-Unknown-Fields"][:12]) == (200, "duraton, mod")


async def test_an_order_without_unknown_fields_has_no_header_about_them(api: ApiServer) -> None:
    known = {"prompt": "a", "model": "kling-v1", "external_task_id": "x", "callback_url": "https://a.example/"}
    status, body, headers = await api.call_with_headers("POST", "/kling/v1/videos/text2video", json=known)
    assert (status, "Relay-Unknown-Fields" in headers) == (200, False)
    assert (await api.get(f"/v1/tasks/{body['data']['task_id']}"))[1]["unknown_fields"] == []


async def test_an_international_hook_is_kept_as_it_is_dialled(api: ApiServer) -> None:
    await api.order(notify_hook="https://faß.de/h")
    url = "SELECT url FROM subscriptions WHERE hook"
    assert await api.database.pool.fetchval(url) == "https://xn--fa-hia.de/h"


async def test_a_hook_with_a_host_in_upper_case_or_with_a_dot_at_its_end_is_the_same_hook(api: ApiServer) -> None:
    for hook in ("https://example.com/Hook", "HTTPS://EXAMPLE.com/Hook", "https://example.com./Hook"):
        await api.order(notify_hook=hook)
    urls = await api.database.pool.fetch("SELECT url FROM subscriptions WHERE hook")
    assert [row["url"] for row in urls] == ["https://example.com/Hook"]


async def test_an_order_with_a_key_is_recorded_although_transactions_collide(api: ApiServer) -> None:
    await api.database.pool.execute(
        """
        CREATE SEQUENCE collisions;
        CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('collisions') <= 2 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER collide BEFORE INSERT ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION collide();
        """
    )
    key = {"Idempotency-Key": "k"}
    first, again = [
        await api.call("POST", "/kling/v1/videos/text2video", headers=key, json={"prompt": "a"}) for _ in range(2)
    ]
    assert (first[0], again[0]) == (200, 200), first
    assert first[1]["data"]["task_id"] == again[1]["data"]["task_id"]
    assert await api.database.pool.fetchval("SELECT last_value FROM collisions") >= 3
