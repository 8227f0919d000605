"""A deleted subscription leaves nothing behind, whatever was being written for it: a callback's events, a replay, a
test event, an attempt, an order that names the hook. A lock of the test's own holds each race open at its worst moment.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from kling_relay.core.event import EventType, make_event
from kling_relay.core.ids import hook_id
from kling_relay.store.deliveries import redelivery, subscriptions, unsubscribe
from kling_relay.store.schema import partitions
from tests.support.outbox import fresh_id
from tests.support.relay import ApiServer, serve_api
from tests.support.waiting import eventually, remains

URL = "https://93.184.215.14/hook"
ORPHANS = (
    "SELECT count(*) FROM pending_deliveries AS pending"
    " WHERE NOT EXISTS (SELECT FROM subscriptions WHERE id = pending.subscription)"
)
BLOCKED = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"

Admin = asyncpg.Connection


@pytest.fixture
async def api(database: str) -> AsyncIterator[ApiServer]:
    async with serve_api(database) as server:
        yield server


@pytest.fixture
async def admin(database: str) -> AsyncIterator[Admin]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@asynccontextmanager
async def locked(admin: Admin, statement: str, *values: Any) -> AsyncIterator[None]:
    """Hold the locks of a statement, and roll it back at the end of the block."""
    transaction = admin.transaction()
    await transaction.start()
    await admin.execute(statement, *values)
    try:
        yield
    finally:
        await transaction.rollback()


def blocked(admin: Admin, count: int = 1) -> Callable[[], Awaitable[bool]]:
    """Return whether `count` sessions wait for this one."""

    async def fact() -> bool:
        return bool(await admin.fetchval(BLOCKED) >= count)

    return fact


async def subscribe(api: ApiServer) -> str:
    status, body = await api.post("/v1/subscriptions", {"url": URL})
    assert status == 201, body
    return str(body["id"])


async def delete(api: ApiServer, subscription: str) -> None:
    status, _ = await api.call("DELETE", f"/v1/subscriptions/{subscription}")
    assert status == 204


def is_marked(api: ApiServer) -> Callable[[], Awaitable[bool]]:
    """Return whether a DELETE has begun, or is over."""

    async def fact() -> bool:
        return not await api.database.pool.fetchval("SELECT count(*) FROM subscriptions WHERE deleted_at IS NULL")

    return fact


async def rows(api: ApiServer) -> tuple[int, int]:
    """Return how many subscriptions and pending deliveries exist."""
    row = await api.database.pool.fetchrow(
        "SELECT (SELECT count(*) FROM subscriptions), (SELECT count(*) FROM pending_deliveries)"
    )
    assert row is not None
    return row[0], row[1]


async def test_a_callback_that_commits_beside_a_delete_leaves_no_delivery(api: ApiServer, admin: Admin) -> None:
    subscription = await subscribe(api)
    task = await api.order()
    async with locked(admin, "SELECT FROM tasks FOR UPDATE"):
        callback = asyncio.create_task(api.succeed(task))
        await eventually(blocked(admin))
        deletion = asyncio.create_task(delete(api, subscription))
        await eventually(is_marked(api))
        assert (await api.get(f"/v1/subscriptions/{subscription}"))[0] == 404
        await remains(lambda: not deletion.done(), during=0.2)
    await callback
    await deletion
    assert await rows(api) == (0, 0)
    assert await admin.fetchval("SELECT count(*) FROM events WHERE type = 'task.succeed'") == 1


async def test_a_replay_beside_a_delete_leaves_no_delivery(api: ApiServer, admin: Admin) -> None:
    subscription = await subscribe(api)
    for number in range(3):
        await api.order(f"number {number}")
    await api.wait_until_readable()
    await admin.execute("DELETE FROM pending_deliveries WHERE subject > (SELECT min(id::text)::uuid FROM tasks)")
    since = {"since": "2026-01-01T00:00:00Z", "only": "all"}
    async with locked(admin, "SELECT FROM pending_deliveries FOR UPDATE"):
        replay = asyncio.create_task(api.post(f"/v1/subscriptions/{subscription}/replay", since))
        await eventually(blocked(admin))
        deletion = asyncio.create_task(delete(api, subscription))
        await eventually(is_marked(api))
        await remains(lambda: not deletion.done(), during=0.2)
    assert (await replay)[0] == 202
    await deletion
    assert await rows(api) == (0, 0)


async def test_a_replay_after_a_delete_has_begun_writes_nothing(api: ApiServer, admin: Admin) -> None:
    subscription = UUID(await subscribe(api))
    await api.order()
    await api.wait_until_readable()
    row = await subscriptions.get(api.database, api.client, subscription)
    assert row is not None
    await delete(api, str(subscription))
    now = datetime.now(UTC)
    assert await redelivery.replay_all(api.database, row, ["task.submitted"], now - timedelta(days=1), now) == 0
    assert await redelivery.publish_to(api.database, test_event(api, subscription), subscription) is None
    assert await rows(api) == (0, 0)
    assert await admin.fetchval("SELECT count(*) FROM events WHERE type = 'subscription.test'") == 0


def test_event(api: ApiServer, subscription: UUID) -> Any:
    return make_event(
        subject=fresh_id(),
        sequence=1,
        client=api.client,
        event_type=EventType.SUBSCRIPTION_TEST,
        at=datetime.now(UTC),
        content={"subscription_id": str(subscription)},
    )


test_event.__test__ = False  # type: ignore[attr-defined]


async def test_a_test_event_beside_a_delete_leaves_no_delivery(api: ApiServer, admin: Admin) -> None:
    subscription = await subscribe(api)
    event = test_event(api, UUID(subscription))
    same = "INSERT INTO events (subject, sequence, client, tx, at, type, body) VALUES ($1, 1, $1, 1, now(), 'x', '')"
    async with locked(admin, same, event.subject):  # the test event waits for this row's end
        writing = asyncio.create_task(redelivery.publish_to(api.database, event, UUID(subscription)))
        await eventually(blocked(admin))
        deletion = asyncio.create_task(delete(api, subscription))
        await eventually(is_marked(api))
        await remains(lambda: not deletion.done(), during=0.2)
    assert await writing is not None
    await deletion
    assert await rows(api) == (0, 0)


async def test_an_attempt_that_is_settled_beside_a_delete_leaves_no_delivery(
    api: ApiServer, admin: Admin, database: str
) -> None:
    subscription = await subscribe(api)
    await api.order()
    worker = await asyncpg.connect(database)
    try:
        async with locked(admin, "DELETE FROM pending_deliveries WHERE false"):
            deletion = asyncio.create_task(delete(api, subscription))
            await eventually(is_marked(api))
            settling = worker.transaction()
            await settling.start()
            await worker.execute("UPDATE pending_deliveries SET attempt = 1, due_at = now() + interval '1 h'")
        await eventually(blocked(worker))
        await settling.commit()
        await deletion
    finally:
        await worker.close()
    assert await rows(api) == (0, 0)


async def test_a_deleted_hook_gets_nothing_of_later_steps(api: ApiServer) -> None:
    task = await api.order(notify_hook=URL)
    await delete(api, str(hook_id(api.client, URL)))
    await api.succeed(task)
    assert await rows(api) == (0, 0)


async def test_an_order_that_names_a_hook_beside_its_delete_keeps_its_deliveries(api: ApiServer, admin: Admin) -> None:
    await api.order("before", notify_hook=URL)
    hook = str(hook_id(api.client, URL))
    assert (await api.call("PATCH", f"/v1/subscriptions/{hook}", json={"headers": {"X-Token": "old"}}))[0] == 200
    await api.post(f"/v1/subscriptions/{hook}/pause")
    async with locked(admin, "DELETE FROM pending_deliveries WHERE false"):
        deletion = asyncio.create_task(delete(api, hook))
        await eventually(is_marked(api))
        task = await api.order("beside", notify_hook=URL)
        await api.succeed(task)
    await deletion
    status, shown = await api.get(f"/v1/subscriptions/{hook}")
    assert (status, shown["status"], shown["headers"]) == (200, "active", {})
    deliveries = (await api.get("/v1/deliveries?status=pending"))[1]["data"]
    assert [delivery["type"] for delivery in deliveries if delivery["task_id"] == task] == [
        "task.succeed",
        "task.submitted",
    ]


async def test_housekeeping_ends_a_delete_that_could_not_wait(api: ApiServer, admin: Admin) -> None:
    subscription = await subscribe(api)
    await api.order()
    now = datetime.now(UTC)
    async with locked(admin, "DELETE FROM pending_deliveries WHERE false"):
        assert await unsubscribe.remove(api.database, api.client, UUID(subscription), now, max_wait=0.05)
        assert await rows(api) == (1, 1)
        assert (await api.get(f"/v1/subscriptions/{subscription}"))[0] == 404
        assert (await api.post(f"/v1/subscriptions/{subscription}/resume"))[0] == 404
        assert (await api.get("/v1/subscriptions"))[1]["data"] == []
        assert (await api.get("/v1/deliveries?status=pending"))[1]["data"] == []
    await partitions.drop_old(admin, now, timedelta(days=90))
    assert await rows(api) == (0, 0)


async def test_deletes_among_everything_else_leave_no_orphans(api: ApiServer, admin: Admin) -> None:
    since = {"since": "2026-01-01T00:00:00Z", "only": "all"}
    await asyncio.gather(*(api.order(f"number {number}") for number in range(5)))
    await api.wait_until_readable()
    for _ in range(4):
        created = [await subscribe(api) for _ in range(3)]
        tasks = [await api.order("with a hook", notify_hook=f"{URL}/{number}") for number in range(3)]
        created += [str(hook_id(api.client, f"{URL}/{number}")) for number in range(3)]
        paths = [f"/v1/subscriptions/{subscription}" for subscription in created]
        work = [
            *(api.succeed(task) for task in tasks),
            *(api.post(f"{path}/replay", since) for path in paths),
            *(api.post(f"{path}/test") for path in paths),
            *(api.call("DELETE", path) for path in paths),
            *(api.post(f"{path}/test") for path in paths),
            *(api.post(f"{path}/replay", since) for path in paths),
        ]
        results = await asyncio.gather(*work)
        assert {status for status, _ in filter(None, results)} <= {202, 204, 404}
        assert await rows(api) == (0, 0)
        assert await admin.fetchval(ORPHANS) == 0
