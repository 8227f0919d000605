"""Kills a process between any two writes. A table has the points, and what the next start must make of each.

The rows are those of docs/reliability.md. A process is killed (SIGKILL, by itself, at the point), and started again
without the point; the client repeats its order under the same Idempotency-Key.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from kling_relay.sandbox import Profile, Sandbox
from kling_relay.store.embedded.server import Server
from tests.faults.client import Client
from tests.faults.process import POINTS, Part, Process, dying, reserved_port, started
from tests.support.postgres import fresh_database
from tests.support.service import Subscriber, sandboxed, subscriber
from tests.support.waiting import eventually

WORD = "the-only-order"
AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a test expects after the next start: the task's end, the provider's charges, and the client's part.

    `posts` is how often the provider got the order, if that is not as often as it charged.
    """

    status: str = "succeed"
    charges: int = 1
    posts: int | None = None
    prompt: str = "a rabbit"
    without_client: bool = True
    reason: str = ""
    repeated_delivery: bool = False


TABLE = {
    "submit: nothing recorded": Expected(without_client=False),
    "submit: recorded, not claimed": Expected(),
    "submit: claimed, POST not sent": Expected(status="failed", charges=0, reason="does not know the order"),
    "submit: POST sent, answer not read": Expected(prompt="a rabbit [lose]"),
    "submit: answered, not settled": Expected(prompt="a rabbit [lose]"),
    "submit: settled, client not answered": Expected(prompt="a rabbit [lose]"),
    "submit: must wait, not rescheduled": Expected(
        status="failed", charges=0, posts=1, prompt="a rabbit [1303:1]", reason="does not know the order"
    ),
    "submit: rescheduled, not sent again": Expected(posts=2, prompt="a rabbit [1303:1]"),
    "submit: answer lost, not recorded as unknown": Expected(prompt="a rabbit [reset:accepted][lose]"),
    "submit: recorded as unknown, not polled": Expected(prompt="a rabbit [reset:accepted][lose]"),
    "submit: refused, key not freed": Expected(
        status="failed", charges=0, posts=1, prompt="a rabbit [1301:1]", reason="the provider refused the order"
    ),
    "ingest: callback read, not written": Expected(),
    "ingest: written, provider not answered": Expected(),
    "deliver: due, POST not made": Expected(),
    "deliver: POST made, not settled": Expected(repeated_delivery=True),
    "deliver: settled": Expected(),
    "sweep: polled, answer not written": Expected(prompt="a rabbit [lose]"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A provider, a subscriber, a client, and a process to start."""

    sandbox: Sandbox
    part: Part
    client: Client
    heard: Subscriber
    database: str

    async def rows(self, query: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database)
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()


@asynccontextmanager
async def scene(database: str, log: Path) -> AsyncIterator[Scene]:
    profile = Profile(seconds=(0.05, 0.1), callback_tries=2)
    with reserved_port() as held:
        port = held.getsockname()[1]
        async with (
            sandboxed(profile) as (sandbox, provider),
            subscriber() as heard,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
        ):
            settings = {
                "port": str(port),
                "provider_dialect": "kling",
                "provider_timeout": "1s",
                "sweep_after": "0.3s",
            }
            part = Part(role="up", database=database, provider=provider, settings=settings, log=log)
            client = Client(f"http://127.0.0.1:{port}", session)
            yield Scene(sandbox=sandbox, part=part, client=client, heard=heard, database=database)


def test_the_table_has_a_row_for_every_point() -> None:
    assert TABLE.keys() == POINTS.keys()


async def _seen(server: Server, log: Path, point: str, gate: asyncio.Semaphore) -> Exception | None:
    async with gate:
        try:
            async with fresh_database(server) as database:
                await _killed_and_mended(database, log, point)
        except Exception as error:  # noqa: BLE001 - told by the row's own test
            return error
        return None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rows(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exception | None]:
    """The result of each row. Rows run concurrently, because each mostly waits."""
    logs, gate = tmp_path_factory.mktemp("logs"), asyncio.Semaphore(AT_ONCE)
    seen = [_seen(postgres, logs / str(place), point, gate) for place, point in enumerate(TABLE)]
    return dict(zip(TABLE, await asyncio.gather(*seen), strict=True))


@pytest.mark.parametrize("point", TABLE)
def test_the_next_start_recovers_from_a_kill(rows: dict[str, Exception | None], point: str) -> None:
    if error := rows[point]:
        raise error


async def _killed_and_mended(database: str, log: Path, point: str) -> None:
    expected = TABLE[point]
    async with scene(database, log) as on:
        client, prompt = on.client, expected.prompt
        first = Process(dying(on.part, point))
        assert await first.ready()
        await client.subscribed(on.heard.url)
        await client.order(WORD, prompt)
        assert await first.ended() == -9
        settled = await on.rows("SELECT 'evt_' || replace(subject::text, '-', '') || '_' || sequence FROM attempts")
        recorded = await on.rows("SELECT id::text FROM tasks")
        assert len(recorded) == int(expected.without_client)
        async with started(on.part):
            if expected.without_client:
                await client.final(recorded[0][0])
            task = await client.insist(WORD, prompt)
            final = await client.final(task)
            assert [[task]] == [[row[0]] for row in await on.rows("SELECT id::text FROM tasks")]
            assert final["task_status"] == expected.status
            assert expected.reason in final["task_status_msg"]
            charges = [entry.external_task_id for entry in on.sandbox.ledger if entry.kind == "charge"]
            assert charges == [task] * expected.charges
            posts = expected.charges if expected.posts is None else expected.posts
            assert sum(request.method == "POST" for request in on.sandbox.requests) == posts
            events = (await client.got(f"/v1/tasks/{task}/events"))["data"]
            assert [event["data"]["sequence"] for event in events] == list(range(1, len(events) + 1))
            ids = {event["id"] for event in events}
            await eventually(lambda: on.heard.ids() == ids)
            if expected.repeated_delivery:  # it comes when the dead process's lease is over
                await eventually(lambda: len(on.heard.heard) > len(ids))
            copies = Counter(heard.id for heard in on.heard.heard)
            assert {copies[name] for (name,) in settled} <= {1}
            ledger = await on.rows("SELECT sum(reserved), sum(charged) FROM ledger")
            assert tuple(ledger[0]) == (0, expected.charges)
