"""Tasks: lists, details, events, and waiting for the end."""

import asyncio

import pytest

from kling_relay.core.key import Scope
from tests.support.relay import VIDEO, ApiServer
from tests.support.waiting import eventually


async def test_a_task_is_shown_with_its_order_submission_and_charge(api: ApiServer) -> None:
    task = await api.order("a rabbit", external_task_id="mine", mode="pro", duration=10)
    status, body = await api.get(f"/v1/tasks/{task}")
    assert status == 200
    assert (body["task_id"], body["external_task_id"], body["kind"]) == (task, "mine", "text2video")
    assert (body["task_status"], body["sequence"], body["is_final"]) == ("submitted", 1, False)
    assert body["fields"]["prompt"] == "a rabbit"
    assert body["submission"]["state"] == "accepted"
    assert body["charge"] == {
        "quote": "7",
        "charged": "0",
        "currency": body["charge"]["currency"],
        "prices": body["charge"]["prices"],
        "state": "reserved",
        "note": None,
    }
    await api.succeed(task)
    _, done = await api.get(f"/v1/tasks/{task}")
    assert (done["task_status"], done["task_result"], done["is_final"]) == ("succeed", VIDEO, True)
    assert done["submission"] is None
    assert (done["charge"]["state"], done["charge"]["charged"]) == ("settled", "7")
    assert done["expires_at"] > done["updated_at"]


async def test_the_events_of_a_task_have_every_step_once_and_in_order(api: ApiServer) -> None:
    task = await api.order()
    await api.send_callback(task, "processing")
    await api.send_callback(task, "processing")
    await api.succeed(task)
    await api.send_callback(task, "failed")
    _, body = await api.get(f"/v1/tasks/{task}/events")
    assert [event["type"] for event in body["data"]] == ["task.submitted", "task.processing", "task.succeed"]
    assert [event["data"]["sequence"] for event in body["data"]] == [1, 2, 3]
    assert body["next_cursor"] is None
    _, raw = await api.get(f"/v1/tasks/{task}/callbacks")
    assert [item["outcome"] for item in raw["data"]] == ["moved", "stale", "moved", "stale"]
    assert '"task_status"' in raw["data"][0]["text"]


async def test_pages_of_tasks_have_every_task_once(api: ApiServer) -> None:
    created = [await api.order(f"number {number}") for number in range(5)]
    received: list[str] = []
    cursor = ""
    while True:
        _, page = await api.get(f"/v1/tasks?limit=2{cursor}")
        received += [task["task_id"] for task in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert received == created[::-1]


async def test_tasks_can_be_filtered(api: ApiServer) -> None:
    rabbit, fox = await api.order("a white rabbit"), await api.order("a red fox")
    picture = await api.order("a rabbit again", operation="images/generations")
    await api.succeed(rabbit)

    async def items(query: str) -> list[str]:
        status, page = await api.get(f"/v1/tasks?{query}")
        assert status == 200, page
        return [task["task_id"] for task in page["data"]]

    assert await items("status=succeed") == [rabbit]
    assert await items("status=submitted,processing") == [picture, fox]
    assert await items("kind=text2image") == [picture]
    assert await items("text=rabbit") == [picture, rabbit]
    assert await items("text=%25") == []
    assert await items(f"text={fox[-12:]}") == [fox]
    assert await items("since=2020-01-01T00:00:00Z&until=2021-01-01T00:00:00Z") == []
    assert len(await items("since=2020-01-01")) == 3


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("status=done&limit=0&colour=red", {"status.0", "limit", "colour"}),
        ("since=yesterday", {"since"}),
        ("cursor=x", {"cursor"}),
    ],
)
async def test_an_invalid_query_is_refused_with_every_fault(api: ApiServer, query: str, fields: set[str]) -> None:
    status, body = await api.get(f"/v1/tasks?{query}")
    assert status == 400
    assert {fault["field"] for fault in body["errors"]} == fields
    assert body["code"] == 1200


async def test_a_waiter_gets_a_task_as_soon_as_it_is_final(api: ApiServer) -> None:
    task = await api.order()
    waiting = asyncio.create_task(api.get(f"/v1/tasks/{task}?wait=30"))
    await eventually(lambda: api.load("waiters") == 1)
    await api.send_callback(task, "processing")
    await api.succeed(task)
    async with asyncio.timeout(5):
        _, body = await waiting
    assert body["task_status"] == "succeed"
    await eventually(lambda: api.load("waiters") == 0)


async def test_a_waiter_gets_an_unfinished_task_when_its_time_is_over(api: ApiServer) -> None:
    task = await api.order()
    _, body = await api.get(f"/v1/tasks/{task}?wait=0.05")
    assert body["task_status"] == "submitted"


async def test_a_waiter_gets_a_final_task_at_once(api: ApiServer) -> None:
    task = await api.order()
    await api.succeed(task)
    async with asyncio.timeout(5):
        _, body = await api.get(f"/v1/tasks/{task}?wait=30")
    assert body["task_status"] == "succeed"


async def test_a_foreign_task_and_an_invalid_id_are_not_found(api: ApiServer) -> None:
    task = await api.order()
    other = await api.create_key("other", [Scope.READ])
    for path in (f"/v1/tasks/{task}", f"/v1/tasks/{task}/events", f"/v1/tasks/{task}/callbacks"):
        status, body = await api.get(path, other)
        assert (status, body["code"], body["status"]) == (404, 1203, 404)
    assert (await api.get("/v1/tasks/nonsense"))[0] == 404
    assert (await api.get("/v1/tasks", other))[1]["data"] == []
