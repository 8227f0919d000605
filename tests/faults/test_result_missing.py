"""A success that names no file: the provider is asked with patience, and a file that comes later is never lost."""

import json
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from kling_relay.flows.poll import PollTunables
from kling_relay.sandbox import Profile, Sandbox
from tests.faults.test_callbacks import SUCCESS, path
from tests.support.service import QUICK, Relay, running, sandboxed, subscriber
from tests.support.waiting import eventually

POLLS = PollTunables().max_incomplete
SILENT = Profile(callbacks=())
"""A provider that sends no callbacks by itself."""
FILE = {"videos": [{"id": "v", "url": "https://x/y.mp4", "duration": ""}]}

NO_FILE: list[dict[str, Any]] = [
    {"task_status": "succeed"},
    {"task_status": "succeed", "task_result": {}},
    {"task_status": "succeed", "task_result": {"videos": []}},
    {"task_status": "succeed", "task_result": {"videos": [{"id": "v", "url": " "}]}},
    {"task_status": "succeed", "task_result": {"videos": [{"id": "v", "watermark_url": "https://x/marked.mp4"}]}},
    {"task_status": "succeed", "task_result": {"videos": [{"id": "v", "url": "not a url"}]}},
    {"task_status": "succeed", "data": {}},
    {"code": 0, "data": {"task_status": "succeed", "task_result": {"videos": [{"url": "x" * 9000}]}}},
    {"code": "success", "data": {"status": "SUCCESS", "fail_reason": ""}},
]


async def charges(database: str, task: str) -> list[tuple[str, Decimal]]:
    connection = await asyncpg.connect(database)
    try:
        rows = await connection.fetch("SELECT entry, charged FROM ledger WHERE task = $1 ORDER BY at", task)
        return [(row["entry"], row["charged"]) for row in rows]
    finally:
        await connection.close()


async def call_back(relay: Relay, sandbox: Sandbox, task: str, body: dict[str, Any]) -> None:
    assert (await relay.call("POST", path(sandbox, task), json=body))[0] == 200


@pytest.mark.parametrize("body", NO_FILE)
async def test_a_callback_without_a_file_ends_nothing_and_the_full_one_after_it_counts(
    database: str, body: dict[str, Any]
) -> None:
    async with sandboxed(SILENT) as (sandbox, provider), running(database, provider) as relay:
        task = await relay.submit("a rabbit [forever]")
        await call_back(relay, sandbox, task, body)
        shown = await relay.task(task)
        assert shown["task_status"] == "processing"
        assert shown["charge"]["state"] == "reserved"
        assert "names no file" in shown["submission"]["reason"]
        await eventually(lambda: sandbox.task(task).poll_count >= 1)
        await call_back(relay, sandbox, task, SUCCESS)
        final = await relay.task(task)
        assert (final["task_status"], final["task_result"]) == ("succeed", FILE)
        assert "result_missing" not in final
        types = [event["type"] for event in await relay.events(task)]
        assert types == ["task.submitted", "task.processing", "task.succeed"]
        _, callbacks = await relay.call("GET", f"/v1/tasks/{task}/callbacks")
        assert [callback["outcome"] for callback in callbacks["data"]] == ["incomplete", "moved"]


async def test_a_callback_without_a_file_makes_the_provider_be_asked_at_once(database: str) -> None:
    async with sandboxed(SILENT) as (sandbox, provider), running(database, provider) as relay:  # silence: a minute
        task = await relay.submit("a rabbit [takes:0s]")
        await sandbox.until(lambda: sandbox.task(task).is_final)
        await call_back(relay, sandbox, task, {"task_status": "succeed"})
        final = await relay.final(task)
        assert final["task_result"] == sandbox.task(task).result


@pytest.mark.long
@pytest.mark.parametrize("lost", ["", "[lose]"])
async def test_a_result_that_the_provider_names_when_asked_again_is_the_result(database: str, lost: str) -> None:
    async with sandboxed() as (sandbox, provider), running(database, provider, sweep_after="0.1s") as relay:
        task = await relay.submit(f"a rabbit [no-url:2]{lost}")
        final = await relay.final(task)
        assert final["task_result"] == sandbox.task(task).result
        assert "result_missing" not in final
        assert sandbox.task(task).poll_count >= 3


@pytest.mark.long
@pytest.mark.parametrize("lost", ["", "[lose]"])
async def test_a_result_that_stays_away_is_missing_after_a_few_polls_and_filled_in_when_it_comes(
    database: str, lost: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with (
        sandboxed() as (sandbox, provider),
        subscriber() as hook,
        running(database, provider, sweep_after="0.05s") as relay,
    ):
        await relay.subscribe(hook.url, ordering="task", events=["task.succeed"])
        task = await relay.submit(f"a rabbit [no-url]{lost}")
        final = await relay.final(task)
        assert (final["task_status"], final["task_result"], final["result_missing"]) == ("succeed", {}, True)
        assert "names no file" in final["task_status_msg"]
        assert final["charge"]["state"] == "settled"
        assert POLLS <= sandbox.task(task).poll_count <= POLLS + 2
        _, listed = await relay.call("GET", "/v1/tasks?status=succeed")
        assert [each["result_missing"] for each in listed["data"]] == [True]
        paid = await charges(database, task)

        for _ in range(3):  # the full success, and repeats of it
            await call_back(relay, sandbox, task, {"task_status": "succeed", "task_result": FILE})
        await call_back(relay, sandbox, task, {"task_status": "succeed"})
        await call_back(relay, sandbox, task, {"task_status": "failed"})
        filled = await relay.task(task)
        assert (filled["task_status"], filled["task_result"]) == ("succeed", FILE)
        assert "result_missing" not in filled
        assert filled["sequence"] == final["sequence"] + 1
        assert await charges(database, task) == paid
        assert [entry for entry, _ in paid] == ["reserve", "settle"]
        await eventually(lambda: len(hook.heard) == 2)
        contents = [heard.json["data"] for heard in hook.heard]
        assert [content["sequence"] for content in contents] == [final["sequence"], filled["sequence"]]
        assert [content["task_result"] for content in contents] == [{}, FILE]
        assert len(hook.ids()) == 2
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("status") == "result_missing"]
    assert (line["level"], line["task"]) == ("warning", task)


async def test_a_second_callback_with_the_file_needs_no_poll(database: str) -> None:
    async with sandboxed(Profile(seconds=QUICK)) as (sandbox, provider), running(database, provider) as relay:
        task = await relay.submit("a rabbit [late-url:0.3s]")
        final = await relay.final(task)
        assert final["task_result"] == sandbox.task(task).result


@pytest.mark.long
async def test_a_provider_that_cannot_be_asked_does_not_delay_the_end_for_ever(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider, sweep_after="0.05s") as relay:
        task = await relay.submit("a rabbit [no-url][poll-lost]")
        final = await relay.final(task)
        assert (final["task_status"], final["result_missing"]) == ("succeed", True)


@pytest.mark.long
async def test_a_success_without_a_file_is_never_given_up_as_a_failure(database: str) -> None:
    async with (
        sandboxed(Profile(seconds=QUICK)) as (_, provider),
        running(database, provider, sweep_after="0.1s", task_deadline="1s") as relay,
    ):
        task = await relay.submit("a rabbit [no-url][poll-5000]")
        final = await relay.final(task)
        assert (final["task_status"], final["result_missing"]) == ("succeed", True)


@pytest.mark.long
async def test_a_watermarked_file_is_kept_if_there_is_no_other(database: str) -> None:
    marked = {"videos": [{"id": "v", "watermark_url": "https://x.example/marked.mp4"}]}
    async with (
        sandboxed(SILENT) as (sandbox, provider),
        running(database, provider, sweep_after="0.05s") as relay,
    ):
        task = await relay.submit("a rabbit [takes:0s][no-url]")
        await sandbox.until(lambda: sandbox.task(task).is_final)
        sandbox.task(task).result = marked
        sandbox.task(task).hides_result = False
        final = await relay.final(task)
        kept = {"id": "v", "url": "", "duration": "", "watermark_url": "https://x.example/marked.mp4"}
        assert (final["task_result"], final["result_missing"]) == ({"videos": [kept]}, True)
