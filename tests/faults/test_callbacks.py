"""The provider's door: tokens open one task and nothing else, outlive their keys' rotation, and what comes in by it
in any number moves a task once.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from kling_relay.sandbox import Profile, Sandbox
from tests.support.service import SIGNING, Relay, running, sandboxed
from tests.support.waiting import eventually

NEW_KEY = "a-newer-signing-key-0123456789abcdef0123456789abcdef"
SUCCESS = {"task_status": "succeed", "task_result": {"videos": [{"id": "v", "url": "https://x/y.mp4"}]}}


def path(sandbox: Sandbox, task: str) -> str:
    """Return the path of the callback URL that the provider got for a task."""
    return urlsplit(sandbox.task(task).order.hook).path


@asynccontextmanager
async def lone(database: str, **given: Any) -> AsyncIterator[tuple[Sandbox, Relay]]:
    """A relay whose provider sends no callbacks by itself."""
    async with (
        sandboxed(Profile(callbacks=())) as (sandbox, provider),
        running(database, provider, "up", **given) as relay,
    ):
        yield sandbox, relay


async def test_tokens_survive_the_rotation_of_their_key_and_not_its_removal(database: str) -> None:
    async with sandboxed(Profile(callbacks=())) as (sandbox, provider):
        async with running(database, provider) as relay:
            first, second = await relay.submit("a rabbit [forever]"), await relay.submit("another [forever]")
        async with running(database, provider, signing_keys=f"{NEW_KEY},{SIGNING}") as relay:
            assert (await relay.call("POST", path(sandbox, first), json=SUCCESS))[0] == 200
            assert (await relay.task(first))["task_status"] == "succeed"
        async with running(database, provider, signing_keys=NEW_KEY) as relay:
            assert (await relay.call("POST", path(sandbox, second), json=SUCCESS))[0] == 404


async def test_a_token_of_one_task_cannot_touch_another(database: str) -> None:
    async with lone(database) as (sandbox, relay):
        one, other = await relay.submit("a rabbit [forever]"), await relay.submit("another [forever]")
        token = path(sandbox, one).rsplit("/", 1)[-1]
        for forged in (f"/callbacks/{other}/{token}", f"/callbacks/{one}/{token[::-1]}", f"/callbacks/{one}/é"):
            assert (await relay.call("POST", forged, json={**SUCCESS, "task_id": other}))[0] == 404
        # a body that names another task moves the task of the path alone
        assert (await relay.call("POST", path(sandbox, one), json={**SUCCESS, "task_id": other}))[0] == 200
        assert (await relay.task(one))["task_status"] == "succeed"
        assert (await relay.task(other))["task_status"] == "submitted"


async def test_twenty_racing_copies_on_two_processes_move_a_task_once(database: str) -> None:
    async with (
        sandboxed(Profile(callbacks=())) as (sandbox, provider),
        running(database, provider) as one,
        running(database, provider, role="api") as other,
    ):
        task = await one.submit("a rabbit [forever]")
        calls = [(one, other)[each % 2].call("POST", path(sandbox, task), json=SUCCESS) for each in range(20)]
        assert {status for status, _ in await asyncio.gather(*calls)} == {200}
        assert [event["type"] for event in await one.events(task)] == ["task.submitted", "task.succeed"]


async def test_late_and_contradicting_callbacks_change_nothing_and_are_answered_200(database: str) -> None:
    async with lone(database) as (sandbox, relay):
        task = await relay.submit("a rabbit [forever]")
        for said in (SUCCESS, {"task_status": "failed"}, {"task_status": "processing"}, SUCCESS):
            assert (await relay.call("POST", path(sandbox, task), json=said))[0] == 200
        assert (await relay.task(task))["task_status"] == "succeed"
        assert len(await relay.events(task)) == 2


async def test_an_unsigned_end_is_confirmed_by_a_poll(database: str) -> None:
    async with lone(database, confirm_callbacks="1", sweep_after="0.3s") as (sandbox, relay):
        task = await relay.submit("a rabbit [forever]")
        assert (await relay.call("POST", path(sandbox, task), json=SUCCESS))[0] == 200
        await eventually(lambda: sandbox.task(task).poll_count >= 1)
        assert (await relay.task(task))["task_status"] in {"submitted", "processing"}
        sandbox.finish(task)
        assert (await relay.final(task))["task_status"] == "succeed"
        assert (await relay.task(task))["task_result"] == sandbox.task(task).result


async def test_a_callback_without_a_required_signature_is_stored_and_not_trusted(database: str) -> None:
    secret = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
    async with lone(database, provider_webhook_secret=secret, sweep_after="0.3s") as (sandbox, relay):
        task = await relay.submit("a rabbit [forever]")
        assert (await relay.call("POST", path(sandbox, task), json=SUCCESS))[0] == 200
        await eventually(lambda: sandbox.task(task).poll_count >= 1)
        assert (await relay.task(task))["task_status"] != "succeed"
        _, said = await relay.call("GET", f"/v1/tasks/{task}/callbacks")
        assert "unsigned" in {each["outcome"] for each in said["data"]}
