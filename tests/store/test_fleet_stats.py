"""Readings of the whole database: exact if it is small, bounded if it is not."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from typing_extensions import override

from kling_relay.core.ids import RANDOM_BITS, creation_time, new_id
from kling_relay.core.subscription import SHARDS
from kling_relay.flows.fleet_stats import FleetStats
from kling_relay.flows.observer import Observer
from kling_relay.store.postgres.database import Database, connect
from kling_relay.store.postgres.statement import Statement
from kling_relay.store.stats import backlog, fleet
from kling_relay.store.stats.readings import AGES, BacklogReading, FleetReadings
from tests.support.waiting import eventually

NOW = datetime.now(UTC)
CLIENT = UUID(int=1)
RETENTION = timedelta(days=90)


@pytest.fixture
async def store(database: str) -> AsyncIterator[Database]:
    async with connect(database) as opened:
        yield opened


async def subscription(store: Database, number: int, **columns: Any) -> UUID:
    given = {"failing_since": None, "paused_at": None, "disabled_at": None, **columns}
    identifier = UUID(int=number)
    await store.pool.execute(
        "INSERT INTO subscriptions (id, client, url, events, format, ordering, max_in_flight, secrets, created_at,"
        " updated_at, failing_since, paused_at, disabled_at) VALUES ($1, $2, 'https://a.example', '{*}', 'standard',"
        " 'none', 1, '', now(), now(), $3, $4, $5)",
        identifier,
        CLIENT,
        given["failing_since"],
        given["paused_at"],
        given["disabled_at"],
    )
    return identifier


async def add_pending(store: Database, of: UUID, *due: str, many: int = 1) -> None:
    """Make `many` deliveries of a subscription due at each of these SQL times."""
    for at in due:
        await store.pool.execute(
            "INSERT INTO pending_deliveries (subject, sequence, subscription, shard, attempt, due_at)"
            f" SELECT gen_random_uuid(), 1, $1, $2, 0, {at} FROM generate_series(1, $3)",
            of,
            of.int % SHARDS,
            many,
        )


async def submission(store: Database, state: str, *, age: float = 0, units: int = 1, attempt: int = 0) -> UUID:
    task = new_id(NOW - timedelta(seconds=age), random.getrandbits(RANDOM_BITS))
    await store.pool.execute(
        "INSERT INTO submissions (task, client, state, units, attempt, due_at, kind)"
        " VALUES ($1, $2, $3, $4, $5, now(), 'text2video')",
        task,
        CLIENT,
        state,
        units,
        attempt,
    )
    return task


async def test_every_reading_of_an_empty_database_is_zero(store: Database) -> None:
    found = await fleet.read(store, NOW, RETENTION)
    assert found.backlogs == {
        state: BacklogReading(subscriptions=0, by_age=dict.fromkeys(AGES, 0), oldest_due=0)
        for state in ("healthy", "failing", "closed")
    }
    assert set(found.submissions.values()) == {0}
    assert (found.silent_tasks, found.slots_used, found.oldest_waiting) == (0, 0, 0)
    assert 0 <= found.oldest_snapshot < 5
    assert found.snapshot_span >= 0
    assert set(found.rows) == {
        (table, state) for table in ("pending_deliveries", "submissions") for state in ("live", "dead")
    }
    assert 0 < found.seconds < 5


async def test_pending_deliveries_are_counted_by_age_and_state_of_their_subscription(store: Database) -> None:
    healthy, other = await subscription(store, 5), await subscription(store, 5 + SHARDS)
    failing = await subscription(store, 6, failing_since=NOW)
    paused, disabled = await subscription(store, 7, paused_at=NOW), await subscription(store, 263, disabled_at=NOW)
    await add_pending(store, healthy, "now() - interval '90 s'", "now() + interval '1 h'", "'infinity'")
    await add_pending(store, other, "now() - interval '5 s'", many=4)
    await add_pending(store, failing, "now() - interval '2 h'", "now() - interval '7 h'", many=2)
    await add_pending(store, paused, "now() - interval '20 min'")
    await add_pending(store, disabled, "'infinity'")
    found = await backlog.read_backlog(store)
    none = dict.fromkeys(AGES, 0)
    assert found["healthy"].by_age == {**none, "under_1m": 4, "under_10m": 1, "later": 1, "exhausted": 1}
    assert found["failing"].by_age == {**none, "under_6h": 2, "over_6h": 2}
    assert found["closed"].by_age == {**none, "under_1h": 1, "exhausted": 1}
    assert {state: queue.subscriptions for state, queue in found.items()} == {"healthy": 2, "failing": 1, "closed": 2}
    assert found["healthy"].oldest_due == pytest.approx(90, abs=10)
    assert found["failing"].oldest_due == pytest.approx(25_200, abs=10)
    assert found["closed"].oldest_due == pytest.approx(1200, abs=10)


async def test_a_backlog_of_one_subscription_is_counted_up_to_a_bound_and_hides_no_other(store: Database) -> None:
    broken, sound = await subscription(store, 1, failing_since=NOW), await subscription(store, 2)
    await add_pending(store, broken, "now() - interval '5 min'", many=30_000)
    await add_pending(store, sound, "now() - interval '3 min'")
    found = await backlog.read_backlog(store)
    assert found["failing"].by_age["under_10m"] == backlog.MAX_OF_SUBSCRIPTION
    assert found["healthy"].by_age["under_10m"] == 1
    assert found["healthy"].oldest_due == pytest.approx(180, abs=10)


async def test_the_backlog_is_read_from_the_index_alone(store: Database) -> None:
    async with store.pool.acquire() as connection:
        plan = "\n".join(
            row[0] for row in await connection.fetch(f"EXPLAIN {inlined(backlog.BACKLOG, backlog.LIMITS)}")
        )
    assert "Seq Scan on pending_deliveries" not in plan
    assert plan.count("ix_pending_deliveries_due") == 3


def inlined(statement: Statement, arguments: Mapping[str, int]) -> str:
    """Return a statement's SQL with its arguments written into it, because EXPLAIN takes none."""
    text = statement.sql
    for number, value in reversed(list(enumerate(statement.arguments(arguments), 1))):
        text = text.replace(f"${number}::", f"{value}::")
    return text


async def test_submissions_are_counted_by_state_and_silent_ones_apart(store: Database) -> None:
    oldest = await submission(store, "recorded", age=300)
    await submission(store, "recorded", age=10)
    await submission(store, "sending")
    await submission(store, "accepted", units=9, attempt=fleet.SILENT_AFTER)
    await submission(store, "accepted", attempt=fleet.SILENT_AFTER - 1)
    await submission(store, "unknown", attempt=fleet.SILENT_AFTER + 7)
    found = await fleet.read(store, NOW, RETENTION)
    assert found.submissions == {"recorded": 2, "sending": 1, "accepted": 2, "unknown": 1}
    assert found.silent_tasks == 2
    assert found.slots_used == 1 + 9 + 1 + 1
    assert found.oldest_waiting == pytest.approx((NOW - creation_time(oldest)).total_seconds())


async def test_partitions_ahead_end_at_the_first_that_is_missing(store: Database) -> None:
    before = (await fleet.read(store, NOW, RETENTION)).partitions_ahead
    assert 7 <= before < 11
    last = await store.pool.fetchval(
        "SELECT max(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'attempts'::regclass"
    )
    await store.pool.execute(f"DROP TABLE {last}")
    assert (await fleet.read(store, NOW, RETENTION)).partitions_ahead == pytest.approx(before - 3, abs=0.01)
    assert (await fleet.read(store, NOW + timedelta(days=60), RETENTION)).partitions_ahead == 0


async def test_the_oldest_snapshot_is_read_with_its_age(store: Database, database: str) -> None:
    async def held() -> float:
        return (await fleet.read(store, NOW, RETENTION)).oldest_snapshot

    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute("CREATE TABLE held ()")
            span = (await fleet.read(store, NOW, RETENTION)).snapshot_span
            for _ in range(3):
                await store.pool.execute("SELECT pg_current_xact_id()")
            assert (await fleet.read(store, NOW, RETENTION)).snapshot_span >= span + 3
            since = await held()
            await eventually(lambda: _more(held, since + 0.05))
    finally:
        await connection.close()
    assert await held() < 5


async def _more(read: Any, than: float) -> bool:
    return bool(await read() > than)


class FleetObserver(Observer):
    """Remembers the readings that were reported, and the flows that the database failed."""

    def __init__(self) -> None:
        self.readings: list[FleetReadings | None] = []
        self.failed: list[str] = []

    @override
    def fleet_stats_changed(self, readings: FleetReadings | None) -> None:
        self.readings.append(readings)

    @override
    def database_failed(self, flow: str, error: Exception) -> None:
        self.failed.append(flow)


async def test_only_the_owner_of_one_shard_shows_readings_and_withdraws_them_when_it_stops(store: Database) -> None:
    observer, shards = FleetObserver(), set[int]()
    shown = observer.readings
    stats = FleetStats(
        store, is_owner=lambda: 0 in shards, now=lambda: NOW, retention=RETENTION, every=0.01, observer=observer
    )
    running = asyncio.create_task(stats.run())
    await eventually(lambda: shown)
    assert shown[-1] is None
    shards.add(0)
    await eventually(lambda: shown[-1] is not None)
    shards.clear()
    await eventually(lambda: shown[-1] is None)
    shards.add(0)
    await eventually(lambda: shown[-1] is not None)
    running.cancel()
    await asyncio.wait([running])
    assert shown[-1] is None


async def test_no_reading_is_shown_while_the_database_is_away(store: Database) -> None:
    observer = FleetObserver()
    stats = FleetStats(store, is_owner=lambda: True, now=lambda: NOW, retention=RETENTION, observer=observer)
    await stats.read()
    assert observer.readings[-1] is not None
    await store.pool.close()
    await stats.read()
    assert observer.readings[-1] is None
    assert observer.failed == ["fleet_stats"]
