"""Debian's PgBouncer in transaction mode, with fewer server connections than clients."""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import asyncpg

from kling_relay.store.embedded.server import OWNER, Server
from tests.support.waiting import eventually

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
MISSING = "PgBouncer is not installed here (Debian: apt-get install pgbouncer)"
_PORT = 6432
"""Part of the name of a socket in a private directory, so it cannot be in use."""


def _settings(server: Server, place: Path, size: int) -> str:
    return f"""
[databases]
* = host={server.socket_directory} user={OWNER}
[pgbouncer]
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
auth_type = any
listen_port = {_PORT}
unix_socket_dir = {place}
logfile = {place}/log
pidfile = {place}/pid
"""


@asynccontextmanager
async def pgbouncer(server: Server, database: str, size: int = 2) -> AsyncIterator[str]:
    """Yield an address of `database` through a PgBouncer with `size` server connections."""
    assert PROGRAM
    place = Path(tempfile.mkdtemp(prefix="relay-bouncer-"))
    account = server.account
    try:
        (place / "pgbouncer.ini").write_text(_settings(server, place, size))
        if account:
            os.chown(place, account.uid, account.gid)
            (place / "pgbouncer.ini").chmod(0o644)
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            "-q",
            str(place / "pgbouncer.ini"),
            user=account.uid if account else None,
            group=account.gid if account else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            await eventually(lambda: _listens(place / f".s.PGSQL.{_PORT}"))
            name = unquote(urlsplit(database).path.lstrip("/"))
            yield f"postgresql://{OWNER}@/{name}?host={quote(str(place), safe='')}&port={_PORT}"
        finally:
            process.terminate()
            await process.wait()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _listens(socket_path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as caller:
        try:
            caller.connect(str(socket_path))
        except OSError:
            return False
    return True


async def server_connections(address: str) -> int:
    """Return how many connections PgBouncer has to the server."""
    connection = await asyncpg.connect(address, statement_cache_size=0)
    try:
        rows = (
            "SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(await connection.fetchval(rows))
    finally:
        await connection.close()
