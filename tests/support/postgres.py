"""One PostgreSQL per test run, shared by its processes, and a database per test."""

import asyncio
import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from kling_relay.store.embedded.server import EmbeddedError, Server, _locked, _start, _stop, acquire
from kling_relay.store.schema import partitions
from kling_relay.store.schema.migrate import migrate

TEMPLATE = "relay_template"
_PREFIX = "kling-relay-tests-"
_ABANDONED_AFTER = 3600.0
_FASTER = {
    "fsync": "off",  # these databases need not survive a crash
    "shared_buffers": "64MB",
    "max_wal_size": "1GB",
    "autovacuum_naptime": "5min",
    "log_min_messages": "fatal",
}

_numbers = itertools.count(1)
Result = TypeVar("Result")


@contextmanager
def shared_postgres(run: str) -> Iterator[Server]:
    """Start or join the PostgreSQL of the test run named `run`, with the migrated template in it.

    The last process to leave stops it and removes its files; files of killed runs are removed after an hour.
    """
    directory = Path(tempfile.gettempdir()) / f"{_PREFIX}{run}"
    with _one_at_a_time():
        directory.mkdir(mode=0o711, exist_ok=True)
        _remove_abandoned(directory.stat().st_mtime - _ABANDONED_AFTER)
        server = acquire(directory, _FASTER)
        try:
            _apart(_make_template(server))
        except BaseException:
            _leave(server, directory)
            raise
    try:
        yield server
    finally:
        with _one_at_a_time():
            _leave(server, directory)


def _leave(server: Server, directory: Path) -> None:
    server.release()
    if not (server.cluster / "postmaster.pid").exists():
        shutil.rmtree(directory, ignore_errors=True)


def restart(server: Server, mode: str = "fast") -> None:
    """Stop the server in `mode` (pg_ctl's smart, fast, immediate) and start it again, while others use it."""
    with _locked(server.cluster):
        _stop(server.cluster, server.account, mode)
        _start(server.cluster, server.account)


@asynccontextmanager
async def fresh_database(server: Server, *, template: str = TEMPLATE) -> AsyncIterator[str]:
    """Yield the address of a new database cloned from `template`; drop it afterwards, with its connections."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    admin = await asyncpg.connect(server.url("postgres"))
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        try:
            yield server.url(name)
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


async def _make_template(server: Server) -> None:
    admin = await asyncpg.connect(server.url("postgres"))
    try:
        if await admin.fetchval("SELECT datistemplate FROM pg_database WHERE datname = $1", TEMPLATE):
            return
        await admin.execute(f"CREATE DATABASE {TEMPLATE}")
        await migrate(server.url(TEMPLATE))
        await _make_partitions(server.url(TEMPLATE))
        await admin.execute(f"ALTER DATABASE {TEMPLATE} IS_TEMPLATE true")
    finally:
        await admin.close()


async def _make_partitions(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await partitions.create_missing(connection, datetime.now(UTC), timedelta(days=90))
    finally:
        await connection.close()


def _apart(work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work` in the event loop of another thread, because the test has one of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with (Path(tempfile.gettempdir()) / f"kling-relay-lock-{os.geteuid()}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_abandoned(before: float) -> None:
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if directory.stat().st_mtime > before:
                continue
            with (directory / "postgresql.users").open("r+") as users:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            acquire(directory).release()
        except (OSError, EmbeddedError):  # in use, another user's, or just removed
            continue
        shutil.rmtree(directory, ignore_errors=True)
