"""PostgreSQL away: nothing is sent that is not recorded, nothing is answered 200 that is not on disk, and when it is
back everything goes on in the processes that were there.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psutil

from kling_relay.core import callback_token
from kling_relay.sandbox import Profile, Sandbox
from kling_relay.store.embedded.server import Server
from tests.faults.cluster import back, cluster, killed
from tests.support.service import Relay, running, sandboxed, subscriber
from tests.support.waiting import eventually

ORDER = {"prompt": "a rabbit"}
DOOR = "/kling/v1/videos/text2video"


def hook(relay: Relay, task: str) -> str:
    """Return the path of a task's own callback."""
    return f"/callbacks/{task}/{callback_token.make(relay.parts.context.callback_keys, UUID(task))}"


def orders(sandbox: Sandbox) -> int:
    """Return how many orders the provider received."""
    return sum(request.method == "POST" for request in sandbox.requests)


async def test_a_missing_database_stops_sending_and_loses_nothing() -> None:
    async with (
        cluster() as server,
        sandboxed() as (sandbox, provider),
        subscriber() as heard,
        running(server.url(), provider, sweep_after="0.5s", record_timeout="1s") as relay,
    ):
        await relay.subscribe(heard.url)
        first, second = await relay.submit(), await relay.submit("a rabbit [lose][takes:0.1s]")
        third = await relay.submit("a rabbit [forever]")
        await relay.final(first)
        sent = orders(sandbox)
        await killed(server)
        assert await _refused(relay, "POST", DOOR, json=ORDER)
        assert await _refused(relay, "POST", DOOR, json=ORDER, headers={"Idempotency-Key": "k"})
        assert await _refused(relay, "POST", hook(relay, third), json={"task_status": "processing"})
        assert await _refused(relay, "GET", "/readyz")
        assert (await relay.call("GET", "/livez"))[0] == 200
        assert orders(sandbox) == sent
        await back(server)
        await eventually(lambda: _is_ready(relay))
        sandbox.finish(third)
        tasks = [first, second, third, await relay.submit()]
        events = []
        for task in tasks:
            assert (await relay.final(task))["task_status"] == "succeed"
            events += await relay.events(task)
        await eventually(lambda: heard.ids() == {event["id"] for event in events})
        assert len(sandbox.tasks) == len(tasks)


async def test_an_answer_that_came_while_the_database_was_away_is_kept_until_it_is_back() -> None:
    async with (
        cluster() as server,
        sandboxed(Profile(seconds=(0.0, 0.01))) as (sandbox, provider),
        running(server.url(), provider, sweep_after="60s") as relay,
    ):
        ordering = relay.call("POST", DOOR, json={"prompt": "a rabbit [slow:1s][lose]"})
        status, said = (await _with(ordering, _killed_when_heard(server, sandbox)))[0]
        assert status == 200, said
        assert said["data"]["task_status"] == "submitted"
        task = said["data"]["task_id"]
        await sandbox.until(lambda: len(sandbox.tasks) == 1)
        await back(server)

        async def accepted() -> bool:
            _, shown = await relay.call("GET", f"/v1/tasks/{task}")
            return bool(shown["submission"]["state"] == "accepted")

        await eventually(accepted)
        assert orders(sandbox) == 1


async def test_a_forged_token_is_refused_without_the_database() -> None:
    async with (
        cluster() as server,
        sandboxed() as (_, provider),
        running(server.url(), provider, record_timeout="1s") as relay,
    ):
        task = await relay.submit("a rabbit [forever]")
        other = await relay.submit("a rabbit [forever]")
        await killed(server)
        for forged in (f"/callbacks/{task}/{'A' * 32}", f"/callbacks/{task}/{hook(relay, other).rsplit('/')[-1]}"):
            assert (await relay.call("POST", forged, json={"task_status": "succeed"}))[0] == 404
        assert await _refused(relay, "POST", hook(relay, task), json={"task_status": "succeed"})
        await back(server)


async def test_a_database_that_hangs_is_answered_in_good_time(figure: Callable[[str], None]) -> None:
    async with (
        cluster() as server,
        sandboxed() as (sandbox, provider),
        running(server.url(), provider, record_timeout="1s") as relay,
    ):
        task = await relay.submit()
        await relay.final(task)
        requests: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", DOOR, {"json": ORDER}),
            ("POST", DOOR, {"json": ORDER, "headers": {"Idempotency-Key": "k"}}),
            ("POST", hook(relay, task), {"json": {"task_status": "processing"}}),
            *[("GET", f"/v1/tasks/{task}", {})] * 30,  # three times as many as there are connections
        ]
        with _frozen(server):
            took = await _with(*(_seconds_until_refused(relay, *request) for request in requests))
        figure(f"a database that hangs: 503 within {max(took):.1f} s (RELAY_RECORD_TIMEOUT is 1 s)")
        assert max(took) < 1.5, took
        assert orders(sandbox) == 1
        await eventually(lambda: _is_ready(relay))
        await relay.final(await relay.submit())


@contextmanager
def _frozen(server: Server) -> Iterator[None]:
    """Suspend every process of the server, and let them continue at the end."""
    postmaster = int((server.cluster / "postmaster.pid").read_text().split("\n", 1)[0])
    pids = [postmaster, *(child.pid for child in psutil.Process(postmaster).children(recursive=True))]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def _refused(relay: Relay, method: str, path: str, **request: Any) -> bool:
    status, _ = await relay.call(method, path, **request)
    return status == 503


async def _seconds_until_refused(relay: Relay, method: str, path: str, request: dict[str, Any]) -> float:
    began = time.monotonic()
    assert await _refused(relay, method, path, **request)
    return time.monotonic() - began


async def _is_ready(relay: Relay) -> bool:
    return (await relay.call("GET", "/readyz"))[0] == 200


async def _killed_when_heard(server: Server, sandbox: Sandbox) -> None:
    await sandbox.until(lambda: orders(sandbox) == 1)
    await killed(server)


async def _with(*works: Any) -> list[Any]:
    return list(await asyncio.gather(*works))
