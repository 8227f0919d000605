"""The outbox: settling is fenced, due deliveries are read by index, and discover takes one step per subscription."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from kling_relay.core.delivery import MAX_ATTEMPT
from kling_relay.store.deliveries import outbox as store
from kling_relay.store.deliveries.outbox import DueQuery, SettledAttempt
from kling_relay.store.postgres.statement import Statement, columns_of
from tests.support.outbox import Outbox, fresh_id, outbox


@pytest.fixture
async def box(database: str) -> AsyncIterator[Outbox]:
    async with outbox(database) as opened:
        yield opened


def attempt(subscription: UUID, subject: UUID, number: int, outcome: str, wait: float = 0.0) -> SettledAttempt:
    return SettledAttempt(
        subscription=subscription,
        subject=subject,
        sequence=1,
        attempt=number,
        outcome=outcome,
        wait=wait,
        at=datetime.now(UTC),
        latency=0.01,
        status=200 if outcome == "delivered" else 500,
        error=None,
        answer=None,
    )


def query(subscription: UUID, **more: Any) -> DueQuery:
    return DueQuery(
        **{
            "subscription": subscription,
            "shard": subscription.int % 256,
            "cursor": None,
            "limit": 10,
            "max_size": 2**20,
            "ordered": False,
            **more,
        }
    )


async def rows(box: Outbox, subjects: list[UUID]) -> list[tuple[int, float]]:
    """Return (attempt, seconds until due) of the deliveries of these subjects; an exhausted one is due in infinity."""
    pending = await box.connection.fetch(
        "SELECT attempt, extract(epoch FROM due_at - now())::float8 AS wait FROM pending_deliveries"
        " ORDER BY array_position($1::uuid[], subject)",
        subjects,
    )
    return [(row["attempt"], row["wait"]) for row in pending]


async def test_a_delivered_delivery_is_deleted_and_its_attempt_is_logged(box: Outbox) -> None:
    subscription = await box.subscribe("http://a.example/")
    [subject] = await box.events(1, subscription)
    await store.settle(box.database, [attempt(subscription, subject, 1, "delivered")])
    assert await box.pending() == 0
    assert await box.connection.fetchval("SELECT outcome FROM attempts") == "delivered"


async def test_a_failed_delivery_waits_and_an_exhausted_one_rests(box: Outbox) -> None:
    subscription = await box.subscribe("http://a.example/")
    first, second, third = await box.events(3, subscription)
    await store.settle(
        box.database,
        [
            attempt(subscription, third, 1, "exhausted"),
            attempt(subscription, first, 1, "failed", 60.0),
            attempt(subscription, second, 1, "failed", 0.0),
        ],
    )
    [(one, wait), (two, soon), (three, never)] = await rows(box, [first, second, third])
    assert (one, two, three) == (1, 1, 1)
    assert 50 < wait <= 60
    assert soon <= 0
    assert never == float("inf")


async def test_a_second_settlement_of_an_attempt_changes_nothing(box: Outbox) -> None:
    subscription = await box.subscribe("http://a.example/")
    [subject] = await box.events(1, subscription)
    await store.settle(box.database, [attempt(subscription, subject, 1, "failed", 60.0)])
    await store.settle(box.database, [attempt(subscription, subject, 1, "exhausted")])
    await store.settle(box.database, [attempt(subscription, subject, 1, "delivered")])
    [(number, wait)] = await rows(box, [subject])
    assert number == 1
    assert 50 < wait <= 60
    assert await box.connection.fetchval("SELECT count(*) FROM attempts") == 1


async def test_due_deliveries_are_read_in_order_of_due_time_from_the_cursor_on(box: Outbox) -> None:
    subscription, other = await box.subscribe("http://a.example/"), await box.subscribe("http://b.example/")
    subjects = [fresh_id() for _ in range(6)]
    for number, subject in enumerate(subjects):
        await box.step(subject, 1, subscription, other, late_by=60.0 - number)
    due, _ = await store.read(box.database, [query(subscription, limit=4), query(other, limit=2)])
    assert [delivery.event.subject for delivery in due[subscription]] == subjects[:4]
    assert [delivery.event.subject for delivery in due[other]] == subjects[:2]
    rest, _ = await store.read(box.database, [query(subscription, cursor=due[subscription][3].due_at)])
    assert [delivery.event.subject for delivery in rest[subscription]] == subjects[3:]


async def test_deliveries_are_read_up_to_a_large_event_and_its_size_is_told(box: Outbox) -> None:
    subscription, other = await box.subscribe("http://a.example/"), await box.subscribe("http://b.example/")
    subjects = await box.events(3, subscription, other)
    await box.connection.execute("UPDATE events SET body = repeat('x', 4096)::bytea WHERE subject = $1", subjects[1])
    read = await store.read(box.database, [query(subscription, max_size=4096), query(other)])
    assert [delivery.event.subject for delivery in read.deliveries[subscription]] == subjects[:1]
    assert read.large_events == {subscription: 4096 + 1024}
    assert [delivery.event.subject for delivery in read.deliveries[other]] == subjects
    assert [delivery.size for delivery in read.deliveries[other]] == [2 + 1024, 4096 + 1024, 2 + 1024]


async def test_attempts_beyond_the_last_number_are_settled_and_logged_under_it(box: Outbox) -> None:
    subscription = await box.subscribe("http://a.example/")
    [subject] = await box.events(1, subscription)
    for stored in (MAX_ATTEMPT - 1, MAX_ATTEMPT):
        await box.connection.execute("UPDATE pending_deliveries SET attempt = $1", stored)
        await store.settle(box.database, [attempt(subscription, subject, MAX_ATTEMPT, "failed", 60.0)])
        [(number, wait)] = await rows(box, [subject])
        assert number == MAX_ATTEMPT
        assert 50 < wait <= 60
    await store.settle(box.database, [attempt(subscription, subject, MAX_ATTEMPT, "delivered")])
    assert await box.pending() == 0
    logged = await box.connection.fetch("SELECT attempt, outcome FROM attempts")
    assert [tuple(row) for row in logged] == [(MAX_ATTEMPT, "delivered")]


async def test_deliveries_that_are_not_due_or_exhausted_are_not_read(box: Outbox) -> None:
    subscription = await box.subscribe("http://a.example/")
    await box.step(fresh_id(), 1, subscription, late_by=-60)
    await box.step(fresh_id(), 1, subscription)
    await box.connection.execute("UPDATE pending_deliveries SET due_at = 'infinity' WHERE due_at <= now()")
    assert await store.read(box.database, [query(subscription)]) == ({}, {})


async def test_discover_returns_each_subscription_once_with_its_earliest_due_time(box: Outbox) -> None:
    soon, later, resting = [await box.subscribe(f"http://{name}.example/") for name in "abc"]
    await box.events(5, soon)
    await box.step(fresh_id(), 1, later, late_by=-30)
    await box.events(2, resting)
    await box.connection.execute("UPDATE pending_deliveries SET due_at = 'infinity' WHERE subscription = $1", resting)
    earliest = {pending.subscription: pending for pending in await store.discover(box.database, range(256))}
    assert set(earliest) == {soon, later}
    assert earliest[soon].due_in == 0
    assert 25 < earliest[later].due_in <= 30
    assert earliest[soon].shard == soon.int % 256
    assert await store.discover(box.database, [(soon.int + 1) % 256, (later.int + 1) % 256][:0]) == []


async def test_fresh_returns_subscriptions_with_new_deliveries_and_no_retries(box: Outbox) -> None:
    new, old, again = [await box.subscribe(f"http://{name}.example/") for name in "abc"]
    await box.events(3, new)
    await box.step(fresh_id(), 1, old, late_by=60)
    [retried] = await box.events(1, again)
    await store.settle(box.database, [attempt(again, retried, 1, "failed")])
    assert [subscription for subscription, _ in await store.fresh(box.database, list(range(256)), 5.0)] == [new]


async def explained(box: Outbox, statement: Statement, **given: Any) -> list[dict[str, Any]]:
    """Return the nodes of the plan that ran on a delivering connection; its writes are rolled back."""
    async with box.database.settle.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        plan = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}", *statement.arguments(given))
        await transaction.rollback()
    return list(_nodes(json.loads(plan)[0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if node["Actual Loops"]:
        yield node
    for inner in node.get("Plans", []):
        yield from _nodes(inner)


async def test_reading_discovering_and_settling_do_not_walk_a_backlog(box: Outbox) -> None:
    subscription, other = await box.subscribe("http://a.example/"), await box.subscribe("http://b.example/")
    subjects = await box.events(1, subscription)
    await box.connection.execute(
        "INSERT INTO pending_deliveries SELECT gen_random_uuid(), 1, s, get_byte(uuid_send(s), 15), 0,"
        " now() - n * interval '1 ms' FROM generate_series(1, 20000) n, unnest($1::uuid[]) s",
        [subscription, other],
    )
    now = datetime.now(UTC)
    queue = (subscription, subscription.int % 256, now - timedelta(days=1), 10, 2**20, False)
    for statement, given in (
        (store._READ, columns_of("queue", store._QUEUE, [queue])),
        (store._DISCOVER, {"owned_shard": list(range(256))}),
        (store._FRESH, {"shards": list(range(256)), "since": timedelta(milliseconds=1)}),
        (store._SETTLE, columns_of("done", store._DONE, [_row(subscription, subjects[0])])),
    ):
        nodes = await explained(box, statement, **given)
        touched = sum(
            node["Actual Rows"] * node["Actual Loops"]
            for node in nodes
            if "pending_deliveries" in node.get("Relation Name", "")
        )
        assert touched < 600, (statement.sql, touched)
        assert not any(node["Node Type"] == "Seq Scan" and node["Actual Rows"] > 1 for node in nodes)


def _row(subscription: UUID, subject: UUID) -> tuple[Any, ...]:
    one = attempt(subscription, subject, 1, "delivered")
    return tuple(timedelta() if name == "wait" else getattr(one, name) for name in store._DONE)
