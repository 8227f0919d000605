"""Opens the database of a process: embedded or external, migrated if it is embedded, with its partitions."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg

from kling_relay.app.database_errors import (
    DatabaseError,
    MissingDatabaseError,
    OutdatedSchemaError,
    explained,
)
from kling_relay.settings import Settings, server_place
from kling_relay.store.embedded.server import embedded
from kling_relay.store.postgres.database import Database, connect, connect_once, current_time
from kling_relay.store.postgres.server_check import MIN_VERSION
from kling_relay.store.postgres.statement import translated
from kling_relay.store.schema import migrate, partitions
from kling_relay.store.schema.tx_offset import raise_tx_offset


def has_embedded_database(settings: Settings) -> bool:
    """Return whether the embedded database has been made where the settings say."""
    return (embedded_place(settings) / "postgresql").exists()


def embedded_place(settings: Settings) -> Path:
    """Return the whole path of RELAY_DATA_DIR."""
    return Path(settings.data_dir).expanduser().resolve()


@asynccontextmanager
async def database_url(settings: Settings, *, create: bool = False) -> AsyncIterator[str]:
    """Yield the URL of the database. An embedded one runs until its last user is done.

    An embedded one that does not exist is only made with `create`. Otherwise MissingDatabaseError says where it was
    looked for: a command in the wrong directory shall not answer from an empty database of its own.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    if not create and not has_embedded_database(settings):
        raise MissingDatabaseError(
            f"There is no database in {embedded_place(settings)}, and RELAY_DATABASE_URL is not set.",
            "Run the command in the directory in which the service was started, or set RELAY_DATA_DIR or"
            " RELAY_DATABASE_URL as for the service. `kling-relay up` and `kling-relay migrate` create a database.",
        )
    async with embedded(settings.data_dir) as server:
        yield server.url()


async def prepare_database(
    url: str, settings: Settings, *, restored: bool = False, drop_old: bool = False
) -> list[str]:
    """Migrate the schema to this release and create the partitions of the coming days. Return the dropped ones.

    After a restore the numbers of events are raised; `restored` says that there was one, if the numbers do not show it.
    `drop_old` drops old partitions as the sweep does. Raises CollisionError if the sweep is doing it now.
    """
    with explained(url):
        await _check_server(url)
    await migrate.migrate(url)
    await raise_tx_offset(url, restored=restored)
    with translated():
        connection = await connect_once(url)
    try:
        now = await current_time(connection)
        await partitions.create_missing(connection, now, settings.retention)
        return await partitions.drop_old(connection, now, settings.retention) if drop_old else []
    finally:
        await connection.close()


@asynccontextmanager
async def open_database(settings: Settings, *, migrated: bool = False, create: bool = False) -> AsyncIterator[Database]:
    """Yield the pools. With `migrated`, and always if it is embedded, the schema is migrated first.

    `create` makes an embedded database that does not exist. Raises DatabaseError with the place and the reason.
    """
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(database_url(settings, create=create))
        if migrated or settings.database_url is None:
            await prepare_database(url, settings)
        else:
            with explained(url):
                await _check_server(url, with_schema=True)
        with explained(url):
            database = await stack.enter_async_context(
                connect(
                    url,
                    size=settings.pool_size,
                    max_wait=settings.record_timeout.total_seconds(),
                    pooler=settings.database_pooler,
                    report_connections=settings.report_connections,
                    report_seconds=settings.report_timeout.total_seconds(),
                )
            )
        yield database


async def _check_server(url: str, *, with_schema: bool = False) -> None:
    """Raise DatabaseError if the server is too old, its encoding loses texts, or the schema is not this release's."""
    connection = await connect_once(url)
    try:
        version, encoding = connection.get_server_version().major, connection.get_settings().server_encoding
        revision = await _revision(connection) if with_schema else None
    finally:
        await connection.close()
    place = server_place(url)
    if version < MIN_VERSION:
        raise DatabaseError(f"The database at {place} is PostgreSQL {version}.", f"Use {MIN_VERSION} or newer.")
    if encoding != "UTF8":
        raise DatabaseError(
            f"The database at {place} is encoded in {encoding}, which cannot store Chinese texts.",
            "Create it again: CREATE DATABASE … ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
        )
    if with_schema and not migrate.is_usable(revision):
        state = f"at {revision}, but this release needs {migrate.head()}" if revision else "missing"
        raise OutdatedSchemaError(f"The schema of the database at {place} is {state}.", "Run `kling-relay migrate`.")


async def _revision(connection: asyncpg.Connection) -> str | None:
    """Return the revision of the schema, as far as this role may know it."""
    try:
        return await migrate.current_on(connection)
    except asyncpg.InsufficientPrivilegeError:
        return migrate.head()
