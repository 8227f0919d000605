"""Script 0010 meets hooks, subscriptions and deliveries of the release before: all are kept, and retention ends."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg

from kling_relay.core.ids import lower_bound, new_id
from kling_relay.store.embedded.server import Server
from kling_relay.store.schema import partitions
from kling_relay.store.schema.migrate import downgrade, migrate
from kling_relay.store.tables import PARTITIONED
from tests.support.postgres import fresh_database

RETENTION = timedelta(days=90)
NOW = datetime.now(UTC)
OLD = NOW - timedelta(days=200)
SUBSCRIBE = (
    "INSERT INTO subscriptions (id, client, hook, url, events, format, ordering, max_in_flight, secrets, created_at,"
    " updated_at, disabled_at)"
    " VALUES ($1, $1, $2, 'https://a.example/?token=1', '{*}', 'kling', 'none', 10, '', $3, $3, $4)"
)
PENDING = (
    "INSERT INTO pending_deliveries (subject, sequence, subscription, shard, attempt, due_at)"
    " VALUES ($1, 1, $2, get_byte(uuid_send($2), 15), 0, now())"
)


async def subscribe(connection: asyncpg.Connection, *, hook: bool, disabled_at: datetime | None = None) -> UUID:
    identifier = uuid4()
    await connection.execute(SUBSCRIBE, identifier, hook, OLD, disabled_at)
    return identifier


async def subscriptions(connection: asyncpg.Connection) -> set[UUID]:
    return {row["id"] for row in await connection.fetch("SELECT id FROM subscriptions")}


async def test_rows_of_the_release_before_are_kept_and_expire(postgres: Server) -> None:
    async with fresh_database(postgres, template="template0") as database:
        await migrate(database)
        await downgrade(database, "0009")
        connection = await asyncpg.connect(database)
        try:
            old = partitions.PartitionRange(start=OLD - timedelta(days=1), end=OLD + timedelta(days=1))
            for parent in PARTITIONED:
                await connection.execute(
                    f"CREATE TABLE {old.name(parent)} PARTITION OF {parent}"
                    f" FOR VALUES FROM ('{lower_bound(old.start)}') TO ('{lower_bound(old.end)}')"
                )
            await partitions.create_missing(connection, NOW, RETENTION)
            hook, plain = await subscribe(connection, hook=True), await subscribe(connection, hook=False)
            gone = await subscribe(connection, hook=False, disabled_at=OLD)
            for recipient in (gone, uuid4()):  # held for ever by the release before, and orphaned
                await connection.execute(PENDING, new_id(OLD, 1), recipient)
            await connection.execute(PENDING, new_id(NOW, 1), plain)
            await migrate(database)
            result = await partitions.enforce_retention(connection, datetime.now(UTC), RETENTION)
            assert (len(result.dropped), result.expired, result.hooks) == (len(PARTITIONED), 2, 0)
            assert await subscriptions(connection) == {hook, plain, gone}
            assert await connection.fetchval("SELECT count(*) FROM pending_deliveries") == 1
            assert await connection.fetchval("SELECT expired_deliveries FROM subscriptions WHERE id = $1", gone) == 1
            late = datetime.now(UTC) + RETENTION + timedelta(days=15)
            assert (await partitions.enforce_retention(connection, late, RETENTION)).hooks == 1
            assert await subscriptions(connection) == {plain, gone}
        finally:
            await connection.close()
        await downgrade(database, "0009")
        await migrate(database)
