"""One PostgreSQL for each process of a test run, and a database per test."""

import asyncio
import fcntl
import itertools
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from kling_relay.store.embedded.server import DATABASE, Server, _locked, _start, _stop, acquire
from kling_relay.store.schema import partitions
from kling_relay.store.schema.migrate import migrate

TEMPLATE = "relay_template"
_FASTER = {
    "fsync": "off",  # these databases need not survive a crash
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    "autovacuum_naptime": "5min",
    "log_min_messages": "fatal",
}

_numbers = itertools.count(1)
Result = TypeVar("Result")


@contextmanager
def own_postgres(name: str) -> Iterator[Server]:
    """Run a PostgreSQL with the migrated template until the end of the block, in the directory of the run."""
    server = acquire(copied_cluster(Path(tempfile.gettempdir()) / name))
    try:
        yield server
    finally:
        server.release()


def copied_cluster(directory: Path, *settings: str) -> Path:
    """Copy the run's pattern of a cluster to `directory`, with more settings; the first process of a run makes it.

    Its database `relay` and the template have the schema.
    """
    pattern = Path(tempfile.gettempdir()) / "pattern"
    with pattern.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not pattern.exists():
            _make_pattern(pattern)
    directory.mkdir(mode=0o711, exist_ok=True)
    subprocess.run(["cp", "-a", pattern / "postgresql", directory], check=True)  # keeps the owner of the files
    with (directory / "postgresql" / "postgresql.conf").open("a") as file:
        file.writelines(f"{setting}\n" for setting in settings)
    return directory


def _make_pattern(pattern: Path) -> None:
    unfinished = pattern.with_suffix(".new")
    unfinished.mkdir(mode=0o711)
    server = acquire(unfinished, _FASTER)
    try:
        _apart(_make_template(server))
    finally:
        server.release()
    unfinished.rename(pattern)


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
        await admin.execute(f"CREATE DATABASE {TEMPLATE}")
        await migrate(server.url(TEMPLATE))
        await _make_partitions(server.url(TEMPLATE))
        await admin.execute(f"ALTER DATABASE {TEMPLATE} IS_TEMPLATE true")
        await admin.execute(f"DROP DATABASE {DATABASE}")
        await admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE {TEMPLATE}")
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
