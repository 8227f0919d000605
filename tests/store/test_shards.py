"""Shards: each has at most one owner, workers get equal shares, and a free shard is taken."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from kling_relay.core.subscription import SHARDS
from kling_relay.store.deliveries import shards
from kling_relay.store.postgres.database import Database, connect
from tests.support.outbox import fresh_id


@pytest.fixture
async def store(database: str) -> AsyncIterator[Database]:
    async with connect(database, max_wait=20) as opened:
        yield opened


async def settle(store: Database, workers: list[UUID], lease: float = 30.0) -> dict[UUID, set[int]]:
    """Let workers hold and release shards in turn until nothing changes."""
    held: dict[UUID, set[int]] = {}
    for _ in range(3):
        for worker in workers:
            mine, share = await shards.hold(store, worker, lease)
            if len(mine) > share:
                await shards.release(store, worker, set(sorted(mine)[share:]))
                mine = set(sorted(mine)[:share])
            held[worker] = mine
    return held


async def test_one_worker_holds_all_shards(store: Database) -> None:
    held, share = await shards.hold(store, fresh_id(), 30.0)
    assert held == set(range(SHARDS))
    assert share == SHARDS


@pytest.mark.parametrize("count", [2, 3, 5])
async def test_several_workers_share_the_shards_evenly_and_no_shard_has_two_owners(store: Database, count: int) -> None:
    held = await settle(store, [fresh_id() for _ in range(count)])
    assert sorted(shard for mine in held.values() for shard in mine) == list(range(SHARDS))
    assert max(map(len, held.values())) <= -(-SHARDS // count)


async def test_workers_that_start_at_once_take_different_shards(store: Database) -> None:
    results = await asyncio.gather(*(shards.hold(store, fresh_id(), 30.0) for _ in range(5)))
    taken = [shard for held, _ in results for shard in held]
    assert len(taken) == len(set(taken))


async def test_released_and_abandoned_shards_are_free_at_once(store: Database) -> None:
    one, two = fresh_id(), fresh_id()
    await shards.hold(store, one, 30.0)
    held, _ = await shards.hold(store, two, 30.0)
    assert held == set()
    await shards.release(store, one, set(range(100)))
    held, _ = await shards.hold(store, two, 30.0)
    assert held == set(range(100))
    await shards.release_all(store, one)
    held, share = await shards.hold(store, two, 30.0)
    assert (len(held), share) == (SHARDS, SHARDS)


async def test_a_dead_workers_shards_are_free_once_its_lease_has_run_out(store: Database) -> None:
    dead, heir = fresh_id(), fresh_id()
    await shards.hold(store, dead, 0.3)
    held, _ = await shards.hold(store, heir, 0.3)
    assert held == set()
    await asyncio.sleep(0.4)  # longer than the lease of 0.3 s
    held, share = await shards.hold(store, heir, 0.3)
    assert (len(held), share) == (SHARDS, SHARDS)


async def test_a_worker_that_lost_its_lease_holds_none_of_the_shards_that_another_took(store: Database) -> None:
    slow, quick = fresh_id(), fresh_id()
    await shards.hold(store, slow, 0.1)
    await asyncio.sleep(0.2)  # longer than the lease of 0.1 s
    held, _ = await shards.hold(store, quick, 30.0)
    mine, _ = await shards.hold(store, slow, 30.0)
    assert not held & mine
