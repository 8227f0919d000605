"""Fair shares: what hangs leaves room for other clients and origins, clients take turns, and nothing is left behind."""

import random
from collections import Counter, deque
from datetime import UTC, datetime
from itertools import count
from uuid import UUID

from kling_relay.core.delivery import BREAK_AFTER, PROBE_WAITS
from kling_relay.core.event import BodyFormat, Event
from kling_relay.flows.delivery_queue import DeliveryQueue, SubscriberEndpoint
from kling_relay.flows.event_memory import EventMemory
from kling_relay.flows.fair_shares import FairShares
from kling_relay.flows.share import Attempt
from kling_relay.store.deliveries.outbox import DueDelivery
from kling_relay.store.deliveries.recipients import Recipient

NOW = datetime(2026, 11, 30, tzinfo=UTC)
_numbers = count(1)


def queue_at(shares: FairShares, client: int, origin: str, ready: int, max_in_flight: int = 100) -> DeliveryQueue:
    """Return a queue of a client's subscription at an origin, with ready deliveries, which has been offered."""
    name = UUID(int=next(_numbers))
    queue = DeliveryQueue(id=name, shard=0, memory=EventMemory())
    queue.recipient = Recipient(
        id=name,
        client=UUID(int=client),
        hook=False,
        url=origin,
        headers=b"",
        format="standard",
        ordering="none",
        max_in_flight=max_in_flight,
        secrets=b"",
        hook_secret=b"",
        old_secrets_until=None,
        failing_since=None,
        probe_at=None,
        paused_at=None,
        disabled_at=None,
    )
    queue.endpoint = SubscriberEndpoint(
        url=origin, headers={}, format=BodyFormat.STANDARD, secrets=(), secrets_until=None
    )
    queue.refreshed_at = 1e9
    queue.share = shares.share_of(UUID(int=client), origin)
    queue.ready = deque(delivery_to(name) for _ in range(ready))
    shares.offer(queue)
    return queue


def delivery_to(subscription: UUID) -> DueDelivery:
    event = Event(
        subject=UUID(int=next(_numbers)), sequence=1, client=UUID(int=1), type="task.succeed", at=NOW, body=b"{}"
    )
    return DueDelivery(subscription=subscription, attempt=0, due_at=NOW, event=event, size=1026)


def take_all(shares: FairShares, now: float = 0.0) -> list[Attempt]:
    """Start attempts until no more may start; all of them hang."""
    attempts = []
    while (attempt := shares.take(now)) is not None:
        attempts.append(attempt)
        shares.offer(attempt.queue)
    return attempts


def fail(shares: FairShares, attempt: Attempt, now: float = 0.0) -> None:
    """End an attempt without a response."""
    shares.end(attempt)
    attempt.queue.is_proven = False
    attempt.share.note(has_response=False, is_origin_probe=attempt.is_origin_probe, at=NOW, loop_now=now)


def succeed(shares: FairShares, attempt: Attempt, now: float = 0.0) -> None:
    """End an attempt with a success."""
    shares.end(attempt)
    attempt.queue.is_proven = True
    attempt.share.note(has_response=True, is_origin_probe=attempt.is_origin_probe, at=NOW, loop_now=now)
    shares.release(attempt.share)
    shares.offer(attempt.queue)


def test_one_client_that_hangs_at_one_origin_has_a_third_of_the_capacity() -> None:
    shares = FairShares(600)
    for _ in range(10):
        queue_at(shares, 1, "http://hangs:80", ready=100)
    assert len(take_all(shares)) == 200


def test_one_client_that_hangs_at_a_thousand_origins_has_two_thirds_and_another_as_much_as_it_needs() -> None:
    shares = FairShares(600)
    for number in range(1000):
        queue_at(shares, 1, f"http://dead-{number}:80", ready=4)
    assert len(take_all(shares)) <= 400
    queue_at(shares, 2, "http://good:80", ready=40)
    assert (
        Counter(attempt.queue.recipient.client.int for attempt in take_all(shares, 1.0) if attempt.queue.recipient)[2]
        >= 40
    )


def test_ten_clients_that_hang_have_equal_shares_and_leave_one_for_an_eleventh() -> None:
    shares = FairShares(600)
    for client in range(10):
        for _ in range(3):
            queue_at(shares, client, f"http://hangs-{client}:80", ready=100)
    hanging = Counter(attempt.share for attempt in take_all(shares))
    assert len(hanging) == 10
    assert max(hanging.values()) - min(hanging.values()) <= 1
    good = queue_at(shares, 11, "http://good:80", ready=30)
    assert sum(attempt.queue is good for attempt in take_all(shares, 1.0)) >= 15


def test_a_client_is_served_at_an_origin_where_others_hang_and_at_another_origin_of_its_own() -> None:
    shares = FairShares(600)
    for client in (1, 2, 3):
        for _ in range(3):
            queue_at(shares, client, "http://shared:80", ready=100)
    take_all(shares)
    same_origin = queue_at(shares, 4, "http://shared:80", ready=20)
    same_client = queue_at(shares, 1, "http://other:80", ready=20)
    taken = Counter(attempt.queue.id for attempt in take_all(shares, 1.0))
    assert taken[same_origin.id] >= 10
    assert taken[same_client.id] >= 10


def test_clients_take_turns_whatever_the_number_of_their_subscriptions_and_origins() -> None:
    shares = FairShares(10_000)
    for number in range(500):
        queue_at(shares, 1, f"http://host-{number}:80", ready=1)
    for _ in range(500):
        queue_at(shares, 2, "http://one:80", ready=1)
    good = queue_at(shares, 3, "http://good:80", ready=5)
    first = [shares.take(0.0) for _ in range(15)]
    assert sum(attempt is not None and attempt.queue is good for attempt in first) == 5


def test_a_share_over_its_threshold_goes_on_as_soon_as_there_is_room() -> None:
    shares = FairShares(600)
    queues = [queue_at(shares, 1, "http://slow:80", ready=100) for _ in range(4)]
    attempts = take_all(shares)
    assert len(attempts) == 200
    for attempt in attempts[:50]:
        succeed(shares, attempt)
    assert len(take_all(shares, 1.0)) == 50
    assert sum(len(queue.ready) for queue in queues) == 150


def test_nothing_is_left_behind_whatever_ends_in_whatever_order() -> None:
    """Random clients, origins and outcomes: in the end every delivery was attempted successfully once."""
    for seed in range(30):
        choice = random.Random(seed)
        shares = FairShares(choice.randint(1, 20))
        queues = [
            queue_at(shares, choice.randint(1, 5), f"http://h{choice.randint(1, 6)}:80", 8, choice.randint(1, 4))
            for _ in range(20)
        ]
        delivered: Counter[UUID] = Counter()
        in_flight: list[Attempt] = []
        now, is_repaired = 0.0, False
        for turn in range(20_000):
            now += 0.05
            is_repaired = is_repaired or turn > 1000
            shares.recheck(now, NOW)
            while (attempt := shares.take(now)) is not None:
                in_flight.append(attempt)
            if not in_flight and not any(queue.ready for queue in queues):
                break
            if in_flight:
                attempt = in_flight.pop(choice.randrange(len(in_flight)))
                if choice.random() < 0.6 and not is_repaired:
                    fail(shares, attempt, now)
                    attempt.queue.ready.append(attempt.delivery)
                    shares.offer(attempt.queue)
                else:
                    succeed(shares, attempt, now)
                    delivered[attempt.delivery.event.subject] += 1
        assert len(delivered) == 160, seed
        assert set(delivered.values()) == {1}
        assert shares.in_flight == 0
        assert all(queue.share and queue.share.in_flight == 0 == queue.share.client.in_flight for queue in queues)


def broken_origin(shares: FairShares) -> DeliveryQueue:
    """Have a client's subscription at an origin fail until its breaker opens, at the time 0."""
    queue = queue_at(shares, 1, "http://down:80", ready=BREAK_AFTER)
    for attempt in take_all(shares):
        fail(shares, attempt)
    return queue  # its owner keeps it, and its share with it


def test_new_subscriptions_at_a_broken_origin_are_probed_one_at_a_time() -> None:
    shares = FairShares(600)
    broken = broken_origin(shares)
    for _ in range(100):  # each task has a hook of its own
        queue_at(shares, 1, "http://down:80", ready=1)
    assert take_all(shares) == []
    now = 0.0
    for wait in PROBE_WAITS[:4]:
        now += wait
        shares.recheck(now - 0.1, NOW)
        assert take_all(shares, now - 0.1) == []
        shares.recheck(now, NOW)
        [probe] = take_all(shares, now)
        assert probe.is_origin_probe
        shares.recheck(now + 0.1, NOW)
        assert take_all(shares, now + 0.1) == []
        fail(shares, probe, now)
        assert probe.share is broken.share


def test_one_response_from_a_broken_origin_lets_all_of_them_go() -> None:
    shares = FairShares(600)
    broken = broken_origin(shares)
    for _ in range(100):
        queue_at(shares, 1, "http://down:80", ready=1)
    take_all(shares)
    shares.recheck(PROBE_WAITS[0], NOW)
    [probe] = take_all(shares, PROBE_WAITS[0])
    succeed(shares, probe, PROBE_WAITS[0])
    assert len(take_all(shares, 2.0)) == 99
    assert broken.share == probe.share


def test_a_broken_origin_holds_back_neither_another_client_nor_what_succeeded_there() -> None:
    shares = FairShares(600)
    proven = queue_at(shares, 1, "http://down:80", ready=2)
    [first, second] = take_all(shares)
    succeed(shares, first)
    succeed(shares, second)
    broken = broken_origin(shares)
    other = queue_at(shares, 2, "http://down:80", ready=1)
    proven.ready.append(delivery_to(proven.id))
    shares.offer(proven)
    assert {attempt.queue.id for attempt in take_all(shares)} == {other.id, proven.id}
    assert broken.share == proven.share


def test_shares_are_forgotten_with_their_queues() -> None:
    shares = FairShares(600)
    for number in range(100):
        queue = queue_at(shares, number, f"http://host-{number}:80", ready=1)
        attempt = shares.take(float(number))
        assert attempt is not None
        succeed(shares, attempt)
        del queue, attempt
    assert len(shares._shares) == len(shares._client_loads) == len(shares._origin_loads) == 0
