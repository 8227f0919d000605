"""Coalescing: no timer, two flushes, one item per key; what is bad fails alone and what collides is written again."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from kling_relay.flows.coalesce import MAX_FLUSHES, MAX_TRIES, Coalescer, OverloadedError
from kling_relay.store.postgres.statement import (
    BadRowError,
    CollisionError,
    MissingPartitionError,
    StoreUnavailableError,
)
from tests.support.waiting import eventually

Item = tuple[int, str]


@dataclass
class Store:
    """Writes batches when its gate is open; `faults` are raised first, one per write; the word "bad" is refused."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    batches: list[list[Item]] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    refusal: Exception = field(default_factory=lambda: BadRowError("bad"))
    writing: list[int] = field(default_factory=list)
    max_at_once: int = 0

    async def write(self, items: Sequence[Item]) -> list[str | BaseException]:
        keys = [key for key, _ in items]
        assert len(set(keys)) == len(keys)
        assert not set(keys) & set(self.writing)
        self.batches.append(list(items))
        self.writing += keys
        self.max_at_once = max(self.max_at_once, len(self.batches) - sum(not batch for batch in self.batches))
        try:
            await self.gate.wait()
        finally:
            for key in keys:
                self.writing.remove(key)
        if self.faults:
            raise self.faults.pop(0)
        if any(word == "bad" for _, word in items):
            raise self.refusal
        return [f"{key} {word}" for key, word in items]


def coalescer(store: Store, **more: float) -> Coalescer[Item, str]:
    return Coalescer(store.write, lambda item: UUID(int=item[0]), **more)  # type: ignore[arg-type]  # all are numbers


def call(gather: Coalescer[Item, str], *items: Item) -> "list[asyncio.Task[str]]":
    async def one(item: Item) -> str:
        return await gather(item)

    return [asyncio.create_task(one(item)) for item in items]


async def test_one_item_is_written_at_once_and_alone() -> None:
    store = Store()
    store.gate.set()
    assert await coalescer(store)((1, "a")) == "1 a"
    assert store.batches == [[(1, "a")]]


async def test_items_that_arrive_during_two_flushes_share_the_next() -> None:
    store = Store()
    gather = coalescer(store)
    calls = call(gather, *((key, "a") for key in range(50)))
    await eventually(lambda: gather.waiting == 50 - MAX_FLUSHES)
    assert [len(batch) for batch in store.batches] == [1] * MAX_FLUSHES
    store.gate.set()
    assert await asyncio.gather(*calls) == [f"{key} a" for key in range(50)]
    assert [len(batch) for batch in store.batches] == [1, 1, 48]


async def test_items_of_one_key_meet_in_no_batch_and_in_no_two_at_once() -> None:
    store = Store()
    gather = coalescer(store)
    calls = call(gather, *((1, str(number)) for number in range(5)), (2, "a"))
    await eventually(lambda: len(store.batches) == 2)
    assert store.batches == [[(1, "0")], [(2, "a")]]
    store.gate.set()
    assert await asyncio.gather(*calls) == ["1 0", "1 1", "1 2", "1 3", "1 4", "2 a"]
    assert [len(batch) for batch in store.batches] == [1] * 6


async def test_a_bad_item_fails_alone() -> None:
    store = Store()
    gather = coalescer(store)
    calls = call(gather, *((key, "bad" if key == 17 else "a") for key in range(40)))
    await eventually(lambda: gather.waiting == 38)
    store.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results.pop(17), BadRowError)
    assert all(isinstance(result, str) for result in results)


async def test_an_item_without_a_partition_fails_alone() -> None:
    store = Store(refusal=MissingPartitionError("bad"))
    store.gate.set()
    calls = call(coalescer(store), *((key, "bad" if key == 5 else "a") for key in range(8)))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results.pop(5), MissingPartitionError)
    assert all(isinstance(result, str) for result in results)


async def test_a_collision_writes_the_batch_again() -> None:
    store = Store(faults=[CollisionError("x")] * (MAX_TRIES - 1))
    store.gate.set()
    assert await coalescer(store)((1, "a")) == "1 a"
    assert len(store.batches) == MAX_TRIES


async def test_collisions_without_end_are_an_absent_store() -> None:
    store = Store(faults=[CollisionError("x")] * MAX_TRIES)
    store.gate.set()
    with pytest.raises(StoreUnavailableError):
        await coalescer(store)((1, "a"))


async def test_a_lost_connection_repeats_the_batch_once() -> None:
    store = Store(faults=[StoreUnavailableError("x")])
    store.gate.set()
    gather = coalescer(store)
    assert await gather((1, "a")) == "1 a"
    store.faults = [StoreUnavailableError("x")] * 2
    with pytest.raises(StoreUnavailableError):
        await gather((2, "a"))
    assert await gather((2, "a")) == "2 a"


async def test_a_caller_that_goes_away_takes_nothing_with_it() -> None:
    store = Store()
    gather = coalescer(store)
    calls = call(gather, *((key, "a") for key in range(6)))
    await eventually(lambda: gather.waiting == 4)
    calls[0].cancel()
    calls[3].cancel()
    store.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in results] == [key in {0, 3} for key in range(6)]
    await gather.drain()
    assert sorted(item for batch in store.batches for item in batch) == [(key, "a") for key in range(6)]


async def test_too_many_waiting_are_refused_at_once() -> None:
    store = Store()
    gather = coalescer(store, max_waiting=3)
    calls = call(gather, *((key, "a") for key in range(5)))
    await eventually(lambda: gather.waiting == 3)
    with pytest.raises(OverloadedError):
        await gather((9, "a"))
    store.gate.set()
    assert len(await asyncio.gather(*calls)) == 5


async def test_a_queue_whose_oldest_item_waits_too_long_admits_no_more() -> None:
    store = Store()
    gather = coalescer(store, max_wait=0.05)
    calls = call(gather, *((key, "a") for key in range(3)))
    begun = asyncio.get_running_loop().time()
    await eventually(lambda: gather.waiting == 1 and asyncio.get_running_loop().time() - begun > 0.06)
    with pytest.raises(OverloadedError):
        await gather((9, "a"))
    store.gate.set()
    assert len(await asyncio.gather(*calls)) == 3
    assert await gather((9, "a")) == "9 a"


async def test_a_batch_has_at_most_its_bytes_or_one_item() -> None:
    store = Store()
    gather: Coalescer[Item, str] = Coalescer(
        store.write, lambda item: UUID(int=item[0]), max_flushes=1, size=lambda item: len(item[1]), max_bytes=10
    )
    calls = call(gather, (0, "a"), (1, "a" * 6), (2, "a" * 4), (3, "a"), (4, "a" * 50), (5, "a" * 9))
    await eventually(lambda: len(store.batches) == 1)
    store.gate.set()
    await asyncio.gather(*calls)
    assert [[key for key, _ in batch] for batch in store.batches] == [[0], [1, 2], [3], [4], [5]]
