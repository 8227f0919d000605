"""Fetch: the scan finds what wakeup, check and cursor miss, and nothing that was read is lost."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from kling_relay.core.delivery import SubscriberResponse
from kling_relay.flows.delivery_queue import MAX_READY
from kling_relay.flows.fetch import FetchTunables
from kling_relay.store.deliveries import outbox as outbox_store
from tests.support.outbox import BAD, GOOD, Network, Outbox, fresh_id, outbox, worker
from tests.support.waiting import eventually, remains

URL = "http://good.example/"


@pytest.fixture
async def box(database: str) -> AsyncIterator[Outbox]:
    async with outbox(database) as made:
        yield made


async def test_deliveries_that_another_process_wrote_are_made_without_a_wakeup(box: Outbox) -> None:
    network = Network()
    subscription = await box.subscribe(URL)
    async with worker(box.database, network) as hand:
        await eventually(lambda: len(hand.fetch.shards) == 256)
        await box.events(1, subscription)
        await eventually(lambda: len(network.posts) == 1, 1)


async def test_an_idle_worker_checks_rarely_and_often_again_once_something_happened(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network()
    subscription = await box.subscribe(URL)
    list_fresh, checks = outbox_store.fresh, 0

    async def count(*given: Any) -> Any:
        nonlocal checks
        checks += 1
        return await list_fresh(*given)

    monkeypatch.setattr(outbox_store, "fresh", count)
    tunables = FetchTunables(idle_check_every=60.0, idle_after=20.0, scan_every=60.0)
    async with worker(box.database, network, tunables=tunables) as hand:
        await eventually(lambda: len(hand.fetch.shards) == 256)
        await remains(lambda: checks <= 1, 0.3)
        await box.events(1, subscription)
        hand.fetch.wakeup.notify()
        await eventually(lambda: len(network.posts) == 1)
        await box.events(1, subscription)  # by another process, so without a wakeup
        await eventually(lambda: len(network.posts) == 2)


async def test_a_delivery_that_was_committed_late_is_not_passed_over(box: Outbox, database: str) -> None:
    network = Network()
    subscription = await box.subscribe(URL)
    late = await asyncpg.connect(database)
    subject = fresh_id()
    async with worker(box.database, network):
        await box.events(1, subscription)
        await eventually(lambda: len(network.posts) == 1)
        transaction = late.transaction()
        await transaction.start()
        slow = Outbox(box.database, late, box.client)
        await slow.step(subject, 1, subscription)
        for _ in range(5):
            await box.events(1, subscription)
        await eventually(lambda: len(network.posts) == 6)
        await transaction.commit()
        await eventually(lambda: f"evt_{subject.hex}_1" in network.to(URL), 3)
    await late.close()


@pytest.mark.long
async def test_a_delivery_far_behind_the_cursor_is_found_by_the_scan(box: Outbox) -> None:
    network = Network()
    subscription = await box.subscribe(URL)
    async with worker(box.database, network):
        await box.events(3, subscription)
        await eventually(lambda: len(network.posts) == 3)
        await box.step(fresh_id(), 1, subscription, late_by=3600)
        await eventually(lambda: len(network.posts) == 4, 4)


async def test_a_retry_comes_when_it_is_due_without_waiting_for_the_scan(box: Outbox) -> None:
    loop = asyncio.get_running_loop()
    came: list[float] = []

    async def flaps(_: str) -> SubscriberResponse:
        came.append(loop.time())
        return BAD if len(came) < 4 else GOOD

    network = Network(answers={URL: flaps})
    subscription = await box.subscribe(URL)
    async with worker(box.database, network, waits=(0.2,) * 8, tunables=FetchTunables(scan_every=60.0)):
        await box.events(1, subscription)
        await eventually(box.is_done, 5)
    waits = [after - before for before, after in pairwise(came)]
    assert all(0.1 <= wait < 1 for wait in waits), waits


async def test_all_of_more_queues_than_one_statement_reads_get_their_turn(box: Outbox) -> None:
    network = Network()
    subscriptions = [await box.subscribe(f"http://{number}.example/") for number in range(20)]
    await box.events(120, *subscriptions)
    async with worker(box.database, network, concurrency=8, tunables=FetchTunables(max_queues=3)):
        await eventually(lambda: len({url for url, _ in network.posts}) == 20)
        assert await box.pending() > 0
        await eventually(box.is_done, 20)
    assert len(network.posts) == len(set(network.posts)) == 2400


async def test_a_queue_holds_a_bounded_part_of_its_deliveries(box: Outbox) -> None:
    gate = asyncio.Event()

    async def waits(_: str) -> SubscriberResponse:
        await gate.wait()
        return GOOD

    network = Network(answers={URL: waits})
    subscription = await box.subscribe(URL)
    await box.events(700, subscription)
    async with worker(box.database, network) as hand:
        await eventually(lambda: len(network.posts) == 10)
        await remains(lambda: len(hand.deliver.queues[subscription].claimed) <= MAX_READY + 10, 0.3)
        gate.set()
        await eventually(box.is_done, 20)
    assert len(network.posts) == 700


@pytest.mark.long
async def test_an_idle_queue_is_forgotten(box: Outbox) -> None:
    network = Network()
    subscription = await box.subscribe(URL)
    async with worker(box.database, network, tunables=FetchTunables(forget_after=0.2)) as hand:
        await box.events(1, subscription)
        await eventually(box.is_done)
        await eventually(lambda: not hand.deliver.queues, 5)
        await box.events(1, subscription)
        await eventually(lambda: len(network.posts) == 2)


@pytest.mark.long
async def test_a_deleted_subscription_is_delivered_nothing_more(box: Outbox) -> None:
    network = Network()
    subscription = await box.subscribe(URL)
    async with worker(box.database, network):
        await box.events(1, subscription)
        await eventually(box.is_done)
        await box.connection.execute("DELETE FROM subscriptions")
        await asyncio.sleep(2)  # the promise is a time: a worker learns of the deletion within two seconds
        await box.events(1, subscription)
        await remains(lambda: len(network.posts) == 1, 0.3)
