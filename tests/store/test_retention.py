"""Retention ends: what is older than it is dropped, whatever the state of subscriptions, and its hooks go with it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from kling_relay.core.ids import MIN_ID, lower_bound, new_id
from kling_relay.store.deliveries import expiry, subscriptions
from kling_relay.store.schema import partitions
from kling_relay.store.stats import fleet
from kling_relay.store.tables import PARTITIONED
from tests.support.outbox import Outbox, fresh_id, outbox

RETENTION = timedelta(days=90)
NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=120)
WIDTH = timedelta(days=3)


@pytest.fixture
async def box(database: str) -> AsyncIterator[Outbox]:
    async with outbox(database) as opened:
        for parent in PARTITIONED:
            first = (await partitions.ranges(opened.connection, parent))[0].start
            for each in partitions.missing_ranges([], OLD, WIDTH):
                if each.end <= first:
                    await partitions._create(opened.connection, parent, each)
        yield opened


async def old_task(box: Outbox, *recipients: UUID, at: datetime = OLD, hook: UUID | None = None) -> UUID:
    """Add a finished task of the time `at` with one event that is due for each of these subscriptions."""
    task = new_id(at, fresh_id().int % 2**62)
    await box.connection.execute(
        "INSERT INTO tasks (id, client, status, sequence, created_at, updated_at, kind, model, units, quote, currency,"
        " prices, fields, hook) VALUES ($1, $2, 'succeed', 1, $3, $3, 'text2video', 'm', 1, 1, 'unit', 'p', '{}', $4)",
        *(task, box.client, at, hook),
    )
    await box.step(task, 1, *recipients)
    return task


async def remaining(box: Outbox) -> int:
    return int(await box.connection.fetchval("SELECT count(*) FROM tasks"))


async def expired(box: Outbox) -> dict[UUID, int]:
    rows = await box.connection.fetch("SELECT id, expired_deliveries FROM subscriptions WHERE expired_deliveries > 0")
    return {row["id"]: row["expired_deliveries"] for row in rows}


CLOSED: dict[str, dict[str, Any]] = {
    "paused": {"paused_at": NOW},
    "disabled": {"disabled_at": NOW, "disabled_reason": "the subscriber answered 410 Gone"},
    "being deleted": {"disabled_at": NOW, "deleted_at": NOW},
}


@pytest.mark.parametrize("state", CLOSED)
async def test_a_closed_subscription_does_not_keep_a_partition(box: Outbox, state: str) -> None:
    closed = await box.subscribe("http://a.example/", **CLOSED[state])
    for _ in range(3):
        await old_task(box, closed)
    assert await partitions.drop_old(box.connection, NOW, RETENTION)
    assert (await remaining(box), await box.pending()) == (0, 0)
    assert await expired(box) == ({} if state == "being deleted" else {closed: 3})
    assert await expiry.total_expired(box.connection) == 3
    assert await partitions.drop_old(box.connection, NOW, RETENTION) == []
    assert await expiry.total_expired(box.connection) == 3


async def test_deliveries_of_a_subscription_that_is_gone_do_not_keep_a_partition(box: Outbox) -> None:
    await old_task(box, fresh_id())
    assert await partitions.drop_old(box.connection, NOW, RETENTION)
    assert (await remaining(box), await box.pending()) == (0, 0)


async def test_deliveries_without_an_event_do_not_keep_a_partition(box: Outbox) -> None:
    await box.due(new_id(OLD, 7), 1, await box.subscribe("http://a.example/"))
    assert await partitions.drop_old(box.connection, NOW, RETENTION)
    assert await box.pending() == 0


async def test_a_closed_subscription_keeps_what_is_younger_than_the_retention(box: Outbox) -> None:
    paused = await box.subscribe("http://a.example/", paused_at=NOW)
    await old_task(box, paused)
    await old_task(box, paused, at=NOW)
    assert await partitions.drop_old(box.connection, NOW, RETENTION)
    assert (await remaining(box), await box.pending(), await expired(box)) == (1, 1, {paused: 1})


async def test_exhausted_deliveries_go_uncounted_because_their_attempts_were_made(box: Outbox) -> None:
    await old_task(box, await box.subscribe("http://a.example/"))
    await box.connection.execute("UPDATE pending_deliveries SET due_at = 'infinity'")
    assert await partitions.drop_old(box.connection, NOW, RETENTION)
    assert (await box.pending(), await expired(box)) == (0, {})


async def test_an_open_subscription_keeps_a_partition_for_a_month_at_most(box: Outbox) -> None:
    live = await box.subscribe("http://a.example/")
    await old_task(box, live)
    partition = (await partitions.ranges(box.connection))[0]
    late = partition.end + RETENTION + partitions.MAX_GRACE
    await partitions.drop_old(box.connection, late - timedelta(seconds=1) - WIDTH, RETENTION)
    assert (await remaining(box), await expired(box)) == (1, {})
    await partitions.drop_old(box.connection, late + WIDTH, RETENTION)
    assert (await remaining(box), await box.pending(), await expired(box)) == (0, 0, {live: 1})


async def test_an_unfinished_task_holds_back_no_other_partition(box: Outbox) -> None:
    stuck = await old_task(box)
    await box.connection.execute(
        "INSERT INTO submissions (task, client, state, units, due_at, kind) VALUES ($1, $2, 'accepted', 1, now(), 'k')",
        *(stuck, box.client),
    )
    await old_task(box, at=OLD + 2 * WIDTH)
    await partitions.drop_old(box.connection, NOW, RETENTION)
    assert [row["id"] for row in await box.connection.fetch("SELECT id FROM tasks")] == [stuck]
    lag = (await fleet.read(box.database, NOW, RETENTION)).retention_lag
    assert timedelta(days=26) < timedelta(seconds=lag) <= timedelta(days=30)
    await box.connection.execute("DELETE FROM submissions")
    await partitions.drop_old(box.connection, NOW, RETENTION)
    assert await remaining(box) == 0
    assert (await fleet.read(box.database, NOW, RETENTION)).retention_lag == 0


async def test_a_submission_without_its_task_does_not_keep_a_partition(box: Outbox) -> None:
    await old_task(box)
    await box.connection.execute(
        "INSERT INTO submissions (task, client, state, units, due_at, kind) VALUES ($1, $2, 'accepted', 1, now(), 'k')",
        *(new_id(OLD, 9), box.client),
    )
    assert await partitions.drop_old(box.connection, NOW, RETENTION)
    assert await box.connection.fetchval("SELECT count(*) FROM submissions") == 0


async def test_each_page_of_expired_deliveries_is_counted_once(box: Outbox) -> None:
    paused, live = await box.subscribe("http://a.example/", paused_at=NOW), await box.subscribe("http://b.example/")
    for _ in range(7):
        await old_task(box, paused, live)
    below = lower_bound(NOW)
    assert await expiry.expire(box.connection, MIN_ID, below, everything=False, page=3) == 7
    assert await box.pending() == 7
    assert await expiry.expire(box.connection, MIN_ID, below, everything=False, page=3) == 0
    assert await expiry.expire(box.connection, MIN_ID, below, everything=True, page=3) == 7
    assert await expired(box) == {paused: 7, live: 7}
    assert (await fleet.read(box.database, NOW, RETENTION)).expired_deliveries == 14


async def hooks(box: Outbox) -> set[str]:
    return {row["url"] for row in await box.connection.fetch("SELECT url FROM subscriptions WHERE hook")}


async def order(box: Outbox, url: str, at: datetime) -> UUID:
    """Add a finished task of the time `at` whose order named `url` as its hook."""
    hook = await subscriptions.ensure_hook(box.connection, box.client, url, at)
    await old_task(box, hook, at=at, hook=hook)
    return hook


async def test_a_hook_goes_with_the_last_of_its_tasks(box: Outbox) -> None:
    await order(box, "http://a.example/old?token=secret", OLD)
    await order(box, "http://a.example/both", OLD)
    await order(box, "http://a.example/both", NOW)
    await order(box, "http://a.example/new", NOW)
    plain = await box.subscribe("http://a.example/plain", created_at=OLD, updated_at=OLD)
    await box.connection.execute("UPDATE pending_deliveries SET due_at = 'infinity'")
    assert await partitions.drop_old(box.connection, NOW, RETENTION)
    assert await hooks(box) == {"http://a.example/both", "http://a.example/new"}
    assert await box.connection.fetchval("SELECT id FROM subscriptions WHERE NOT hook") == plain
    assert await box.pending() == 2


async def test_a_hook_stays_while_the_partition_of_its_task_has_to_wait(box: Outbox) -> None:
    hook = await order(box, "http://a.example/hook", OLD)
    assert await partitions.drop_old(box.connection, NOW, RETENTION)  # the empty ones
    assert await box.connection.fetchval("SELECT id FROM subscriptions") == hook
    assert await box.pending() == 1


async def test_a_hook_of_the_release_before_is_as_old_as_its_last_change(box: Outbox) -> None:
    for at in (OLD, NOW):
        url = f"http://a.example/{at:%Y}"
        hook = await subscriptions.ensure_hook(box.connection, box.client, url + str(at < NOW), at)
        await box.connection.execute("UPDATE subscriptions SET last_used_at = NULL WHERE id = $1", hook)
    await partitions.drop_old(box.connection, NOW, RETENTION)
    assert len(await hooks(box)) == 1


async def test_the_use_of_a_hook_is_written_once_a_day(box: Outbox) -> None:
    url, versions = "http://a.example/hook", set()
    for hours in (0, 1, 23, 25, 26):
        await subscriptions.ensure_hook(box.connection, box.client, url, OLD + timedelta(hours=hours))
        versions.add(await box.connection.fetchval("SELECT last_used_at FROM subscriptions"))
    assert versions == {OLD, OLD + timedelta(hours=25)}


async def test_many_hooks_go_in_batches(box: Outbox) -> None:
    await box.connection.execute(
        "INSERT INTO subscriptions (id, client, hook, url, events, format, ordering, max_in_flight, secrets,"
        " created_at, updated_at, last_used_at) SELECT gen_random_uuid(), $1, true, 'http://a.example/' || n, '{*}',"
        " 'kling', 'none', 10, '', $2, $2, CASE WHEN n > 2500 THEN now() ELSE $2 END FROM generate_series(1, 2600) n",
        *(box.client, OLD),
    )
    result = await partitions.enforce_retention(box.connection, NOW, RETENTION)
    assert (result.hooks, len(await hooks(box))) == (2500, 100)
