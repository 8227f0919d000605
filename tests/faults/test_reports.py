"""A key that asks for many heavy reports hurts nobody else: orders and look-ups by id go on beside them."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from kling_relay.core.key import Scope
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.postgres.database import connect
from tests.faults.client import Client
from tests.faults.test_abuse import Besieged, besieged
from tests.support.relay import add_key
from tests.support.service import SIGNING
from tests.support.waiting import eventually

REPORTS = 10
ROUNDS = 10
ENTRIES = (
    "INSERT INTO ledger (task, entry, client, key, at, reserved, charged, currency, kind, model, mode)"
    " SELECT gen_random_uuid(), entry, $1, $2, now() - number * interval '1 second', 1, 0, 'unit',"
    " 'text2video', 'kling-v1', 'std'"
    " FROM generate_series(1, $3::int) AS number, unnest(ARRAY['reserve', 'settle']) AS entry"
)


async def greedy_key(database: str, entries: int) -> str:
    """Add a client with a key that may only read, and that many entries in the ledger."""
    async with connect(database) as opened:
        key = await add_key(opened, Encryptor([SIGNING.encode()]), "greedy", {Scope.READ})
        row = await opened.pool.fetchrow("SELECT client, id FROM keys WHERE name = 'greedy'")
        assert row is not None
        client: UUID = row["client"]
    writer = await asyncpg.connect(database)
    await writer.execute(ENTRIES, client, row["id"], entries // 2)
    await writer.close()
    return key


async def test_orders_and_look_ups_succeed_beside_ten_reports_over_a_large_ledger(
    database: str, tmp_path: Path, figure: Callable[[str], None], *, is_long: bool
) -> None:
    entries = 400_000 if is_long else 20_000
    async with besieged(database, tmp_path / "log", log_level="warning") as on:
        greedy = Client(on.client.url, on.client.session, key=await greedy_key(database, entries))
        done: Counter[int] = Counter()
        alone = await honest(on, "alone")
        asking = [asyncio.create_task(ask(greedy, done)) for _ in range(REPORTS)]
        beside = await honest(on, "beside")
        await eventually(lambda: done[200], within=30)
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
    figure(
        f"{ROUNDS} orders with a look-up each: slowest {alone * 1e3:.0f} ms, and {beside * 1e3:.0f} ms beside {REPORTS}"
        f" reports over {entries:,} entries, again and again ({done.total()} answers)"
    )
    assert beside < 5
    assert done.keys() <= {200, 400, 429}


async def ask(greedy: Client, done: Counter[int]) -> None:
    while True:
        answer = await greedy.call("GET", "/v1/usage?by=model&by=day")
        assert answer is not None
        done[answer[0]] += 1


async def honest(on: Besieged, name: str) -> float:
    """Order and look up ROUNDS times, and return the time of the slowest of both, in seconds."""
    slowest = 0.0
    for number in range(ROUNDS):
        started_at = time.monotonic()
        task = await on.client.order(f"{name} {number}", "a rabbit")
        assert task is not None, "an order was answered 503"
        answer = await on.client.call("GET", f"/kling/v1/videos/text2video/{task}")
        assert answer is not None
        assert answer[0] == 200
        slowest = max(slowest, time.monotonic() - started_at)
    return slowest


@pytest.mark.parametrize("path", ["/v1/tasks?text=nowhere", "/kling/v1/videos/text2video?pageNum=1000&pageSize=500"])
async def test_orders_succeed_beside_searches_and_deep_pages(database: str, tmp_path: Path, path: str) -> None:
    async with besieged(database, tmp_path / "log", log_level="warning") as on:
        greedy = Client(on.client.url, on.client.session, key=await greedy_key(database, 2))
        asking = [asyncio.create_task(greedy.call("GET", path)) for _ in range(50)]
        await honest(on, "beside")
        answers = await asyncio.gather(*asking)
        assert {answer[0] for answer in answers if answer} <= {200, 429}
