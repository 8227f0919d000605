"""A process that stands still between its claim and its POST, or whose claims are not confirmed for a long time.

An order is never sent after its task was ended as not charged, and never lost while the process that claimed it lives.
"""

import asyncio
import signal
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from os import kill
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import psutil
import pytest

from kling_relay.app.wiring import Tunables
from kling_relay.core.submission import NoSuchTask, PollResult, SubmitOutcome
from kling_relay.flows.fetch import FetchTunables
from kling_relay.flows.poll import Poll, SweepCounts
from kling_relay.flows.send import SendTunables
from kling_relay.flows.submit import SubmitTunables
from kling_relay.flows.sweep import SweepTunables
from kling_relay.outbound.http_client import HTTPClient
from kling_relay.outbound.http_connection import Connection
from kling_relay.provider.client import Provider
from kling_relay.sandbox import Profile, Sandbox
from kling_relay.store.embedded.server import Server
from kling_relay.store.postgres.statement import StoreUnavailableError
from kling_relay.store.tasks import due_submissions, slots, submissions
from tests.faults.client import Client
from tests.faults.process import Part, Point, Process, started
from tests.faults.test_unknown import posts
from tests.support.postgres import fresh_database
from tests.support.service import running, sandboxed
from tests.support.waiting import eventually
from tests.unit.test_image import png

pytestmark = pytest.mark.long
"""They wait for the sweep."""
CLAIMED_FOR = 1.0
SWIFT = Tunables(
    fetch=FetchTunables(lease=1.5, heartbeat=0.3),
    sweep=SweepTunables(claimed_for=3.0, every=0.05),
    submit=SubmitTunables(unsent_for=0.1),
    send=SendTunables(claimed_for=CLAIMED_FOR),
)
SETTINGS = {"provider_dialect": "kling", "provider_timeout": "0.5s", "sweep_after": "0.02s"}
PICTURE = png() + bytes(300_000)


@dataclass(frozen=True, slots=True)
class Freeze:
    """Where the process stands still, and with which order."""

    point: Point
    members: Mapping[str, str] = field(default_factory=dict)


FREEZES = {
    "claimed": Freeze(Point(Provider, "submit")),
    "connected": Freeze(Point(HTTPClient, "_dial", after=True)),
    "half written": Freeze(Point(Connection, "_write_part"), {"image": b64encode(PICTURE).decode()}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A process that stands still while it sends an order; `answer` is what its client gets in the end."""

    process: Process
    task: str
    answer: "asyncio.Task[tuple[int, Any] | None]"
    sandbox: Sandbox
    part: Part
    session: aiohttp.ClientSession

    async def go_on(self) -> None:
        """Let it go on, and wait until it has sent the order, or decided not to."""
        kill(self.process.pid, signal.SIGCONT)
        answer = await self.answer
        assert answer is not None
        assert answer[0] == 200, answer
        await eventually(lambda: '"event": "order sent"' in self.part.log.read_text().replace('":"', '": "'))

    @asynccontextmanager
    async def other(self) -> AsyncIterator[Client]:
        """Run another process, which sweeps."""
        async with started(replace(self.part, role="up", stops_at=None)) as process:
            yield Client(f"http://127.0.0.1:{process.port}", self.session)


@asynccontextmanager
async def frozen(database: str, freeze: Freeze, log: Path) -> AsyncIterator[Frozen]:
    async with (
        sandboxed(Profile(seconds=(0.0, 0.01))) as (sandbox, provider),
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
    ):
        part = Part(
            role="api",
            database=database,
            provider=provider,
            settings=SETTINGS,
            stops_at=freeze.point,
            tunables=SWIFT,
            log=log,
        )
        async with started(part) as process:
            client = Client(f"http://127.0.0.1:{process.port}", session)
            operation = "image2video" if freeze.members else "text2video"
            order = {"prompt": "a rabbit", **freeze.members}
            answer = asyncio.create_task(client.call("POST", f"/kling/v1/videos/{operation}", json=order))
            try:
                await eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
                task = str(await one(database, "SELECT task FROM submissions WHERE state = 'sending'"))
                yield Frozen(process=process, task=task, answer=answer, sandbox=sandbox, part=part, session=session)
            finally:
                answer.cancel()


async def one(database: str, query: str) -> Any:
    """Return the first column of the first row."""
    connection = await asyncpg.connect(database)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_an_order_is_not_sent_once_its_task_was_ended(
    postgres: Server, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    async def check(name: str) -> float:
        async with fresh_database(postgres) as database, frozen(database, FREEZES[name], tmp_path / name) as still:
            since = time.monotonic()
            async with still.other() as client:
                final = await client.final(still.task)
                assert final["task_status"] == "failed"
                assert "does not know the order, so it was not charged" in final["task_status_msg"]
                stood_still = time.monotonic() - since
                await still.go_on()
                assert not still.sandbox.tasks, name
                assert not still.sandbox.spent
                assert (await client.final(still.task))["task_status_msg"] == final["task_status_msg"]
                return stood_still

    times = await asyncio.gather(*map(check, FREEZES))
    figure(
        f"a process stood still for {max(times):.1f} s, and claims are abandoned after {CLAIMED_FOR:g} s:"
        f" the provider got 0 of {len(FREEZES)} orders that had ended as not charged"
    )


@pytest.mark.parametrize("name", ["claimed", "connected"])
async def test_an_order_that_stood_still_before_it_left_is_sent_afterwards_once(
    database: str, tmp_path: Path, name: str
) -> None:
    async with frozen(database, FREEZES[name], tmp_path / "log") as still:
        due = "SELECT due_at < now() FROM submissions"
        await eventually(lambda: one(database, due))  # it would be abandoned now, if anybody swept
        await still.go_on()
        put_back = "SELECT reason FROM submissions WHERE state = 'recorded'"
        assert "stood still before it sent the order" in await eventually(lambda: one(database, put_back))
        async with still.other() as client:
            assert (await client.final(still.task))["task_status"] == "succeed"
        assert posts(still.sandbox) == 1


@dataclass(slots=True)
class SlowWitness:
    """A provider whose last "no such task" arrives after something has happened to the submission."""

    meanwhile: Callable[[], Awaitable[Any]]

    async def submit(self, *_: Any, **__: Any) -> SubmitOutcome:
        raise AssertionError("nothing is sent here")

    async def poll(self, *_: Any) -> PollResult:
        await self.meanwhile()
        return NoSuchTask()


@pytest.mark.parametrize("is_put_back", [True, False])
async def test_an_unknown_order_ends_only_if_nobody_can_send_it_any_more(database: str, is_put_back: bool) -> None:
    async with sandboxed() as (_, provider), running(database, provider, "api", provider_slots="1") as relay:
        store, claim_id = relay.parts.database, uuid4()
        await relay.submit("a rabbit [forever]")
        task = UUID(await relay.submit("a rabbit"))  # it waits for the slot
        assert await submissions.claim_for_sending(store, [task], 0, claim_id)
        assert await submissions.set_abandoned(store, task, claim_id, "no answer")
        await store.pool.execute("UPDATE submissions SET attempt = 9 WHERE task = $1", task)

        async def put_back() -> bool:
            return await submissions.set_waiting(store, task, claim_id, 1, "stood still", 0)

        async def nothing() -> None:
            return

        now = relay.parts.context.now
        poll = Poll(
            store,
            SlowWitness(put_back if is_put_back else nothing),
            relay.parts.ingest,
            now=now,
            random_fraction=lambda: 0.5,
            sweep_after=timedelta(seconds=1),
            deadline=timedelta(hours=6),
        )
        due = [due for due in await due_submissions.claim(store, "unknown", 9, 60) if due.task == task]
        await poll(due[0], SweepCounts())
        shown = await relay.task(str(task))
        if is_put_back:
            assert (shown["task_status"], shown["submission"]["state"]) == ("submitted", "recorded")
        else:
            assert "was not charged" in shown["task_status_msg"]
            assert not await put_back()


@pytest.mark.parametrize("slots_limit", [None, "1"])
async def test_a_claim_whose_confirmation_was_lost_is_undone_even_after_the_sweep_took_it_for_abandoned(
    database: str, monkeypatch: pytest.MonkeyPatch, slots_limit: str | None
) -> None:
    owner, name = (submissions, "claim_for_sending") if slots_limit is None else (slots, "admit")
    claim, release = getattr(owner, name), submissions.release_claims
    is_lost = is_abandoned = False

    async def lose_confirmation(*given: Any) -> Any:
        nonlocal is_lost
        claimed = await claim(*given)
        if claimed and not is_lost:
            is_lost = True
            raise StoreUnavailableError("the connection was lost")
        return claimed

    async def release_when_abandoned(*given: Any) -> int:
        nonlocal is_abandoned
        is_abandoned = is_abandoned or bool(await one(database, "SELECT bool_or(state = 'unknown') FROM submissions"))
        if not is_abandoned:
            raise StoreUnavailableError("still away")
        return await release(*given)

    monkeypatch.setattr(owner, name, lose_confirmation)
    monkeypatch.setattr(submissions, "release_claims", release_when_abandoned)
    given: dict[str, Any] = {**SETTINGS, "sweep_after": "5s"} | ({"provider_slots": slots_limit} if slots_limit else {})
    async with sandboxed() as (sandbox, provider), running(database, provider, tunables=SWIFT, **given) as relay:
        final = await relay.final(await relay.submit())
        assert is_lost
        assert final["task_status"] == "succeed", final
        assert posts(sandbox) == 1


async def test_an_overdue_order_whose_claim_was_not_confirmed_ends_as_never_sent(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = due_submissions.claim_overdue
    lost: list[UUID] = []

    async def lose_confirmation(*given: Any) -> Any:
        claimed = await claim(*given)
        if claimed and not lost:
            lost.extend(claimed)
            raise StoreUnavailableError("the connection was lost")
        return claimed

    monkeypatch.setattr(due_submissions, "claim_overdue", lose_confirmation)
    given: dict[str, Any] = {"provider_slots": "1", "task_deadline": "1s", "sweep_after": "60s"}
    async with sandboxed() as (sandbox, provider), running(database, provider, tunables=SWIFT, **given) as relay:
        await relay.submit("a rabbit [forever]")
        final = await relay.final(await relay.submit("too late"))
        assert lost
        assert "never reached the provider and was not charged" in final["task_status_msg"]
        assert len(sandbox.tasks) == 1
