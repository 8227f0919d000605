"""The outbox: settling is fenced, reading goes by index from a cursor, finding costs a step per subscription."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from kling_relay.store.deliveries import outbox as store
from kling_relay.store.deliveries.outbox import DueQuery, SettledAttempt
from kling_relay.store.postgres.statement import Statement, columns_of
from tests.support.outbox import Outbox, fresh_id, outbox


@pytest.fixture
async def box(database: str) -> AsyncIterator[Outbox]:
    async with outbox(database) as made:
        yield made


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


def wanted(subscription: UUID, **more: Any) -> DueQuery:
    return DueQuery(
        **{
            "subscription": subscription,
            "shard": subscription.int % 256,
            "cursor": None,
            "limit": 10,
            "ordered": False,
            **more,
        }
    )


async def rows(box: Outbox, subjects: list[UUID]) -> list[tuple[int, float]]:
    """Return (attempt, seconds until due; infinite where it rests) of what is pending for these subjects."""
    found = await box.connection.fetch(
        "SELECT attempt, extract(epoch FROM due_at - now())::float8 AS wait FROM pending_deliveries"
        " ORDER BY array_position($1::uuid[], subject)",
        subjects,
    )
    return [(row["attempt"], row["wait"]) for row in found]


async def test_a_delivered_one_goes_away_and_its_attempt_stays(box: Outbox) -> None:
    subscription = await box.subscribe("http://a.example/")
    [subject] = await box.events(1, subscription)
    await store.settle(box.database, [attempt(subscription, subject, 1, "delivered")])
    assert await box.left() == 0
    assert await box.connection.fetchval("SELECT outcome FROM attempts") == "delivered"


async def test_a_failed_one_waits_and_one_that_is_exhausted_or_gone_rests(box: Outbox) -> None:
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


async def test_an_attempt_of_yesterdays_owner_changes_nothing_but_the_log(box: Outbox) -> None:
    subscription = await box.subscribe("http://a.example/")
    [subject] = await box.events(1, subscription)
    await store.settle(box.database, [attempt(subscription, subject, 1, "failed", 60.0)])
    await store.settle(box.database, [attempt(subscription, subject, 1, "exhausted")])
    await store.settle(box.database, [attempt(subscription, subject, 1, "delivered")])
    [(number, wait)] = await rows(box, [subject])
    assert number == 1
    assert 50 < wait <= 60
    assert await box.connection.fetchval("SELECT count(*) FROM attempts") == 1


async def test_reading_goes_in_order_of_due_time_from_the_cursor_on(box: Outbox) -> None:
    subscription, other = await box.subscribe("http://a.example/"), await box.subscribe("http://b.example/")
    subjects = [fresh_id() for _ in range(6)]
    for number, subject in enumerate(subjects):
        await box.step(subject, 1, subscription, other, late_by=60.0 - number)
    found = await store.read(box.database, [wanted(subscription, limit=4), wanted(other, limit=2)])
    assert [claim.event.subject for claim in found if claim.subscription == subscription] == subjects[:4]
    assert [claim.event.subject for claim in found if claim.subscription == other] == subjects[:2]
    rest = await store.read(box.database, [wanted(subscription, cursor=found[3].due_at)])
    assert [claim.event.subject for claim in rest] == subjects[3:]


async def test_deliveries_that_are_not_due_or_exhausted_are_not_read(box: Outbox) -> None:
    subscription = await box.subscribe("http://a.example/")
    await box.step(fresh_id(), 1, subscription, late_by=-60)
    await box.step(fresh_id(), 1, subscription)
    await box.connection.execute("UPDATE pending_deliveries SET due_at = 'infinity' WHERE due_at <= now()")
    assert await store.read(box.database, [wanted(subscription)]) == []


async def test_finding_names_every_subscription_once_with_its_earliest(box: Outbox) -> None:
    soon, later, resting = [await box.subscribe(f"http://{name}.example/") for name in "abc"]
    await box.events(5, soon)
    await box.step(fresh_id(), 1, later, late_by=-30)
    await box.events(2, resting)
    await box.connection.execute("UPDATE pending_deliveries SET due_at = 'infinity' WHERE subscription = $1", resting)
    found = {each.subscription: each for each in await store.discover(box.database, range(256))}
    assert set(found) == {soon, later}
    assert found[soon].due_in == 0
    assert 25 < found[later].due_in <= 30
    assert found[soon].shard == soon.int % 256
    assert await store.discover(box.database, [(soon.int + 1) % 256, (later.int + 1) % 256][:0]) == []


async def test_a_look_at_the_tail_sees_what_is_new_and_no_retries(box: Outbox) -> None:
    new, old, again = [await box.subscribe(f"http://{name}.example/") for name in "abc"]
    await box.events(3, new)
    await box.step(fresh_id(), 1, old, late_by=60)
    [retried] = await box.events(1, again)
    await store.settle(box.database, [attempt(again, retried, 1, "failed")])
    assert [each for each, _ in await store.fresh(box.database, list(range(256)), 5.0)] == [new]


async def explained(box: Outbox, statement: Statement, **given: Any) -> list[dict[str, Any]]:
    """Return the nodes of the plan that ran on a delivering connection; what it wrote is taken back."""
    async with box.database.settle.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        told = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}", *statement.arguments(given))
        await transaction.rollback()
    return list(_nodes(json.loads(told)[0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if node["Actual Loops"]:
        yield node
    for inner in node.get("Plans", []):
        yield from _nodes(inner)


async def test_a_backlog_costs_reading_finding_and_settling_no_more_than_what_they_take(box: Outbox) -> None:
    subscription, other = await box.subscribe("http://a.example/"), await box.subscribe("http://b.example/")
    subjects = await box.events(1, subscription)
    await box.connection.execute(
        "INSERT INTO pending_deliveries SELECT gen_random_uuid(), 1, s, get_byte(uuid_send(s), 15), 0,"
        " now() - n * interval '1 ms' FROM generate_series(1, 20000) n, unnest($1::uuid[]) s",
        [subscription, other],
    )
    now = datetime.now(UTC)
    queue = (subscription, subscription.int % 256, now - timedelta(days=1), 10, False)
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
