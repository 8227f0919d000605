"""Bodies are counted, slow uploads make room for others, and copies are made in turn."""

import asyncio

import pytest

from kling_relay.flows.memory import OVERHEAD, SMALL, BodyMemory, MemoryLimits, NoRoomError
from tests.support.waiting import eventually

LIMITS = MemoryLimits(bodies=1_000_000, small_bodies=200_000, copies=100, max_wait=5.0, slow_after=0.0)


async def test_a_share_that_does_not_fit_is_refused_until_another_is_released() -> None:
    memory = BodyMemory(LIMITS)
    first = memory.share(900_000)
    with pytest.raises(NoRoomError):
        memory.share(200_000)
    first.release()
    first.release()
    assert memory.held == 0
    assert memory.share(200_000).size == memory.held == 200_000


async def test_small_bodies_have_room_beside_large_ones() -> None:
    memory = BodyMemory(LIMITS)
    memory.share(1_000_000)
    small = [memory.share(SMALL) for _ in range(3)]
    with pytest.raises(NoRoomError):
        memory.share(SMALL)
    assert small


async def test_one_body_alone_always_fits() -> None:
    memory = BodyMemory(LIMITS)
    assert memory.share(9_000_000).size == 9_000_000


async def test_an_upload_takes_twice_what_came_and_at_most_what_it_announced() -> None:
    memory = BodyMemory(LIMITS)
    share = memory.share(0)
    with memory.receiving(share, 500_000) as upload:
        upload.count(1_000)
        assert memory.held == OVERHEAD + 2_000
        upload.count(400_000)
        assert memory.held == OVERHEAD + 500_000


async def test_an_upload_that_announces_too_much_is_refused_at_once() -> None:
    memory = BodyMemory(LIMITS)
    memory.share(600_000)
    with pytest.raises(NoRoomError):
        memory.check_room(500_000)
    memory.check_room(300_000)


async def test_a_slow_upload_is_cut_off_if_its_room_is_needed() -> None:
    memory = BodyMemory(LIMITS)
    slow = memory.share(0)
    cut = asyncio.Event()
    with memory.receiving(slow, 2_000_000) as upload:
        upload.cut_off = cut.set
        upload.started_at -= 60
        upload.count(400_000)
        memory.share(100_000)
        assert not cut.is_set()
        memory.share(800_000)
        assert cut.is_set()
        with pytest.raises(NoRoomError):
            upload.count(500_000)
    assert memory.held == 900_000


async def test_a_fast_upload_is_not_cut_off() -> None:
    memory = BodyMemory(LIMITS)
    with memory.receiving(memory.share(0), 2_000_000) as upload:
        upload.started_at -= 1
        upload.count(400_000)
        with pytest.raises(NoRoomError):
            memory.share(800_000)


async def test_an_order_that_waits_for_room_gets_it_before_new_uploads() -> None:
    memory = BodyMemory(LIMITS)
    first, second = memory.share(500_000), memory.share(500_000)
    waiting = asyncio.create_task(memory.share_in_turn(400_000))
    await eventually(lambda: not _has_room(memory, 1))
    first.release()
    assert (await waiting).size == 400_000
    second.release()
    assert memory.held == 400_000


async def test_copies_are_made_in_turn() -> None:
    memory = BodyMemory(LIMITS)
    order: list[int] = []

    async def copy(number: int, size: int) -> None:
        async with memory.copying(size):
            order.append(number)
            await asyncio.sleep(0)  # lets the others try

    await asyncio.gather(copy(1, 60), copy(2, 60), copy(3, 10), copy(4, 1_000))
    assert order == [1, 2, 3, 4]


async def test_a_copy_that_waits_too_long_is_refused_and_one_that_gives_up_holds_up_nobody() -> None:
    memory = BodyMemory(MemoryLimits(copies=100, max_wait=0.01))
    async with memory.copying(100):
        with pytest.raises(NoRoomError):
            async with memory.copying(1):
                pass
    async with asyncio.timeout(1), memory.copying(100):
        pass


async def test_memory_is_returned_to_the_system_after_much_was_freed() -> None:
    trimmed = asyncio.Event()
    memory = BodyMemory(trim=trimmed.set)
    for _ in range(9):
        memory.share(4 * 2**20).release()
    async with asyncio.timeout(5):
        await trimmed.wait()


def _has_room(memory: BodyMemory, size: int) -> bool:
    try:
        memory.share(size + SMALL + OVERHEAD).release()
    except NoRoomError:
        return False
    return True
