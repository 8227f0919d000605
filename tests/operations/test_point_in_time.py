"""Point-in-time recovery as in docs/operations.md: to the moment before a mistake, and on from there."""

import asyncio
import os
from datetime import datetime
from pathlib import Path

import asyncpg

from kling_relay.app.database import prepare_database
from kling_relay.store.embedded.server import Server
from tests.support.backup import own_place, own_server, postgres_program
from tests.support.service import running, sandboxed, settings_for
from tests.support.waiting import eventually

ARCHIVING = {
    "wal_level": "replica",
    "archive_mode": "on",
    "archive_command": "cp %p {archive}/%f",
    "summarize_wal": "off",
}


async def moment(server: Server) -> datetime:
    connection = await asyncpg.connect(server.url())
    try:
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    finally:
        await connection.close()
    return now


async def make_the_mistake(server: Server) -> None:
    """Delete every event, and make sure that the write-ahead log of it is archived."""
    connection = await asyncpg.connect(server.url())
    try:
        await connection.execute("DELETE FROM events")
        await connection.execute("SELECT pg_switch_wal()")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def owned(server: Server, directory: Path) -> Path:
    """Create a directory that PostgreSQL's account owns."""
    directory.mkdir(mode=0o700)
    if server.account:
        os.chown(directory, server.account.uid, server.account.gid)
    return directory


def recover_until(cluster: Path, archive: Path, at: datetime) -> None:
    """Set where a base backup finds the log and when it stops; PostgreSQL recovers when it starts."""
    with (cluster / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"archive_mode = off\nrestore_command = 'cp {archive}/%f %p'\n")
        settings.write(f"recovery_target_time = '{at.isoformat()}'\nrecovery_target_action = promote\n")
    (cluster / "recovery.signal").touch()


async def test_a_database_is_recovered_to_the_moment_before_a_mistake_and_used_on() -> None:
    async with own_place() as place, sandboxed() as (_, provider):
        archive = place / "archive"
        options = {name: value.format(archive=archive) for name, value in ARCHIVING.items()}
        async with own_server(place / "old", options) as old:
            await asyncio.to_thread(owned, old, archive)
            base = await asyncio.to_thread(owned, old, place / "new") / "postgresql"
            await prepare_database(old.url(), settings_for(old.url(), provider))
            await postgres_program(
                old, "pg_basebackup", "--pgdata", str(base), "--checkpoint=fast", "--dbname", old.url()
            )
            async with running(old.url(), provider) as relay:
                task = await relay.submit()
                assert (await relay.final(task))["task_status"] == "succeed"
                kept = await relay.events(task)
            before = await moment(old)
            await make_the_mistake(old)
        await asyncio.to_thread(recover_until, base, archive, before)
        async with own_server(place / "new") as new:
            await prepare_database(new.url(), settings_for(new.url(), provider), restored=True)
            async with running(new.url(), provider) as relay:
                assert (await relay.task(task))["task_status"] == "succeed"
                assert await relay.events(task) == kept
                another = await relay.submit()
                assert (await relay.final(another))["task_status"] == "succeed"

                async def told_of() -> set[str]:
                    _, page = await relay.call("GET", f"/v1/events?after={kept[-1]['cursor']}")
                    return {event["data"]["task_id"] for event in page["data"]}

                assert await eventually(told_of) == {another}
