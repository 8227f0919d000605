"""Repeated orders: the same key and body are the same task, another body is a conflict, two at once are one task."""

import asyncio
from typing import Any

import pytest

from tests.support.service import Relay, running, sandboxed

DOOR = "/kling/v1/videos/text2video"


async def ordered(relay: Relay, prompt: str, word: str | None = None, **members: Any) -> tuple[int, Any]:
    headers = {"Idempotency-Key": word} if word else {}
    return await relay.call("POST", DOOR, json={"prompt": prompt, **members}, headers=headers)


@pytest.mark.parametrize("by", ["Idempotency-Key", "external_task_id"])
async def test_twenty_concurrent_repeats_on_two_processes_are_one_task(database: str, by: str) -> None:
    async with (
        sandboxed() as (sandbox, provider),
        running(database, provider) as one,
        running(database, provider) as other,
    ):
        named: dict[str, Any] = {"word": "w"} if by == "Idempotency-Key" else {"external_task_id": "w"}
        said = await asyncio.gather(*(ordered((one, other)[each % 2], "a rabbit", **named) for each in range(20)))
        assert {status for status, _ in said} == {200}
        tasks = {body["data"]["task_id"] for _, body in said}
        assert len(tasks) == 1
        await one.final(tasks.pop())
        assert len(sandbox.tasks) == 1


async def test_another_body_under_the_same_idempotency_key_is_a_conflict_and_changes_nothing(database: str) -> None:
    async with sandboxed() as (sandbox, provider), running(database, provider) as relay:
        _, first = await ordered(relay, "a rabbit", "w", external_task_id="e")
        for prompt, word, external in (("a hare", "w", None), ("a hare", None, "e"), ("a hare", "w", "e")):
            more = {"external_task_id": external} if external else {}
            status, said = await ordered(relay, prompt, word, **more)
            assert (status, said["code"]) == (409, 1204)
        status, again = await ordered(relay, "a rabbit", "w", external_task_id="e")
        assert (status, again["data"]["task_id"]) == (200, first["data"]["task_id"])
        assert len(sandbox.tasks) == 1


async def test_keys_of_two_tasks_in_one_order_are_a_conflict(database: str) -> None:
    async with sandboxed() as (sandbox, provider), running(database, provider) as relay:
        await ordered(relay, "a rabbit", "w")
        await ordered(relay, "a rabbit", external_task_id="e")
        assert (await ordered(relay, "a rabbit", "w", external_task_id="e"))[0] == 409
        assert len(sandbox.tasks) == 2


async def test_a_key_whose_order_was_refused_is_free_again(database: str) -> None:
    async with sandboxed() as (sandbox, provider), running(database, provider) as relay:
        assert (await ordered(relay, "a rabbit [1301:1]", "w"))[0] == 400
        status, said = await ordered(relay, "a hare", "w")
        assert status == 200
        await relay.final(said["data"]["task_id"])
        assert len(sandbox.tasks) == 1
