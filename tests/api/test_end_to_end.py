"""The whole way of an order over sockets: sandbox, service, subscribers."""

from typing import Any

import pytest

from tests.support.service import running, sandboxed, subscriber
from tests.support.waiting import eventually

BODIES: dict[str, dict[str, Any]] = {
    "images/generations": {"prompt": "漫画兔子吃草", "negative_prompt": "", "image": "", "n": 1, "aspect_ratio": "4:3"},
    "videos/text2video": {"prompt": "太空飞船在航行"},
    "videos/image2video": {"image": "https://pics2.baidu.com/feed/fc1f4134970a304e8662f052c91a3188c8175c32.jpeg"},
}


@pytest.mark.parametrize("operation", BODIES)
@pytest.mark.long
async def test_an_order_becomes_a_result_and_each_step_is_delivered_once(database: str, operation: str) -> None:
    async with (
        sandboxed() as (_, provider),
        subscriber() as hook,
        subscriber() as other,
        running(database, provider) as relay,
    ):
        secret = (await relay.subscribe(other.url))["secret"]
        status, body = await relay.call(
            "POST", f"/kling/v1/{operation}", json={**BODIES[operation], "notify_hook": hook.url}
        )
        assert (status, body["code"], body["message"]) == (200, 0, "成功")
        assert body["request_id"] == body["data"]["task_id"]
        task = body["data"]["task_id"]
        assert (await relay.final(task))["task_status"] == "succeed"
        events = await relay.events(task)
        assert [event["data"]["sequence"] for event in events] == list(range(1, len(events) + 1))
        await eventually(lambda: len(other.ids()) == len(events) == len(hook.ids()))
        assert hook.ids() == other.ids()
        for request in other.heard:
            assert request.verified(secret)["data"]["task_id"] == task
        hook_secret = (await relay.call("GET", "/v1/hook-secret"))[1]["secret"]
        for request in hook.heard:
            assert request.verified(hook_secret)["task_id"] == task
        _, shown = await relay.call("GET", f"/kling/v1/{operation}/{task}")
        result = shown["data"]["task_result"]
        own, sibling = ("images", "videos") if operation.startswith("images") else ("videos", "images")
        assert result[own][0]["url"].startswith("http")
        assert result[sibling] is None


async def test_a_subscriber_that_fails_three_times_gets_its_event_at_the_fourth_attempt(database: str) -> None:
    async with (
        sandboxed() as (_, provider),
        subscriber() as sound,
        subscriber([500, 302, 503]) as flapping,
        running(database, provider) as relay,
    ):
        await relay.subscribe(sound.url, events=["task.succeed"])
        failing = await relay.subscribe(flapping.url, events=["task.succeed"])
        task = await relay.submit()
        await relay.final(task)
        await eventually(lambda: len(flapping.heard) == 4)
        assert len(flapping.ids()) == 1
        await eventually(lambda: len(sound.heard) == 1)

        async def delivered() -> bool:
            _, page = await relay.call("GET", f"/v1/deliveries?subscription={failing['id']}&status=delivered")
            return len(page["data"]) == 1

        await eventually(delivered)
        _, page = await relay.call("GET", f"/v1/deliveries?subscription={failing['id']}")
        _, delivery = await relay.call("GET", f"/v1/deliveries/{page['data'][0]['id']}")
        assert [attempt["status"] for attempt in delivery["attempts"]] == [500, 302, 503, 200]


async def test_a_callback_that_overtakes_the_response_finds_its_task(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider) as relay:
        task = await relay.submit("a rabbit [overtake]")
        assert (await relay.final(task))["task_status"] == "succeed"
        events = await relay.events(task)
        assert [event["data"]["sequence"] for event in events] == list(range(1, len(events) + 1))


@pytest.mark.long
async def test_a_callback_resolves_a_task_whose_response_was_lost(database: str) -> None:
    async with sandboxed() as (sandbox, provider), running(database, provider, provider_timeout="1s") as relay:
        task = await relay.submit("a rabbit [timeout-after-accept]")
        assert (await relay.final(task))["task_status"] == "succeed"
        assert len(sandbox.tasks) == 1


@pytest.mark.long
async def test_lost_callbacks_are_replaced_by_polls(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider, sweep_after="1s") as relay:
        task = await relay.submit("a rabbit [lose]")
        assert (await relay.final(task))["task_status"] == "succeed"


async def test_an_error_of_the_provider_reaches_the_client_unchanged(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider) as relay:
        status, body = await relay.call("POST", "/kling/v1/videos/text2video", json={"prompt": "x [1301]"})
        assert (status, body["code"]) == (400, 1301)
        assert body["error"]["message"] == body["message"]


@pytest.mark.long
async def test_an_order_that_the_provider_postpones_is_sent_again_by_the_service(database: str) -> None:
    async with sandboxed() as (sandbox, provider), running(database, provider) as relay:
        task = await relay.submit("a rabbit [1303:2]")
        assert (await relay.final(task))["task_status"] == "succeed"
        assert len(sandbox.tasks) == 1
