"""The database as a process opens it: embedded or given, migrated where it is ours, its partitions there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kling_relay.app import clock
from kling_relay.settings import Settings
from kling_relay.store.embedded.server import embedded
from kling_relay.store.postgres.database import Database, connect, connect_once
from kling_relay.store.postgres.statement import translated
from kling_relay.store.schema import migrate, partitions
from kling_relay.store.schema.restored import raise_tx_offset


@asynccontextmanager
async def database_url(settings: Settings) -> AsyncIterator[str]:
    """Give the address of the database; an embedded one runs for as long as somebody uses it."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    async with embedded(settings.data_dir) as server:
        yield server.url()


async def prepare_database(
    url: str, settings: Settings, *, restored: bool = False, drop_old: bool = False
) -> list[str]:
    """Bring the schema to this release's and make the partitions of the days ahead; return those dropped.

    After a restore the numbers of events are raised; `restored` says that there was one, if the numbers do not show it.
    With `drop_old` partitions are dropped as the sweep does it where it may. Raises CollisionError where it is at it.
    """
    await migrate.migrate(url)
    await raise_tx_offset(url, restored=restored)
    with translated():
        connection = await connect_once(url)
    try:
        await partitions.create_missing(connection, clock.now(), settings.retention)
        return await partitions.drop_old(connection, clock.now(), settings.retention) if drop_old else []
    finally:
        await connection.close()


@asynccontextmanager
async def open_database(settings: Settings, *, migrated: bool = False) -> AsyncIterator[Database]:
    """Give the pools; with `migrated`, and always where it is embedded, the schema is brought up first."""
    async with database_url(settings) as url:
        if migrated or settings.database_url is None:
            await prepare_database(url, settings)
        async with connect(
            url,
            size=settings.pool_size,
            max_wait=settings.record_timeout.total_seconds(),
            pooler=settings.database_pooler,
        ) as database:
            yield database
