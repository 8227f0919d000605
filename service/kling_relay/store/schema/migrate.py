"""Migrations of the schema: safe to run twice at once, and never in the way of the service for long.

A script waits at most LOCK_TIMEOUT for a table, so that no queries pile up behind it; then it is rolled back and tried
again. Migrators exclude each other by a lock that also works behind PgBouncer in transaction mode.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import asyncpg
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from kling_relay.store.postgres.database import connect_once

if TYPE_CHECKING:  # they take 11 MB, which most processes never need: their schema is the newest
    from alembic.config import Config
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

Result = TypeVar("Result")

LOCK_TIMEOUT = 3.0
"""Seconds that a script waits for a table."""
MAX_WAIT = 120.0
"""Seconds that `migrate` waits in total, for another migrator and for busy tables."""

_LOCK = 0x6B6C696E67
_RETRY_AFTER = 0.25
_LOCK_NOT_AVAILABLE = "55P03"
_READ_ONLY = "25006"
_INSTALLED = "share/kling-relay/alembic/env.py"


class MigrationError(Exception):
    """The schema could not be migrated."""


def scripts() -> Path:
    """Return the directory of the scripts: beside the package in a source tree, else where the wheel put them."""
    beside = Path(__file__).parents[4] / "alembic"
    if (beside / "env.py").exists():
        return beside
    for path in metadata.files("kling-relay") or []:
        if path.as_posix().endswith(_INSTALLED):
            return Path(str(path.locate())).resolve().parent
    raise MigrationError("The migration scripts are not installed: install kling-relay again, with its data files.")


def configuration() -> "Config":
    """Return what Alembic's commands need, except for a connection in `attributes["connection"]`."""
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def revisions() -> list[str]:
    """Return the revisions that this release knows, oldest first: the numbers that the scripts' names begin with."""
    return sorted(path.name.partition("_")[0] for path in (scripts() / "versions").glob("[0-9]*.py"))


def head() -> str:
    """Return the newest revision that this release knows."""
    return revisions()[-1]


async def current(database_url: str) -> str | None:
    """Return the database's revision, or None if it has none; raises the driver's errors."""
    connection = await connect_once(database_url)
    try:
        return await current_on(connection)
    finally:
        await connection.close()


async def current_on(connection: asyncpg.Connection) -> str | None:
    """Return the revision of the database that `connection` leads to, or None; raises the driver's errors."""
    try:
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    return revision


async def is_ready(database_url: str) -> bool:
    """Return whether this release can use the database: it is at our head, or at a newer release's revision."""
    return is_usable(await current(database_url))


def is_usable(revision: str | None) -> bool:
    """Return whether this release can use a schema at `revision`: it is our head, or of a newer release."""
    if revision is None:
        return False
    return revision == head() or revision not in revisions()


async def wait_until_ready(database_url: str, max_wait: float) -> None:
    """Wait until another process has migrated; raises MigrationError with the last reason after `max_wait` seconds."""
    deadline = time.monotonic() + max_wait
    while True:
        try:
            if await is_ready(database_url):
                return
            reason = f"its schema is not yet at {head()}; `kling-relay migrate` brings it there"
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            reason = f"{type(error).__name__}: {error}"
        if time.monotonic() > deadline:
            raise MigrationError(f"The database was not ready within {max_wait:g} s: {reason}")
        await asyncio.sleep(_RETRY_AFTER)


async def migrate(database_url: str, to: str = "head", max_wait: float = MAX_WAIT) -> None:
    """Upgrade the database to revision `to`; does nothing if it is there, or further than this release knows.

    Raises MigrationError if another migrator is still running after `max_wait` seconds, DBAPIError if tables are busy.
    """
    if to == "head" and await is_ready(database_url):
        return
    from alembic import command  # noqa: PLC0415

    await _run(database_url, lambda config: command.upgrade(config, to), max_wait)


async def downgrade(
    database_url: str, to: str, max_wait: float = MAX_WAIT, *, lock_timeout: float = LOCK_TIMEOUT
) -> None:
    """Downgrade the database to revision `to` ("base" for an empty one); what only newer revisions hold is lost."""
    from alembic import command  # noqa: PLC0415

    await _run(database_url, lambda config: command.downgrade(config, to), max_wait, lock_timeout)


async def _run(
    database_url: str, alembic_command: "Callable[[Config], None]", max_wait: float, lock_timeout: float = LOCK_TIMEOUT
) -> None:
    async def attempt(seconds_left: float) -> None:
        async with locked_connection(database_url, seconds_left, lock_timeout) as connection:
            await connection.run_sync(lambda sync: alembic_command(_with_connection(sync)))

    await retry_while_busy(attempt, max_wait)


async def retry_while_busy(attempt: Callable[[float], Awaitable[Result]], max_wait: float) -> Result:
    """Call `attempt` with the seconds left, until no table is locked and the server accepts writes; return its result.

    After `max_wait` seconds the last error is raised, as MigrationError if the server is read-only.
    """
    deadline = time.monotonic() + max_wait
    while True:
        try:
            return await attempt(deadline - time.monotonic())
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None)
            if state not in {_LOCK_NOT_AVAILABLE, _READ_ONLY}:
                raise
            if time.monotonic() > deadline:
                if state == _READ_ONLY:
                    raise MigrationError(
                        "The database accepts no writes: it is a replica, or still recovering. Wait until it is"
                        " promoted, or set RELAY_DATABASE_URL to the primary."
                    ) from error
                raise
            await asyncio.sleep(_RETRY_AFTER)


def _with_connection(connection: object) -> "Config":
    config = configuration()
    config.attributes["connection"] = connection
    return config


@asynccontextmanager
async def locked_connection(
    database_url: str, max_wait: float = MAX_WAIT, lock_timeout: float = LOCK_TIMEOUT
) -> "AsyncIterator[AsyncConnection]":
    """Yield a connection to migrate on, while a second one holds the migrators' lock."""
    engine = _engine(database_url, lock_timeout)
    try:
        async with engine.connect() as guard, engine.connect() as connection:
            await _lock_out_others(guard, max_wait)
            yield connection
    finally:
        await engine.dispose()


def _engine(database_url: str, lock_timeout: float = LOCK_TIMEOUT) -> "AsyncEngine":
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(database_url, statement_cache_size=0)

    # asyncpg itself parses the address, so that it means the same here and in the service's own pool. Prepared
    # statements get random names: behind a pooler, another client may have left one with a usual name.
    engine = create_async_engine(
        "postgresql+asyncpg://?prepared_statement_cache_size=0",
        async_creator=connect,
        poolclass=NullPool,
        connect_args={"prepared_statement_name_func": lambda: f"migrate_{secrets.token_hex(8)}"},
    )

    @event.listens_for(engine.sync_engine, "begin")
    def limit_lock_wait(connection: object) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{lock_timeout * 1000:.0f}ms'")  # type: ignore[attr-defined]

    return engine


async def _lock_out_others(guard: "AsyncConnection", max_wait: float) -> None:
    """Take the migrators' lock for as long as `guard`'s transaction lasts.

    It polls: a statement that waits holds a snapshot, and CREATE INDEX CONCURRENTLY in the migrator that has the lock
    would wait for that forever.
    """
    deadline = time.monotonic() + max_wait
    while True:
        await guard.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        if (await guard.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({_LOCK})")).scalar_one():
            await _release_snapshot(guard)
            return
        await guard.rollback()
        if time.monotonic() > deadline:
            raise MigrationError(
                f"Another migration is still running after {max_wait:.0f} s. Wait until it ends, then migrate again."
            )
        await asyncio.sleep(_RETRY_AFTER)


async def _release_snapshot(guard: "AsyncConnection") -> None:
    """Release the snapshot of the last statement, which its portal keeps until another portal replaces it.

    CREATE INDEX CONCURRENTLY in this very migrator would wait for it forever. A statement without arguments, given to
    the driver itself, uses the simple protocol, which leaves no portal.
    """
    driver = (await guard.get_raw_connection()).driver_connection
    assert driver is not None
    await driver.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
