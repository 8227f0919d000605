"""The database that benchmarks run on: a PostgreSQL of their own, and a fresh database for each round."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from kling_relay.store.embedded.server import Server, embedded
from kling_relay.store.schema import partitions
from kling_relay.store.schema.migrate import migrate

TEMPLATE = "bench_template"
BARE_TEMPLATE = "bench_bare"
"""The schema without partitions."""
_POLL_INTERVAL = 0.05
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Environment:
    """A running PostgreSQL with the service's own settings for it, fsync included."""

    server: Server
    directory: Path
    template: str = TEMPLATE

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """Give the address of a fresh database with the schema and its partitions; it is dropped afterwards."""
        name = f"bench_{next(_numbers)}"
        admin = await asyncpg.connect(self.server.url("postgres"))
        try:
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE {self.template} STRATEGY file_copy", timeout=3600)
            yield self.server.url(name)
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await admin.execute("CHECKPOINT")  # or the next round pays for the dirty pages of this one
        finally:
            await admin.close()

    def cpu(self) -> float:
        """Return the seconds of CPU that PostgreSQL has used, including its processes that have ended."""
        postmaster = psutil.Process(int((self.server.cluster / "postmaster.pid").read_text().split()[0]))
        total = 0.0
        for process in (postmaster, *postmaster.children()):
            with suppress(psutil.NoSuchProcess):  # it just ended; the postmaster has its time
                times = process.cpu_times()
                total += times.user + times.system
        ended = postmaster.cpu_times()
        return total + ended.children_user + ended.children_system


@asynccontextmanager
async def open_environment() -> AsyncIterator[Environment]:
    """Start a PostgreSQL in a temporary directory with a migrated template, and remove it afterwards."""
    directory = _make_directory()
    try:
        async with embedded(directory) as server:
            admin = await asyncpg.connect(server.url("postgres"))
            try:
                await admin.execute(f"CREATE DATABASE {BARE_TEMPLATE}")
                await migrate(server.url(BARE_TEMPLATE))
                await admin.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE {BARE_TEMPLATE}")
                connection = await asyncpg.connect(server.url(TEMPLATE))
                await partitions.create_missing(connection, datetime.now(UTC), timedelta(days=90))
                await connection.close()
            finally:
                await admin.close()
            yield Environment(server, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _make_directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="kling-relay-bench-"))
    directory.chmod(0o711)  # as root, PostgreSQL runs under another account
    return directory


@asynccontextmanager
async def hold_transaction(url: str) -> AsyncIterator[None]:
    """Hold a transaction with a snapshot and a transaction number open until the end of the block."""
    connection = await asyncpg.connect(url, server_settings={"idle_in_transaction_session_timeout": "0"})
    try:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await connection.fetchval("SELECT pg_current_xact_id()::text || count(*) FROM pending_deliveries")
        yield
    finally:
        await connection.close()


async def wait_until(url: str, sql: str, arguments: Sequence[Any], target: int, within: float) -> None:
    """Wait until the number that `sql` returns is at least `target`. Raises RuntimeError with the number if late."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    connection = await asyncpg.connect(url)
    try:
        while (number := await connection.fetchval(sql, *arguments)) < target:
            if loop.time() > deadline:
                raise RuntimeError(f"{number} of {target} within {within:g} s: {sql}")
            await asyncio.sleep(_POLL_INTERVAL)
    finally:
        await connection.close()
