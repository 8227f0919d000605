"""The well-behaved sandbox: answers in both dialects, authorization, prices, slots and the account."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import jwt
import pytest

from kling_relay.sandbox import Profile
from kling_relay.sandbox.errors import CODES
from tests.support.sandboxed import QUICK, scene

ACCESS_KEY, SECRET_KEY = Profile().access_keys[0]
FOREVER = Profile(seconds=(3600, 3600))


async def test_a_submit_is_answered_with_the_seeds_members_and_no_others() -> None:
    async with scene(FOREVER) as stage:
        status, reply = await stage.post("/kling/v1/images/generations", prompt="漫画兔子吃草")
        assert status == 200
        assert list(reply) == ["code", "message", "request_id", "data"]
        assert (reply["code"], reply["message"]) == (0, "成功")
        assert list(reply["data"]) == ["task_id", "task_status", "created_at", "updated_at"]
        assert reply["request_id"] == reply["data"]["task_id"]
        assert reply["data"]["task_status"] == "submitted"
        assert isinstance(reply["data"]["created_at"], int)


async def test_a_finished_picture_has_the_seeds_result_with_videos_null() -> None:
    async with scene() as stage:
        task = await stage.submit("a rabbit", "images/generations", n=2, aspect_ratio="4:3")
        await stage.final(task)
        _, reply = await stage.get(f"/kling/v1/images/generations/{task}")
        data = reply["data"]
        assert (data["task_status"], data["task_status_msg"]) == ("succeed", "")
        assert data["task_result"]["videos"] is None
        assert [image["index"] for image in data["task_result"]["images"]] == [0, 1]
        assert data["final_unit_deduction"] == "2"


async def test_a_finished_video_has_the_seeds_result_with_images_null() -> None:
    async with scene() as stage:
        task = await stage.submit(duration="10", mode="pro")
        await stage.final(task)
        _, reply = await stage.get(f"/kling/v1/videos/text2video/{task}")
        result = reply["data"]["task_result"]
        assert result["images"] is None
        (video,) = result["videos"]
        assert list(video) == ["id", "url", "duration"]
        assert video["duration"] == "10.1"


async def test_klings_own_paths_use_callback_url_and_external_task_id() -> None:
    async with scene() as stage:
        members = {"prompt": "x", "notify_hook": "", "callback_url": stage.hook, "external_task_id": "mine"}
        _, reply = await stage.post("/v1/videos/text2video", **members)
        assert reply["message"] == "SUCCEED"
        assert reply["request_id"] != reply["data"]["task_id"]
        assert reply["data"]["task_info"] == {"external_task_id": "mine"}
        await stage.called(3)
        _, polled = await stage.get("/v1/videos/text2video/mine")
        assert polled["data"]["task_id"] == reply["data"]["task_id"]
        assert "images" not in polled["data"]["task_result"]


async def test_an_external_task_id_can_be_used_once_per_account() -> None:
    async with scene() as stage:
        await stage.submit(external_task_id="mine")
        status, reply = await stage.post("/v1/videos/text2video", prompt="x", external_task_id="mine")
        assert (status, reply["code"]) == (400, 1201)
        assert len(stage.sandbox.ledger) == 1


async def test_a_gateway_may_drop_external_task_ids() -> None:
    async with scene(Profile(seconds=QUICK, external_ids=False)) as stage:
        await stage.submit(external_task_id="mine")
        await stage.submit(external_task_id="mine")
        assert (await stage.get("/kling/v1/videos/text2video/mine"))[0] == 404


async def test_a_page_shows_the_newest_first_and_only_its_own_kind() -> None:
    async with scene() as stage:
        tasks = [await stage.submit() for _ in range(3)]
        await stage.submit("a picture", "images/generations")
        _, first = await stage.get("/kling/v1/videos/text2video?pageNum=1&pageSize=2")
        _, second = await stage.get("/kling/v1/videos/text2video?pageNum=2&pageSize=2")
        ids = [task["task_id"] for task in first["data"] + second["data"]]
        assert ids == tasks[::-1]
        assert (await stage.get("/kling/v1/videos/text2video?pageSize=501"))[1]["code"] == 1201


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, 1001),
        ("Basic abc", 1002),
        ("Bearer", 1002),
        ("Bearer hk-wrong", 1000),
        ("Bearer a.b.c", 1002),
        ({"nbf": 10}, 1003),
        ({"exp": -1}, 1004),
        ({"iss": "nobody"}, 1000),
        ({"secret": "another-secret-of-at-least-32-bytes-length"}, 1000),
        ({}, 0),
        ("bearer hk-sandbox", 0),
    ],
)
async def test_keys_and_valid_tokens_are_authorized(header: str | dict[str, Any] | None, code: int) -> None:
    async with scene() as stage:
        headers = (
            {"Authorization": _token(**header) if isinstance(header, dict) else header} if header is not None else {}
        )
        stage.client.headers.pop("Authorization")
        async with stage.client.get(stage.url + "/v1/videos/text2video", headers=headers) as answer:
            assert (answer.status, (await answer.json())["code"]) == (401 if code else 200, code)


def _token(iss: str = ACCESS_KEY, exp: int = 1800, nbf: int = -5, secret: str = SECRET_KEY) -> str:
    now = int(datetime.now(UTC).timestamp())
    return "Bearer " + jwt.encode({"iss": iss, "exp": now + exp, "nbf": now + nbf}, secret, algorithm="HS256")


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("videos/text2video", {}),
        ("videos/text2video", {"prompt": ""}),
        ("videos/text2video", {"prompt": 5}),
        ("videos/text2video", {"prompt": "x" * 2501}),
        ("videos/text2video", {"prompt": "x", "aspect_ratio": "5:4"}),
        ("videos/text2video", {"prompt": "x", "duration": "2"}),
        ("videos/text2video", {"prompt": "x", "duration": "long"}),
        ("videos/text2video", {"prompt": "x", "mode": "fast"}),
        ("videos/text2video", {"prompt": "x", "cfg_scale": 1.5}),
        ("videos/text2video", {"prompt": "x", "camera_control": {"type": "up"}}),
        ("videos/text2video", {"prompt": "x", "camera_control": {"type": "simple"}}),
        ("videos/text2video", {"prompt": "x", "camera_control": {"type": "simple", "config": {"pan": 1, "zoom": 2}}}),
        ("videos/text2video", {"prompt": "x", "camera_control": {"type": "simple", "config": {"pan": 11}}}),
        ("videos/text2video", {"prompt": "x", "camera_control": {"type": "down_back", "config": {"pan": 1}}}),
        ("videos/image2video", {"prompt": "x"}),
        ("images/generations", {"prompt": "x", "n": 10}),
        ("images/generations", {"prompt": "x", "n": True}),
        ("images/generations", {"prompt": "x", "image_fidelity": "half"}),
    ],
)
async def test_a_wrong_order_is_refused_with_1201_and_costs_nothing(operation: str, members: dict[str, Any]) -> None:
    async with scene() as stage:
        status, reply = await stage.post(f"/kling/v1/{operation}", **members)
        assert (status, reply["code"]) == (400, 1201)
        assert set(reply) == {"code", "message", "request_id"}
        assert not stage.sandbox.ledger
        assert not stage.sandbox.tasks


async def test_null_and_empty_members_are_unset_and_a_numeric_duration_is_accepted() -> None:
    async with scene() as stage:
        task = await stage.submit(duration=10, cfg_scale=None, camera_control=None, mode="", model_name=None)
        assert stage.sandbox.task(task).order.price == 2


@pytest.mark.parametrize(
    ("operation", "members", "price"),
    [
        ("images/generations", {"prompt": "x"}, "1"),
        ("images/generations", {"prompt": "x", "n": 9}, "9"),
        ("videos/text2video", {"prompt": "x"}, "1"),
        ("videos/text2video", {"prompt": "x", "duration": "10"}, "2"),
        ("videos/text2video", {"prompt": "x", "mode": "pro"}, "3.5"),
        ("videos/text2video", {"prompt": "x", "mode": "pro", "duration": "10"}, "7"),
        ("videos/image2video", {"image": "https://a.example/b.png", "model_name": "kling-v1-5"}, "2"),
        ("videos/image2video", {"image_tail": "iVBO", "model_name": "kling-v1-5", "mode": "pro"}, "7"),
        (
            "videos/image2video",
            {"image": "iVBO", "model_name": "kling-v1-5", "mode": "pro", "duration": "10"},
            "14",
        ),
    ],
)
async def test_prices_follow_the_seed_price_list(operation: str, members: dict[str, Any], price: str) -> None:
    async with scene() as stage:
        status, reply = await stage.post(f"/kling/v1/{operation}", **members)
        assert status == 200
        await stage.final(reply["data"]["task_id"])
        _, polled = await stage.get(f"/kling/v1/{operation}/{reply['data']['task_id']}")
        assert polled["data"]["final_unit_deduction"] == price
        assert stage.sandbox.spent == Decimal(price)


async def test_a_failed_task_has_code_0_and_is_refunded() -> None:
    async with scene() as stage:
        task = await stage.submit("[fail:too dark]", duration="10")
        await stage.final(task)
        status, reply = await stage.get(f"/kling/v1/videos/text2video/{task}")
        assert (status, reply["code"], reply["message"]) == (200, 0, "成功")
        assert (reply["data"]["task_status"], reply["data"]["task_status_msg"]) == ("failed", "too dark")
        assert reply["data"]["final_unit_deduction"] == "0"
        assert [(line.kind, str(line.units)) for line in stage.sandbox.ledger] == [("charge", "2"), ("refund", "-2")]
        assert stage.sandbox.balance == Profile().balance


async def test_an_order_beyond_the_balance_is_refused_with_1102() -> None:
    async with scene(Profile(seconds=QUICK, balance=Decimal(3))) as stage:
        await stage.submit(duration="10")
        status, reply = await stage.post("/kling/v1/videos/text2video", prompt="x", duration="10")
        assert (status, reply["code"]) == (429, 1102)
        await stage.submit()
        assert stage.sandbox.balance == 0


async def test_slots_are_held_until_the_end_and_an_order_beyond_them_is_refused_with_1303() -> None:
    async with scene(Profile(seconds=(3600, 3600), slots=4)) as stage:
        pictures = await stage.submit("x", "images/generations", n=3)
        await stage.submit()
        status, reply = await stage.post("/kling/v1/videos/text2video", prompt="x")
        assert (status, reply["code"]) == (429, 1303)
        stage.sandbox.fail(pictures)
        assert stage.sandbox.slots_held == 1
        await stage.submit()


async def test_unknown_paths_and_tasks_are_refused_in_klings_words() -> None:
    async with scene() as stage:
        task = await stage.submit()
        assert (await stage.get("/kling/v1/videos/text3video"))[1]["code"] == 1202
        assert (await stage.get("/kling/v1/videos/text2video/nobody"))[1]["code"] == 1203
        assert (await stage.get(f"/kling/v1/videos/image2video/{task}"))[1]["code"] == 1203
        async with stage.client.post(stage.url + "/v1/videos/text2video", data=b"{'prompt") as answer:
            assert (answer.status, (await answer.json())["code"]) == (400, 1200)


async def test_every_code_has_the_http_status_of_klings_list() -> None:
    async with scene() as stage:
        for code, (status, _) in CODES.items():
            actual, reply = await stage.post("/kling/v1/videos/text2video", prompt=f"[{code}]")
            assert (actual, reply["code"]) == (status, code)
        assert not stage.sandbox.tasks


async def test_the_account_has_klings_format() -> None:
    async with scene() as stage:
        await stage.submit(duration="10")
        _, reply = await stage.get("/account/costs?start_time=0&end_time=1")
        (pack,) = reply["data"]["resource_pack_subscribe_infos"]
        assert pack["total_quantity"] - pack["remaining_quantity"] == 2


async def test_the_oldest_finished_tasks_are_forgotten_beyond_the_limit() -> None:
    async with scene(Profile(seconds=QUICK, keep=5)) as stage:
        tasks = []
        for _ in range(12):
            tasks.append(await stage.submit(notify_hook=""))
            await stage.final(tasks[-1])
        assert list(stage.sandbox.tasks) == tasks[-5:]
        assert len(stage.sandbox.requests) == 5
        assert (await stage.get(f"/kling/v1/videos/text2video/{tasks[0]}"))[1]["code"] == 1203


async def test_the_sandbox_uses_the_clock_it_was_given() -> None:
    at = datetime(2024, 9, 10, 13, 26, 16, 706000, tzinfo=UTC)
    async with scene(Profile(seconds=QUICK), now=lambda: at + timedelta(0)) as stage:
        _, reply = await stage.post("/kling/v1/videos/text2video", prompt="x")
        assert reply["data"]["created_at"] == 1725974776706
