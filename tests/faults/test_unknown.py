"""Outcomes of a submission that nobody knows: never sent again, resolved by callback, by asking or by the deadline;
and those that an operator must mend, told to the client as not its fault.
"""

import asyncio
import json
from typing import Any

import pytest

from kling_relay.flows.sweep import SweepTunables
from kling_relay.provider.client import Provider
from kling_relay.sandbox import Profile, Sandbox
from tests.support.service import QUICK, running, sandboxed
from tests.support.waiting import eventually

DOOR = "/kling/v1/videos/text2video"
DEAF = Profile(seconds=QUICK, external_ids=False)
"""A gateway that keeps no external ids: polls by ours find nothing."""

pytestmark = pytest.mark.long
"""They wait for the sweep, whose shortest interval is a second."""


def posts(sandbox: Sandbox) -> int:
    return sum(request.method == "POST" for request in sandbox.requests)


@pytest.mark.parametrize("word", ["reset:accepted", "timeout-after-accept", "html-502:accepted", "5000:accepted"])
async def test_an_order_whose_answer_was_lost_is_found_by_our_id(database: str, word: str) -> None:
    async with sandboxed() as (sandbox, provider):
        given: dict[str, Any] = {"provider_dialect": "kling", "provider_timeout": "0.5s", "sweep_after": "0.3s"}
        async with running(database, provider, **given) as relay:
            task = await relay.submit(f"a rabbit [{word}][lose]")
            assert (await relay.final(task))["task_status"] == "succeed"
            assert posts(sandbox) == 1


async def test_an_order_that_the_provider_certainly_never_had_ends_early_and_says_so(database: str) -> None:
    async with (
        sandboxed() as (sandbox, provider),
        running(database, provider, provider_dialect="kling", sweep_after="0.1s") as relay,
    ):
        task = await relay.submit("a rabbit [reset]")
        final = await relay.final(task)
        assert final["task_status"] == "failed"
        assert "does not know the order, so it was not charged" in final["task_status_msg"]
        assert posts(sandbox) == 1
        assert sandbox.spent == 0


async def test_an_unknown_order_is_shown_as_such_and_its_callback_mends_it(database: str) -> None:
    async with sandboxed(DEAF) as (sandbox, provider), running(database, provider, sweep_after="0.1s") as relay:
        task = await relay.submit("a rabbit [reset:accepted][lose]")
        shown = await relay.task(task)
        assert shown["submission"]["state"] == "unknown"
        assert "answer was lost" in shown["submission"]["reason"]
        assert shown["task_status"] == "submitted"
        ours = next(iter(sandbox.tasks))
        await sandbox.until(lambda: sandbox.task(ours).is_final)
        await relay.client.post(sandbox.task(ours).order.hook, json={"task_id": ours, "task_status": "processing"})
        assert (await relay.final(task))["task_status"] == "succeed"  # found by the id that the callback brought
        assert posts(sandbox) == 1


async def test_a_task_without_any_answer_is_given_up_at_the_deadline_and_a_late_success_still_counts(
    database: str,
) -> None:
    async with (
        sandboxed(DEAF) as (sandbox, provider),
        running(database, provider, sweep_after="0.2s", task_deadline="1.5s") as relay,
    ):
        task = await relay.submit("a rabbit [reset:accepted][lose]")
        final = await relay.final(task)
        assert final["task_status"] == "failed"
        assert "it is unknown whether it accepted the order" in final["task_status_msg"]
        ours = next(iter(sandbox.tasks))
        await relay.client.post(
            sandbox.task(ours).order.hook,
            json={"task_id": ours, "task_status": "succeed", "task_result": sandbox.task(ours).result},
        )
        assert (await relay.task(task))["task_status"] == "succeed"
        assert [event["data"]["sequence"] for event in await relay.events(task)] == [1, 2]
        assert posts(sandbox) == 1


@pytest.mark.parametrize("code", [1101, 1103, 1304])
async def test_a_fault_for_the_operator_is_not_reported_as_the_clients_fault(
    database: str, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    async with sandboxed() as (_, provider), running(database, provider) as relay:
        status, said = await relay.call("POST", DOOR, json={"prompt": f"a rabbit [{code}]"})
        assert (status, said["code"]) == (502, 5003)
        assert "operator" in said["message"]
        assert str(code) not in said["message"]
        _, page = await relay.call("GET", "/v1/tasks")
        assert page["data"][0]["task_status"] == "failed"
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert [line for line in lines if line["level"] in {"error", "critical"} and str(code) in str(line)]


async def test_a_wrong_key_for_the_provider_is_not_reported_as_the_clients_fault(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider, provider_key="hk-wrong") as relay:
        assert (await relay.call("POST", DOOR, json={"prompt": "a rabbit"}))[0] == 502


@pytest.mark.parametrize("trouble", ["poll-html:2", "poll-5000:2", "poll-reset:2", "poll-lost:2"])
async def test_a_failed_poll_changes_nothing(database: str, trouble: str) -> None:
    async with sandboxed() as (sandbox, provider), running(database, provider, sweep_after="0.1s") as relay:
        task = await relay.submit(f"a rabbit [lose][{trouble}]")
        assert (await relay.final(task))["task_status"] == "succeed"
        assert sandbox.task(task).poll_count >= 3


async def test_a_strange_id_in_a_callback_does_not_mislead_polls(database: str) -> None:
    async with (
        sandboxed(Profile(seconds=(0.05, 0.1))) as (_, provider),
        running(database, provider, sweep_after="0.2s") as relay,
    ):
        task = await relay.submit("a rabbit [foreign-id][lose:succeed]")
        assert (await relay.final(task))["task_status"] == "succeed"


async def test_many_silent_tasks_are_polled_a_few_at_a_time(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, asked, limit = 0, set(), 0
    ask = Provider.poll

    async def counted(provider: Provider, *given: Any, **named: Any) -> Any:
        nonlocal at_once, limit
        at_once += 1
        limit = max(limit, at_once)
        try:
            return await ask(provider, *given, **named)
        finally:
            at_once -= 1
            asked.add(given[2])

    monkeypatch.setattr(Provider, "poll", counted)
    async with (
        sandboxed(Profile(seconds=(60, 60), poll_error=1.0)) as (_, provider),
        running(database, provider, sweep_after="0.5s") as relay,
    ):
        tasks = await asyncio.gather(*(relay.submit(f"a rabbit {number} [lose]") for number in range(60)))
        await eventually(lambda: len(asked) == len(tasks))
    assert 1 < limit <= SweepTunables().concurrency


async def test_silent_tasks_are_polled_at_growing_intervals(database: str) -> None:
    async with sandboxed() as (sandbox, provider), running(database, provider, sweep_after="0.1s") as relay:
        task = await relay.submit("a rabbit [forever][lose]")
        await eventually(lambda: sandbox.task(task).poll_count >= 3)
        asked = [request.at for request in sandbox.requests if request.method == "GET"]
        assert (asked[2] - asked[1]) > (asked[1] - asked[0]) / 2
