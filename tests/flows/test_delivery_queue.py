"""Deliveries: no subscription slows another, ordered ones keep the order of a task, workers share the work."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from kling_relay.core.delivery import MAX_ENDPOINT_AGE, SubscriberResponse
from kling_relay.flows.delivery_queue import DeliveryQueue
from kling_relay.flows.fetch import FetchTunables
from tests.support.outbox import BAD, GONE, GOOD, SECRET, Network, Outbox, RunningWorker, fresh_id, now, outbox, worker
from tests.support.waiting import eventually, remains

GOOD_URL, OTHER_URL = "http://good.example/", "http://other.example/"


@pytest.fixture
async def box(database: str) -> AsyncIterator[Outbox]:
    async with outbox(database) as made:
        yield made


async def _hang(_: str) -> SubscriberResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def _fail(_: str) -> SubscriberResponse:
    return BAD


async def test_a_backlog_is_delivered_once_each_by_one_worker(box: Outbox) -> None:
    network = Network()
    both = [await box.subscribe(GOOD_URL), await box.subscribe(OTHER_URL)]
    await box.events(400, *both)
    async with worker(box.database, network):
        await eventually(box.is_done, 20)
    assert Counter(Counter(network.posts).values()) == {1: 800}
    assert await box.connection.fetchval("SELECT count(*) FROM attempts WHERE outcome = 'delivered'") == 800


async def test_a_subscriber_that_hangs_holds_up_nobody_else(box: Outbox) -> None:
    network = Network(answers={"http://hangs.example/": _hang})
    hangs = await box.subscribe("http://hangs.example/", max_in_flight=5)
    good = await box.subscribe(GOOD_URL)
    await box.events(50, hangs)
    async with worker(box.database, network, concurrency=10) as hand:
        await eventually(lambda: len(network.to("http://hangs.example/")) == 5)
        await box.events(100, good)
        await eventually(lambda: len(network.to(GOOD_URL)) == 100)
        assert len(network.to("http://hangs.example/")) == 5
        await hand.die()


@pytest.mark.long
async def test_a_broken_subscriber_is_only_probed_and_holds_up_nobody_else(box: Outbox) -> None:
    network = Network(answers={"http://bad.example/": _fail})
    bad, good = await box.subscribe("http://bad.example/", max_in_flight=5), await box.subscribe(GOOD_URL)
    await box.events(300, bad)
    async with worker(box.database, network, concurrency=10):
        await eventually(lambda: len(network.to("http://bad.example/")) >= 5)
        await box.events(100, good)
        await eventually(lambda: len(network.to(GOOD_URL)) == 100)
        assert len(network.to("http://bad.example/")) < 20
        network.answers.clear()
        await eventually(box.is_done, 20)


@pytest.mark.long
async def test_a_broken_subscriber_holds_one_delivery_and_is_probed_again_after_a_failed_probe(box: Outbox) -> None:
    network = Network(answers={"http://bad.example/": _fail})
    bad = await box.subscribe("http://bad.example/", max_in_flight=5)
    await box.events(300, bad)
    async with worker(box.database, network, tunables=FetchTunables(scan_every=60.0)) as hand:
        await eventually(lambda: len(network.to("http://bad.example/")) == 6)
        queue = hand.deliver.queues[bad]
        await eventually(lambda: len(queue.claimed) <= 1)
        assert queue.claimed_bytes == hand.deliver.memory.held <= 2 * 1024
        await eventually(lambda: len(network.to("http://bad.example/")) == 7, 5)


async def test_a_shard_that_comes_back_is_served_although_its_old_queue_still_waits_for_a_turn(box: Outbox) -> None:
    gate = asyncio.Event()

    async def waits(_: str) -> SubscriberResponse:
        await gate.wait()
        return GOOD

    network = Network(answers={GOOD_URL: waits})
    good = await box.subscribe(GOOD_URL)
    async with worker(box.database, network, concurrency=1) as hand:
        try:
            await box.events(150, good)
            old = await eventually(lambda: _filled(hand, good))
            hand.fetch._forget(lambda queue: queue is old)
            new = await eventually(lambda: _filled(hand, good))
            assert new is not old
            assert new is not None
            assert new.has_turn
        finally:
            gate.set()
        await eventually(box.is_done, 20)


def _filled(hand: RunningWorker, subscription: UUID) -> DeliveryQueue | None:
    """Return the queue of a subscription once it holds more than would have it filled again."""
    queue = hand.deliver.queues.get(subscription)
    return queue if queue is not None and len(queue.ready) >= queue.low_water else None


async def test_a_subscription_with_very_much_has_no_more_of_the_runners_than_its_neighbour(box: Outbox) -> None:
    network = Network()
    much, little = await box.subscribe(OTHER_URL), await box.subscribe(GOOD_URL)
    await box.events(600, much)
    await box.events(20, little)
    async with worker(box.database, network, concurrency=4):
        await eventually(lambda: len(network.to(GOOD_URL)) == 20)
        assert len(network.to(OTHER_URL)) < 300


async def test_an_ordered_subscription_never_sees_a_later_step_before_an_earlier_one(box: Outbox) -> None:
    failed: set[str] = set()
    delivered: dict[str, list[int]] = {}

    async def flaps(name: str) -> SubscriberResponse:
        _, subject, sequence = name.split("_")
        if name not in failed and len(failed) * 3 < len(network.posts):  # a third fails at first: too few to break it
            failed.add(name)
            return BAD
        delivered.setdefault(subject, []).append(int(sequence))
        return GOOD

    network = Network(answers={GOOD_URL: flaps})
    ordered = await box.subscribe(GOOD_URL, ordering="task")
    subjects = [fresh_id() for _ in range(20)]
    async with worker(box.database, network, waits=(0.02,) * 8):
        for sequence in (1, 2, 3):
            for subject in subjects:
                await box.step(subject, sequence, ordered)
        await eventually(box.is_done, 30)
    assert delivered == {subject.hex: [1, 2, 3] for subject in subjects}


async def test_an_exhausted_step_lets_the_next_one_go(box: Outbox) -> None:
    async def first_fails(name: str) -> SubscriberResponse:
        return BAD if name.endswith("_1") else GOOD

    network = Network(answers={GOOD_URL: first_fails})
    ordered = await box.subscribe(GOOD_URL, ordering="task")
    subject = fresh_id()
    await box.step(subject, 1, ordered)
    await box.step(subject, 2, ordered)
    async with worker(box.database, network, waits=(0.02,)):
        await eventually(lambda: len(network.posts) == 3)
        await eventually(lambda: _left_is(box, 1))
    assert [name[-1] for name in network.to(GOOD_URL)] == ["1", "1", "2"]
    assert await box.connection.fetchval("SELECT due_at = 'infinity' FROM pending_deliveries")


async def _left_is(box: Outbox, count: int) -> bool:
    return await box.pending() == count


@pytest.mark.long
async def test_a_pause_and_its_end_hold_within_two_seconds(box: Outbox) -> None:
    network = Network()
    subscription = await box.subscribe(GOOD_URL)
    async with worker(box.database, network):
        await box.events(1, subscription)
        await eventually(lambda: len(network.posts) == 1)
        await box.connection.execute("UPDATE subscriptions SET paused_at = now()")
        await asyncio.sleep(2)  # the promise is a time: a worker learns of the pause within two seconds
        await box.events(3, subscription)
        await remains(lambda: len(network.posts) == 1, 0.5)
        await box.connection.execute("UPDATE subscriptions SET paused_at = NULL")
        await eventually(lambda: len(network.posts) == 4, 2)


@pytest.mark.long
async def test_a_new_secret_signs_within_two_seconds(box: Outbox) -> None:
    network = Network()
    subscription = await box.subscribe(GOOD_URL)
    new = "whsec_YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE="
    async with worker(box.database, network):
        await box.events(1, subscription)
        await eventually(lambda: len(network.posts) == 1)
        both = f"{new} {SECRET}".encode()
        await box.connection.execute("UPDATE subscriptions SET secrets = $1", both)
        await asyncio.sleep(2)  # the promise is a time: a worker learns of the secret within two seconds
        await box.events(1, subscription)
        await eventually(lambda: len(network.posts) == 2)
    assert [len(signature.split()) for signature in network.signatures] == [1, 2]


async def _announced(box: Outbox) -> list[tuple[str, str]]:
    """Return the URLs that got an event about a disabled subscription, each with the reason."""
    rows = await box.connection.fetch(
        "SELECT s.url, convert_from(e.body, 'UTF8')::jsonb->'data'->>'reason' AS reason FROM attempts a"
        " JOIN events e USING (subject, sequence) JOIN subscriptions s ON s.id = a.subscription"
        " WHERE e.type = 'subscription.disabled'"
    )
    return [(row["url"], row["reason"]) for row in rows]


async def test_an_answer_410_disables_the_subscription_and_tells_the_clients_others(box: Outbox) -> None:
    async def gone(_: str) -> SubscriberResponse:
        return GONE

    network = Network(answers={OTHER_URL: gone})
    ends, _ = await box.subscribe(OTHER_URL), await box.subscribe(GOOD_URL)
    stranger = fresh_id()
    await box.connection.execute(
        "INSERT INTO clients (id, name, hook_secret, created_at) VALUES ($1, 'another', '', now())", stranger
    )
    await box.subscribe("http://stranger.example/", client=stranger)
    await box.events(3, ends)
    async with worker(box.database, network):
        await eventually(lambda: _announced(box))
    assert await _announced(box) == [(GOOD_URL, "the subscriber answered 410 Gone")]
    assert await box.connection.fetchval("SELECT count(*) FROM subscriptions WHERE disabled_at IS NOT NULL") == 1


async def test_five_days_of_nothing_but_failures_disable_a_subscription_and_its_clients_others_are_told(
    box: Outbox,
) -> None:
    network = Network(answers={OTHER_URL: _fail, "http://young.example/": _fail})
    ends, _ = await box.subscribe(OTHER_URL), await box.subscribe(GOOD_URL)
    young = await box.subscribe("http://young.example/", events=["task.*"])
    ages = ((ends, timedelta(days=5, hours=1)), (young, timedelta(days=4, hours=23)))
    for subscription, age in ages:
        await box.connection.execute(
            "UPDATE subscriptions SET failing_since = now() - $2::interval WHERE id = $1", subscription, age
        )
    await box.events(1, ends, young)
    async with worker(box.database, network):
        await eventually(lambda: _announced(box))
        await eventually(lambda: len(network.to("http://young.example/")) >= 3)
    assert await _announced(box) == [(GOOD_URL, "no delivery succeeded for five days")]
    disabled = await box.connection.fetch("SELECT id FROM subscriptions WHERE disabled_at IS NOT NULL")
    assert [row["id"] for row in disabled] == [ends]
    assert len(network.to(OTHER_URL)) <= 2, "what is disabled is left alone"


async def test_one_success_ends_a_time_of_failures(box: Outbox) -> None:
    network = Network()
    subscription = await box.subscribe(GOOD_URL)
    await box.connection.execute("UPDATE subscriptions SET failing_since = now() - interval '6 days'")
    await box.events(1, subscription)
    async with worker(box.database, network):
        await eventually(box.is_done)

        async def is_healthy() -> bool:
            query = "SELECT failing_since IS NULL AND disabled_at IS NULL FROM subscriptions"
            return bool(await box.connection.fetchval(query))

        await eventually(is_healthy)


async def test_workers_share_the_shards_and_nothing_is_delivered_twice(box: Outbox) -> None:
    quick = FetchTunables(heartbeat=0.1)
    one, two = Network(), Network()
    subscriptions = [await box.subscribe(f"http://{number}.example/") for number in range(40)]
    async with worker(box.database, one, tunables=quick) as first, worker(box.database, two, tunables=quick) as second:
        await eventually(lambda: len(first.fetch.shards) == len(second.fetch.shards) == 128)
        assert not first.fetch.shards & second.fetch.shards
        await box.events(25, *subscriptions)
        await eventually(box.is_done, 20)
    assert one.posts
    assert two.posts
    assert Counter(Counter(one.posts + two.posts).values()) == {1: 1000}


@pytest.mark.long
async def test_a_dead_workers_shards_are_taken_over_and_nothing_is_lost(box: Outbox) -> None:
    quick = FetchTunables(heartbeat=0.1, lease=1.0)
    one, two = Network(), Network()
    subscriptions = [await box.subscribe(f"http://{number}.example/") for number in range(40)]
    for number in range(40):
        one.answers[f"http://{number}.example/"] = _hang  # dies with everything in flight
    async with worker(box.database, one, tunables=quick) as first, worker(box.database, two, tunables=quick) as second:
        await eventually(lambda: len(first.fetch.shards) == len(second.fetch.shards) == 128)
        await box.events(5, *subscriptions)
        await eventually(lambda: len(one.posts) > 0)
        await first.die()
        await eventually(box.is_done, 20)
        assert len(second.fetch.shards) == 256
    assert Counter(two.posts) == dict.fromkeys(two.posts, 1)
    assert len(two.posts) == 200


async def test_a_worker_that_leaves_gives_its_shards_back_at_once(box: Outbox) -> None:
    quick = FetchTunables(heartbeat=0.1)
    async with (
        worker(box.database, Network(), tunables=quick) as first,
        worker(box.database, Network(), tunables=quick) as second,
    ):
        await eventually(lambda: len(first.fetch.shards) == len(second.fetch.shards) == 128)
        await first.stop()
        await eventually(lambda: len(second.fetch.shards) == 256, 3)


@pytest.mark.long
async def test_the_time_of_a_probe_is_known_to_the_database_while_a_subscriber_is_broken(box: Outbox) -> None:
    network = Network(answers={"http://bad.example/": _fail})
    bad = await box.subscribe("http://bad.example/", max_in_flight=5)
    await box.events(20, bad)
    probe_in = "SELECT extract(epoch FROM probe_at - now())::float FROM subscriptions WHERE id = $1"
    async with worker(box.database, network) as hand:
        await eventually(lambda: len(network.to("http://bad.example/")) >= 6)
        queue = hand.deliver.queues[bad]

        async def is_told() -> bool:
            seconds = await box.connection.fetchval(probe_in, bad)
            wait = queue.probe_at - asyncio.get_running_loop().time()
            return seconds is not None and abs(seconds - wait) < 0.3

        await eventually(is_told)
        network.answers.clear()
        await eventually(box.is_done, 20)

        async def is_forgotten() -> bool:
            return await box.connection.fetchval(probe_in, bad) is None

        await eventually(is_forgotten)


async def test_a_probe_of_a_former_worker_is_forgotten_by_the_next(box: Outbox) -> None:
    bad = await box.subscribe(GOOD_URL, failing_since=now(), probe_at=now() + timedelta(minutes=1))
    await box.events(1, bad)
    async with worker(box.database, Network()):
        await eventually(box.is_done, 10)

        async def is_forgotten() -> bool:
            return await box.connection.fetchval("SELECT probe_at FROM subscriptions WHERE id = $1", bad) is None

        await eventually(is_forgotten)


@pytest.mark.long
async def test_nothing_is_signed_with_secrets_that_were_read_long_ago(box: Outbox) -> None:
    good = await box.subscribe(GOOD_URL)
    async with worker(box.database, Network()) as hand:
        await box.events(1, good)
        await eventually(box.is_done)
        queue = hand.deliver.queues[good]
        assert queue.capacity(queue.refreshed_at + MAX_ENDPOINT_AGE) > 0
        assert queue.capacity(queue.refreshed_at + MAX_ENDPOINT_AGE + 0.001) == 0
        before = queue.refreshed_at
        await eventually(lambda: queue.refreshed_at > before, 5)
