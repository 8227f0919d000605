"""Tasks under /v1: lists, one with all we know of it, its history, and waiting for its end."""

import asyncio

import pytest

from kling_relay.core.key import Scope
from tests.support.relay import VIDEO, House
from tests.support.waiting import eventually


async def test_a_task_tells_all_that_is_known_of_it(home: House) -> None:
    task = await home.order("a rabbit", external_task_id="mine", mode="pro", duration=10)
    status, said = await home.get(f"/v1/tasks/{task}")
    assert status == 200
    assert (said["task_id"], said["external_task_id"], said["kind"]) == (task, "mine", "text2video")
    assert (said["task_status"], said["sequence"], said["is_final"]) == ("submitted", 1, False)
    assert said["fields"]["prompt"] == "a rabbit"
    assert said["submission"]["state"] == "accepted"
    assert said["charge"] == {
        "quote": "7",
        "charged": "0",
        "currency": said["charge"]["currency"],
        "prices": said["charge"]["prices"],
        "state": "reserved",
        "note": None,
    }
    await home.done(task)
    _, done = await home.get(f"/v1/tasks/{task}")
    assert (done["task_status"], done["task_result"], done["is_final"]) == ("succeed", VIDEO, True)
    assert done["submission"] is None
    assert (done["charge"]["state"], done["charge"]["charged"]) == ("settled", "7")
    assert done["expires_at"] > done["updated_at"]


async def test_a_history_has_every_step_once_and_in_order(home: House) -> None:
    task = await home.order()
    await home.called_back(task, "processing")
    await home.called_back(task, "processing")
    await home.done(task)
    await home.called_back(task, "failed")
    _, said = await home.get(f"/v1/tasks/{task}/events")
    assert [event["type"] for event in said["data"]] == ["task.submitted", "task.processing", "task.succeed"]
    assert [event["data"]["sequence"] for event in said["data"]] == [1, 2, 3]
    assert said["next_cursor"] is None
    _, raw = await home.get(f"/v1/tasks/{task}/callbacks")
    assert [each["outcome"] for each in raw["data"]] == ["moved", "stale", "moved", "stale"]
    assert '"task_status"' in raw["data"][0]["text"]


async def test_pages_follow_one_another_without_a_gap(home: House) -> None:
    made = [await home.order(f"number {number}") for number in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        _, page = await home.get(f"/v1/tasks?limit=2{cursor}")
        seen += [task["task_id"] for task in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == made[::-1]


async def test_a_list_can_be_narrowed(home: House) -> None:
    rabbit, fox = await home.order("a white rabbit"), await home.order("a red fox")
    picture = await home.order("a rabbit again", operation="images/generations")
    await home.done(rabbit)

    async def found(query: str) -> list[str]:
        status, page = await home.get(f"/v1/tasks?{query}")
        assert status == 200, page
        return [task["task_id"] for task in page["data"]]

    assert await found("status=succeed") == [rabbit]
    assert await found("status=submitted,processing") == [picture, fox]
    assert await found("kind=text2image") == [picture]
    assert await found("text=rabbit") == [picture, rabbit]
    assert await found("text=%25") == []
    assert await found(f"text={fox[-12:]}") == [fox]
    assert await found("since=2020-01-01T00:00:00Z&until=2021-01-01T00:00:00Z") == []
    assert len(await found("since=2020-01-01")) == 3


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("status=done&limit=0&colour=red", {"status.0", "limit", "colour"}),
        ("since=yesterday", {"since"}),
        ("cursor=x", {"cursor"}),
    ],
)
async def test_every_fault_of_a_query_is_named(home: House, query: str, fields: set[str]) -> None:
    status, said = await home.get(f"/v1/tasks?{query}")
    assert status == 400
    assert {fault["field"] for fault in said["errors"]} == fields
    assert said["code"] == 1200


async def test_a_waiter_hears_of_the_end_at_once(home: House) -> None:
    task = await home.order()
    waiting = asyncio.create_task(home.get(f"/v1/tasks/{task}?wait=30"))
    await eventually(lambda: home.load("waiters") == 1)
    await home.called_back(task, "processing")
    await home.done(task)
    async with asyncio.timeout(5):
        _, said = await waiting
    assert said["task_status"] == "succeed"
    await eventually(lambda: home.load("waiters") == 0)


async def test_waiting_ends_when_its_time_is_over(home: House) -> None:
    task = await home.order()
    _, said = await home.get(f"/v1/tasks/{task}?wait=0.05")
    assert said["task_status"] == "submitted"


async def test_waiting_for_what_is_final_does_not_wait(home: House) -> None:
    task = await home.order()
    await home.done(task)
    async with asyncio.timeout(5):
        _, said = await home.get(f"/v1/tasks/{task}?wait=30")
    assert said["task_status"] == "succeed"


async def test_a_foreign_task_and_an_invalid_id_are_not_found(home: House) -> None:
    task = await home.order()
    other = await home.key_of("other", [Scope.READ])
    for path in (f"/v1/tasks/{task}", f"/v1/tasks/{task}/events", f"/v1/tasks/{task}/callbacks"):
        status, said = await home.get(path, other)
        assert (status, said["code"], said["status"]) == (404, 1203, 404)
    assert (await home.get("/v1/tasks/nonsense"))[0] == 404
    assert (await home.get("/v1/tasks", other))[1]["data"] == []
