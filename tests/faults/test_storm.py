"""A storm: a provider that loses, doubles, reorders and delays, processes killed at random, PostgreSQL too; and at the
end the provider's own record, our record, our events, our money and what every subscriber heard are one.

`STORM_SEED` repeats a storm's dice; what the machine makes of them differs from run to run.
"""

import asyncio
import os
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web

from kling_relay.sandbox import Profile, Sandbox
from kling_relay.store.embedded.server import Server
from tests.faults.client import Client
from tests.faults.cluster import cluster
from tests.faults.process import Part, Ward, reserved_port
from tests.support.postgres import restart
from tests.support.service import Subscriber, sandboxed, subscriber
from tests.support.waiting import eventually

PROFILE = Profile(
    seconds=(0.2, 1.5),
    loss=0.3,
    doubling=0.3,
    reorder=0.2,
    delay=0.3,
    delay_seconds=(0.05, 0.8),
    style="mixed",
    foreign_id=0.1,
    failure=0.1,
    moderation=0.05,
    refusals=((1303, 0.1),),
    timeout_after_accept=0.07,
    reset_after_accept=0.05,
    html_502_after_accept=0.05,
    reset=0.03,
    hang_seconds=3.0,
    poll_html=0.15,
    poll_error=0.15,
)
SETTINGS = {
    "provider_dialect": "kling",
    "provider_timeout": "1s",
    "sweep_after": "0.5s",
    "retry_schedule": ",".join(["0.2s"] * 40),
    "delivery_timeout": "1s",
    "record_timeout": "2s",
}


HOOKED = 5
"""One order in this many has a `notify_hook`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Duration and strength; times in seconds."""

    tasks: int
    lasts: float
    calm: float
    converges: float


SHORT = Size(tasks=100, lasts=5.0, calm=0.7, converges=150.0)
LONG = Size(tasks=600, lasts=60.0, calm=1.5, converges=240.0)


@dataclass(slots=True)
class Flapping(Subscriber):
    """A subscriber that fails at random: with a status, by hanging up, or after it has stored the event."""

    dice: random.Random = field(default_factory=random.Random)

    async def flap(self, request: web.Request) -> web.StreamResponse:
        fate = self.dice.random()
        if fate < 0.15:
            return web.Response(status=500)
        if fate < 0.25:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        answer = await self.answer(request)
        return web.Response(status=503) if fate < 0.35 else answer


@asynccontextmanager
async def flapping(dice: random.Random) -> AsyncIterator[Flapping]:
    one = Flapping(dice=dice)
    app = web.Application()
    app.router.add_post("/hook", one.flap)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield one
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """The parts of a storm."""

    size: Size
    dice: random.Random
    server: Server
    sandbox: Sandbox
    client: Client
    wards: list[Ward]
    heard: list[Subscriber]

    async def rage(self) -> dict[str, str]:
        """Order, kill and restart; return the tasks by idempotency key."""
        tasks: dict[str, str] = {}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kill())
            group.create_task(self._restart())
            starts = [self.dice.uniform(0, self.size.lasts) for _ in range(self.size.tasks)]
            for each, at in enumerate(starts):
                group.create_task(self._order(each, at, tasks))
        return tasks

    async def _order(self, number: int, at: float, tasks: dict[str, str]) -> None:
        await asyncio.sleep(at)
        hook = {"notify_hook": self.heard[0].url} if number % HOOKED == 0 else {}
        word = f"order-{number}"
        tasks[word] = await self.client.insist(word, f"a rabbit, number {number}", **hook)
        if self.dice.random() < 0.3:  # a client that lost the answer on its own side
            assert await self.client.insist(word, f"a rabbit, number {number}", **hook) == tasks[word]

    async def _kill(self) -> None:
        passed = 0.0
        while passed < self.size.lasts:
            wait = self.dice.uniform(0.3, 1.7) * self.size.calm
            passed += wait
            await asyncio.sleep(wait)
            self.dice.choice(self.wards).kill()

    async def _restart(self) -> None:
        for _ in range(2):
            await asyncio.sleep(self.size.lasts / 3)
            await asyncio.to_thread(restart, self.server, "immediate")


@asynccontextmanager
async def storm(size: Size, seed: int, log: Path) -> AsyncIterator[Storm]:
    dice = random.Random(seed)
    with reserved_port() as held:
        port = held.getsockname()[1]
        async with (
            cluster() as server,
            sandboxed(PROFILE, seed) as (sandbox, provider),
            subscriber() as sound,
            flapping(dice) as flaps,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=8)) as session,
        ):
            client = Client(f"http://127.0.0.1:{port}", session)
            api = Part(
                role="api",
                database=server.url(),
                provider=provider,
                settings={**SETTINGS, "port": str(port)},
                log=log,
            )
            worker = replace(api, role="worker", settings={**SETTINGS, "public_url": client.url})
            wards = [Ward(api), Ward(worker), Ward(worker)]
            for ward in wards:
                ward.begin()
            try:
                await eventually(lambda: client.call("GET", "/livez"), 20)
                yield Storm(
                    size=size,
                    dice=dice,
                    server=server,
                    sandbox=sandbox,
                    client=client,
                    wards=wards,
                    heard=[sound, flaps],
                )
            finally:
                await asyncio.gather(*(ward.end() for ward in wards))


async def test_a_storm_loses_nothing_repeats_nothing_and_charges_once(
    is_long: bool, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    seed = int(os.environ.get("STORM_SEED") or random.SystemRandom().getrandbits(32))
    size = LONG if is_long else SHORT
    async with storm(size, seed, tmp_path / "log") as weather:
        for heard in weather.heard:
            await weather.client.subscribed(heard.url)
        tasks = await weather.rage()
        try:
            await _all_final(weather, set(tasks.values()))
            events = await _events(weather, tasks.values())
            await _all_heard(weather, events)
            await _hooks_heard(weather, {tasks[f"order-{each}"] for each in range(0, size.tasks, HOOKED)}, events)
            await _one_with_the_provider(weather, set(tasks.values()), events)
            await _money(weather)
        finally:
            kills = [ward.kills for ward in weather.wards]
            copies = [len(heard.heard) for heard in weather.heard]
            figure(
                f"STORM_SEED={seed}: {len(tasks)} tasks, kills {kills}, answers {weather.client.answers}, "
                f"deliveries {copies}, the provider took {len(weather.sandbox.tasks)}"
            )


async def _all_final(weather: Storm, tasks: set[str]) -> None:
    assert len(tasks) == weather.size.tasks

    async def fact() -> bool:
        left = await _rows(weather, "SELECT task::text, state, attempt, reason FROM submissions")
        assert not left, left[:5]
        return True

    await eventually(fact, weather.size.converges)


async def _events(weather: Storm, tasks: Any) -> dict[str, tuple[str, str, str]]:
    """Read the log as a client does; return every event by its id, as (task, status, results)."""
    events: dict[str, tuple[str, str, str]] = {}
    cursor, sequences = "0", dict.fromkeys(tasks, 0)
    while True:
        page = await weather.client.got(f"/v1/events?after={cursor}&limit=100")
        for event in page["data"]:
            data = event["data"]
            assert event["id"] not in events
            sequences[data["task_id"]] += 1
            assert data["sequence"] == sequences[data["task_id"]]
            events[event["id"]] = (data["task_id"], data["task_status"], str(data["task_result"]))
        if not page["next_cursor"] or not page["data"]:
            return events
        cursor = page["next_cursor"]


async def _all_heard(weather: Storm, events: dict[str, tuple[str, str, str]]) -> None:
    for heard in weather.heard:
        await eventually(partial(_has_all, heard, events), weather.size.converges)
        bodies: dict[tuple[str, bool], bytes] = {}
        for each in heard.heard:
            assert each.id in events
            in_kling = "task_id" in each.json
            assert bodies.setdefault((each.id, in_kling), each.raw) == each.raw


def _has_all(heard: Subscriber, events: dict[str, tuple[str, str, str]]) -> bool:
    return events.keys() <= heard.ids()


async def _hooks_heard(weather: Storm, hooked: set[str], events: dict[str, tuple[str, str, str]]) -> None:
    """The first subscriber is also the `notify_hook` of some orders, in Kling's flat form."""
    wanted = {name for name, (task, _, _) in events.items() if task in hooked}

    def fact() -> bool:
        return {each.id for each in weather.heard[0].heard if "task_id" in each.json} == wanted

    await eventually(fact, weather.size.converges)


async def _one_with_the_provider(weather: Storm, tasks: set[str], events: dict[str, tuple[str, str, str]]) -> None:
    truth = {task.order.external_task_id: task for task in weather.sandbox.tasks.values()}
    assert truth.keys() <= tasks
    last = {task: (status, result) for task, status, result in events.values()}
    for task in tasks:
        shown = await weather.client.got(f"/v1/tasks/{task}")
        assert (shown["task_status"], str(shown["task_result"])) == last[task]
        if task in truth:
            assert shown["task_status"] == truth[task].status, (shown, truth[task])
        else:
            assert shown["task_status"] == "failed"
            assert "does not know the order" in shown["task_status_msg"], shown
    charges = Counter(entry.external_task_id for entry in weather.sandbox.ledger if entry.kind == "charge")
    assert charges == dict.fromkeys(truth, 1)


async def _money(weather: Storm) -> None:
    """The ledger equals the provider's account in total and per task: charged once, and released if it failed."""
    account: defaultdict[str, Decimal] = defaultdict(Decimal)
    for entry in weather.sandbox.ledger:
        account[entry.external_task_id] += entry.units
    booked = await _rows(weather, "SELECT task::text, sum(charged) AS charged FROM ledger GROUP BY task")
    assert {row["task"]: row["charged"] for row in booked if row["charged"]} == {k: v for k, v in account.items() if v}
    reserved, charged = (await _rows(weather, "SELECT sum(reserved), sum(charged) FROM ledger"))[0]
    assert reserved == 0
    assert Decimal(charged) == weather.sandbox.spent
    assert not await _rows(weather, "SELECT 1 FROM ledger GROUP BY task HAVING count(*) <> 2")


async def _rows(weather: Storm, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(weather.server.url())
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
