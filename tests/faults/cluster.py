"""A PostgreSQL for one test, with fsync on, that the test may stop and kill."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from kling_relay.store.embedded import server as embedded
from kling_relay.store.embedded.server import Server, acquire
from kling_relay.store.schema import partitions
from kling_relay.store.schema.migrate import migrate

_OPTIONS = {"shared_buffers": "64MB", "max_wal_size": "1GB", "log_min_messages": "fatal", "fsync": "on"}


@asynccontextmanager
async def cluster() -> AsyncIterator[Server]:
    """Yield a server with the schema in its database, and remove it at the end."""
    server = await asyncio.to_thread(_made)
    try:
        await migrate(server.url())
        connection = await asyncpg.connect(server.url())
        try:
            await partitions.create_missing(connection, datetime.now(UTC), timedelta(days=90))
        finally:
            await connection.close()
        yield server
    finally:
        await asyncio.to_thread(_gone, server)


def _made() -> Server:
    directory = Path(tempfile.mkdtemp(prefix="kling-relay-faults-"))
    directory.chmod(0o711)
    return acquire(directory, _OPTIONS)


def _gone(server: Server) -> None:
    server.release()
    shutil.rmtree(server.cluster.parent, ignore_errors=True)


async def killed(server: Server) -> None:
    """Stop it as a power cut would (`immediate`)."""
    await asyncio.to_thread(embedded._stop, server.cluster, server.account, "immediate")


async def back(server: Server) -> None:
    """Start it again; it first replays its log."""
    await asyncio.to_thread(embedded._start, server.cluster, server.account)
