"""A PostgreSQL for one test, with fsync on, that the test may stop and kill; and a standby that follows it."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from kling_relay.store.embedded import server as embedded
from kling_relay.store.embedded.server import Server, acquire
from tests.support.postgres import copied_cluster
from tests.support.waiting import eventually


@asynccontextmanager
async def cluster() -> AsyncIterator[Server]:
    """Yield a server with the schema in its database, and remove it at the end."""
    server = await asyncio.to_thread(_made)
    try:
        yield server
    finally:
        await asyncio.to_thread(_gone, server)


def _made() -> Server:
    directory = Path(tempfile.mkdtemp(prefix="kling-relay-faults-"))
    directory.chmod(0o711)
    return acquire(copied_cluster(directory, "fsync = on"))


def _gone(server: Server) -> None:
    server.release()
    shutil.rmtree(server.cluster.parent, ignore_errors=True)


async def killed(server: Server) -> None:
    """Stop it as a power cut would (`immediate`)."""
    await asyncio.to_thread(embedded._stop, server.cluster, server.account, "immediate")


async def back(server: Server) -> None:
    """Start it again; it first replays its log."""
    await asyncio.to_thread(embedded._start, server.cluster, server.account)


@asynccontextmanager
async def standby(primary: Server) -> AsyncIterator[Server]:
    """Yield a hot standby of `primary`, and stop it at the end. Its files are removed with those of `primary`."""
    follower = await asyncio.to_thread(_copied, primary)
    try:
        yield follower
    finally:
        await killed(follower)


def _copied(primary: Server) -> Server:
    account, target = primary.account, primary.cluster.with_name("standby")
    target.mkdir(mode=0o700)
    if account:
        os.chown(target, account.uid, account.gid)
    source = ("--host", str(primary.socket_directory), "--username", embedded.OWNER, "--checkpoint", "fast")
    embedded._run(
        account, "pg_basebackup", *source, "--pgdata", str(target), "--wal-method", "stream", "--write-recovery-conf"
    )
    embedded._start(target, account)
    return Server(target, embedded._socket_directory(target, account), account, lock=-1)


async def caught_up(primary: Server) -> None:
    """Wait until the standby of `primary` has replayed everything."""
    connection = await asyncpg.connect(primary.url())
    try:
        await eventually(
            lambda: connection.fetchval(
                "SELECT bool_and(replay_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication WHERE state = 'streaming'"
            )
        )
    finally:
        await connection.close()


async def promoted(follower: Server) -> None:
    """Make a standby the primary."""
    await asyncio.to_thread(
        embedded._run, follower.account, "pg_ctl", "promote", "--wait", "--silent", "--pgdata", str(follower.cluster)
    )


async def stopped(server: Server) -> None:
    """Stop it after its standby has received everything (`fast`)."""
    await asyncio.to_thread(embedded._stop, server.cluster, server.account, "fast")


async def back_as_standby(server: Server) -> None:
    """Start a stopped primary again as a standby, as an operator of a cluster does with the former one."""
    (server.cluster / "standby.signal").touch()
    await back(server)


async def set_read_only(server: Server, state: str) -> None:
    """Do what a managed PostgreSQL does when its disk is nearly full ("on") or has room again ("off")."""
    connection = await asyncpg.connect(server.url())
    try:
        await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {state}")
        await connection.execute("SELECT pg_reload_conf()")
        await eventually(lambda: _is_set(server, state))
    finally:
        await connection.close()


async def _is_set(server: Server, state: str) -> bool:
    connection = await asyncpg.connect(server.url())
    try:
        return bool(await connection.fetchval("SHOW transaction_read_only") == state)
    finally:
        await connection.close()
