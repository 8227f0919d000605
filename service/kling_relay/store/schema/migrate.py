"""The schema's way from one release to the next: safe to run twice at once, and never in the way for long.

A script waits `LOCK_TIMEOUT` for a table at most, so that the queries behind it do not pile up; then it is undone
and tried again. Migrators exclude one another by a lock that also holds behind PgBouncer in transaction mode.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from kling_relay.store.postgres.database import connect_once

Result = TypeVar("Result")

LOCK_TIMEOUT = "3s"
PATIENCE = 120.0
"""Seconds that `migrate` waits in all, for another migrator and for busy tables."""

_LOCK = 0x6B6C696E67
_LOOK_EVERY = 0.25
_TABLE_BUSY = "55P03"
_READ_ONLY = "25006"
_INSTALLED = "share/kling-relay/alembic/env.py"


class MigrationError(Exception):
    """The schema could not be brought to where it should be."""


def scripts() -> Path:
    """Return the directory of the scripts: beside the package in a source tree, else where the wheel put them."""
    beside = Path(__file__).parents[4] / "alembic"
    if (beside / "env.py").exists():
        return beside
    for path in metadata.files("kling-relay") or []:
        if path.as_posix().endswith(_INSTALLED):
            return Path(str(path.locate())).resolve().parent
    raise MigrationError("The migration scripts are not installed.")


def configuration() -> Config:
    """Return what Alembic's commands need, apart from a connection in `attributes["connection"]`."""
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def head() -> str | None:
    """Return the newest revision that this release knows."""
    return ScriptDirectory.from_config(configuration()).get_current_head()


async def current(database_url: str) -> str | None:
    """Return the database's revision, None where it has none; raises what asyncpg raises where it cannot be asked."""
    connection = await connect_once(database_url)
    try:
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close()
    return revision


async def is_ready(database_url: str) -> bool:
    """Say whether this release can work on the database: at our head, or further than we know (a newer release's)."""
    revision = await current(database_url)
    if revision is None:
        return False
    known = {script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()}
    return revision == head() or revision not in known


async def wait(database_url: str, within: float) -> None:
    """Wait until somebody else has migrated; raises MigrationError after `within` seconds with the last reason."""
    deadline = time.monotonic() + within
    while True:
        try:
            if await is_ready(database_url):
                return
            reason = f"its schema is not yet at {head()}"
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            reason = f"{type(error).__name__}: {error}"
        if time.monotonic() > deadline:
            raise MigrationError(f"The database was not ready within {within:g} s: {reason}")
        await asyncio.sleep(_LOOK_EVERY)


async def migrate(database_url: str, to: str = "head", patience: float = PATIENCE) -> None:
    """Bring the database up to revision `to`; does nothing where it is there, or further than this release knows.

    Raises MigrationError where other migrators or busy tables do not make way within `patience` seconds.
    """
    if to == "head" and await is_ready(database_url):
        return
    await _command(database_url, lambda config: command.upgrade(config, to), patience)


async def downgrade(database_url: str, to: str, patience: float = PATIENCE) -> None:
    """Take the database back to revision `to` ("base" for nothing at all), losing what only newer ones hold."""
    await _command(database_url, lambda config: command.downgrade(config, to), patience)


async def _command(database_url: str, act: Callable[[Config], None], patience: float) -> None:
    async def once(left: float) -> None:
        async with locked_connection(database_url, left) as connection:
            await connection.run_sync(lambda sync: act(_on(sync)))

    await patiently(once, patience)


async def patiently(act: Callable[[float], Awaitable[Result]], patience: float) -> Result:
    """Return what `act` does as soon as tables make way and a recovering server takes writes.

    `act` gets the seconds that are left. Raises what it raised last after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return await act(deadline - time.monotonic())
        except DBAPIError as error:
            reason = getattr(error.orig, "sqlstate", None)
            if reason not in {_TABLE_BUSY, _READ_ONLY}:
                raise
            if time.monotonic() > deadline:
                if reason == _READ_ONLY:
                    raise MigrationError(
                        "The database takes no writes: it is a replica, or still recovering."
                    ) from error
                raise
            await asyncio.sleep(_LOOK_EVERY)


def _on(connection: object) -> Config:
    config = configuration()
    config.attributes["connection"] = connection
    return config


@asynccontextmanager
async def locked_connection(database_url: str, patience: float = PATIENCE) -> AsyncIterator[AsyncConnection]:
    """Yield a connection to migrate on, while a second one's transaction keeps every other migrator out."""
    engine = _engine(database_url)
    try:
        async with engine.connect() as guard, engine.connect() as connection:
            await _exclude_others(guard, patience)
            yield connection
    finally:
        await engine.dispose()


def _engine(database_url: str) -> AsyncEngine:
    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(database_url, statement_cache_size=0)

    # asyncpg reads the address itself, so that it means the same here and in the service's own pool. Statements
    # have names of their own: behind a pooler another client may have left one of the usual names.
    engine = create_async_engine(
        "postgresql+asyncpg://?prepared_statement_cache_size=0",
        async_creator=connect,
        poolclass=NullPool,
        connect_args={"prepared_statement_name_func": lambda: f"migrate_{secrets.token_hex(8)}"},
    )

    @event.listens_for(engine.sync_engine, "begin")
    def bound_waiting(connection: object) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")  # type: ignore[attr-defined]

    return engine


async def _exclude_others(guard: AsyncConnection, patience: float) -> None:
    """Take the migrators' lock for as long as `guard`'s transaction lasts.

    Asked for again and again, never waited for: a waiting statement holds a snapshot, and CREATE INDEX
    CONCURRENTLY in the migrator that has the lock would wait for that for ever.
    """
    deadline = time.monotonic() + patience
    while True:
        await guard.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        if (await guard.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({_LOCK})")).scalar_one():
            await _without_snapshot(guard)
            return
        await guard.rollback()
        if time.monotonic() > deadline:
            raise MigrationError("Another migration is running, and did not end in time.")
        await asyncio.sleep(_LOOK_EVERY)


async def _without_snapshot(guard: AsyncConnection) -> None:
    """Let go of the snapshot of the last statement, which its portal keeps until another takes the portal's place.

    CREATE INDEX CONCURRENTLY in the same migrator would wait for it for ever. A statement without arguments, given to
    the driver itself, goes by the simple protocol, which leaves no portal.
    """
    driver = (await guard.get_raw_connection()).driver_connection
    assert driver is not None
    await driver.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
