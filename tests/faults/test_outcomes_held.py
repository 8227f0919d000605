"""Every answer of the provider to an order, at a moment at which it cannot be written: it is held, and written later.

The client gets the task, as from a slow provider. Nothing is sent twice, and no answer is lost or gets a wrong reason.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from kling_relay.app.wiring import Tunables
from kling_relay.flows.submit import SubmitTunables
from kling_relay.flows.sweep import SweepTunables
from kling_relay.sandbox import Profile
from tests.faults.cluster import back, caught_up, cluster, killed, promoted, set_read_only, standby, stopped
from tests.faults.test_database_away import DOOR, orders
from tests.support.link import cable
from tests.support.service import running, sandboxed
from tests.support.waiting import eventually

pytestmark = pytest.mark.long
"""They start servers of their own."""

HASTY = Tunables(submit=SubmitTunables(patience=1.5), sweep=SweepTunables(every=0.1))


@dataclass(frozen=True, slots=True)
class Held:
    """What the provider answers, and what must become of the task; `posts` counts how often it gets the order."""

    directives: str
    status: str
    reason: str = ""
    posts: int = 1


ANSWERS = {
    "accepted": Held("", "succeed"),
    "must wait": Held("[1303:1]", "succeed", posts=2),
    "refused": Held("[1301]", "failed", "1301"),
    "account refused": Held("[1101]", "failed", "accepts no orders (1101)"),
    "lost": Held("[reset:accepted][lose]", "succeed"),
}


@dataclass(frozen=True, slots=True)
class Outage:
    """A database, how it stops taking writes, and how it takes them again."""

    url: str
    begin: Callable[[], Awaitable[Any]]
    end: Callable[[], Awaitable[Any]]


@asynccontextmanager
async def read_only() -> AsyncIterator[Outage]:
    async with cluster() as server:
        yield Outage(server.url(), lambda: set_read_only(server, "on"), lambda: set_read_only(server, "off"))


@asynccontextmanager
async def away() -> AsyncIterator[Outage]:
    async with cluster() as server:
        yield Outage(server.url(), lambda: killed(server), lambda: back(server))


@asynccontextmanager
async def failover() -> AsyncIterator[Outage]:
    async with cluster() as first, standby(first) as second, cable(first.url()) as name:

        async def begin() -> None:
            await caught_up(first)
            await stopped(first)

        async def end() -> None:
            await promoted(second)
            name.lead_to(second.url())

        yield Outage(name.url, begin, end)


@pytest.mark.parametrize("outage", [read_only, away, failover], ids=lambda outage: outage.__name__)
async def test_every_answer_to_an_order_is_held_and_written_afterwards(
    outage: Callable[[], Any], figure: Callable[[str], None]
) -> None:
    settings: dict[str, Any] = {"sweep_after": "1s", "provider_dialect": "kling", "record_timeout": "2s"}
    async with (
        outage() as database,
        sandboxed(Profile(seconds=(0.0, 0.01))) as (sandbox, provider),
        running(database.url, provider, tunables=HASTY, **settings) as relay,
    ):
        ordering = [
            asyncio.ensure_future(relay.call("POST", DOOR, json={"prompt": f"{name} [slow:1s]{held.directives}"}))
            for name, held in ANSWERS.items()
        ]
        await sandbox.until(lambda: orders(sandbox) == len(ANSWERS))
        await database.begin()
        tasks = {}
        for (name, _), (status, said) in zip(ANSWERS.items(), await asyncio.gather(*ordering), strict=True):
            assert (status, said["data"]["task_status"]) == (200, "submitted"), (name, said)
            tasks[name] = said["data"]["task_id"]
        await database.end()

        async def are_final() -> bool:
            pages = await relay.call("GET", "/v1/tasks")
            return pages[0] == 200 and {task["task_status"] for task in pages[1]["data"]} == {"succeed", "failed"}

        await eventually(are_final, 30)
        for name, held in ANSWERS.items():
            task = await relay.task(tasks[name])
            assert (task["task_status"], held.reason in task["task_status_msg"]) == (held.status, True), (name, task)
        assert orders(sandbox) == sum(held.posts for held in ANSWERS.values())
        figure(f"{len(ANSWERS)} kinds of answers during {outage.__name__}: all written afterwards, none sent twice")
