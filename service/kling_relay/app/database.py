"""Opens the database of a process: embedded or external, migrated if it is embedded, with its partitions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kling_relay.app import clock
from kling_relay.settings import Settings
from kling_relay.store.embedded.server import embedded
from kling_relay.store.postgres.database import Database, connect, connect_once
from kling_relay.store.postgres.statement import translated
from kling_relay.store.schema import migrate, partitions
from kling_relay.store.schema.tx_offset import raise_tx_offset


@asynccontextmanager
async def database_url(settings: Settings) -> AsyncIterator[str]:
    """Yield the URL of the database. An embedded one runs until its last user is done."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    async with embedded(settings.data_dir) as server:
        yield server.url()


async def prepare_database(
    url: str, settings: Settings, *, restored: bool = False, drop_old: bool = False
) -> list[str]:
    """Migrate the schema to this release and create the partitions of the coming days. Return the dropped ones.

    After a restore the numbers of events are raised; `restored` says that there was one, if the numbers do not show it.
    `drop_old` drops old partitions as the sweep does. Raises CollisionError if the sweep is doing it now.
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
    """Yield the pools. With `migrated`, and always if it is embedded, the schema is migrated first."""
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
