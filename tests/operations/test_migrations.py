"""Migrations keep rows, do not block readers, and leave a schema that the previous release works on."""

import asyncio
import os
import subprocess
import sys

import aiohttp
import asyncpg
import pytest
from alembic.script import ScriptDirectory

from kling_relay.app.serving import listening
from kling_relay.store.embedded.server import Server
from kling_relay.store.schema.migrate import configuration, current, downgrade, head, migrate
from tests.support.paths import ROOT
from tests.support.postgres import fresh_database
from tests.support.processes import fleet
from tests.support.releases import code_of, newest_tag
from tests.support.service import KEY, SIGNING, running, sandboxed, subscriber
from tests.support.waiting import eventually

TAG = newest_tag()
TABLES = (
    "tasks",
    "events",
    "callbacks",
    "attempts",
    "subscriptions",
    "ledger",
    "keys",
    "clients",
    "submissions",
    "database_info",
)


def revisions() -> list[str]:
    """Return every revision but the first, newest first."""
    return [script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()][:-1]


async def counts(database: str) -> dict[str, int]:
    connection = await asyncpg.connect(database)
    try:
        return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}
    finally:
        await connection.close()


async def test_every_revision_is_downgraded_and_upgraded_without_losing_rows(database: str) -> None:
    async with sandboxed() as (_, provider), subscriber() as other:
        async with running(database, provider) as relay:
            await relay.subscribe(other.url)
            tasks = [await relay.submit() for _ in range(3)]
            for task in tasks:
                await relay.final(task)
            log = [event for task in tasks for event in await relay.events(task)]
            await eventually(lambda: len(other.ids()) == len(log))
        before = await counts(database)
        assert min(before[table] for table in TABLES if table != "submissions") > 0
        for depth in range(1, len(revisions()) + 1):
            await downgrade(database, f"-{depth}")
            assert await current(database) != head()
            await migrate(database)
            assert await counts(database) == before
        async with running(database, provider) as relay:
            assert [event["id"] for task in tasks for event in await relay.events(task)] == [each["id"] for each in log]
            assert (await relay.final(await relay.submit()))["task_status"] == "succeed"


async def test_a_reader_delays_a_migration_but_not_the_readers_behind_it(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=2, max_size=4) as pool:
        async with pool.acquire() as reader:
            reading = reader.transaction()
            await reading.start()
            for table in TABLES:
                await reader.fetchval(f"SELECT count(*) FROM {table}")
            migrating = asyncio.ensure_future(downgrade(database, "base", max_wait=60, lock_timeout=0.1))
            await eventually(lambda: _is_waiting(pool))
            for _ in range(20):
                async with asyncio.timeout(2):
                    assert await pool.fetchval("SELECT count(*) FROM tasks") == 0
            assert not migrating.done()
            await reading.rollback()
        await migrating
        assert await current(database) is None


async def _is_waiting(pool: "asyncpg.Pool[asyncpg.Record]") -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(await pool.fetchval(waiting))


async def test_a_migration_that_cannot_lock_its_table_is_rolled_back(database: str) -> None:
    await downgrade(database, "0007")  # each script is a transaction: those behind 0007 would go through
    holder = await asyncpg.connect(database)
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE pending_deliveries IN ACCESS SHARE MODE")
            with pytest.raises(Exception, match="lock timeout"):
                await downgrade(database, "0006", max_wait=0.3, lock_timeout=0.05)
            assert await current(database) == "0007"
            assert await counts(database)
    finally:
        await holder.close()


async def test_two_concurrent_migrate_commands_both_succeed(postgres: Server) -> None:
    async with fresh_database(postgres, template="template0") as url:
        codes = await asyncio.gather(*(command(url, "migrate") for _ in range(2)))
        assert codes == [0, 0]
        assert await current(url) == head()


async def command(database: str, *arguments: str) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "kling_relay",
        *arguments,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "RELAY_DATABASE_URL": database, "RELAY_SIGNING_KEYS": SIGNING},
        stderr=subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    return process.returncode


@pytest.mark.skipif(TAG is None, reason="there is no release before this one yet: no tag v… in git")
async def test_the_release_before_this_one_works_on_the_new_schema(database: str) -> None:
    assert TAG
    await lives_on(TAG, database)


async def lives_on(reference: str, database: str) -> None:
    """Submit an order, and have its events delivered, with the code of `reference`."""
    with listening("127.0.0.1", 0) as held:
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        async with sandboxed() as (_, provider), subscriber() as other, code_of(reference) as code:
            settings = {
                "RELAY_PORT": url.rsplit(":", 1)[1],
                "RELAY_METRICS_PORT": "0",
                "RELAY_DATABASE_URL": database,
                "RELAY_PROVIDER_URL": provider,
                "RELAY_PROVIDER_KEY": "hk-sandbox",
                "RELAY_SIGNING_KEYS": SIGNING,
                "RELAY_BOOTSTRAP_KEY": KEY,
                "RELAY_ALLOWED_NETWORKS": "127.0.0.0/8",
            }
            headers = {"Authorization": f"Bearer {KEY}"}
            async with fleet(settings, code) as all_of_them, aiohttp.ClientSession(headers=headers) as client:
                await all_of_them.start("up")
                async with client.post(f"{url}/v1/subscriptions", json={"url": other.url, "events": ["*"]}) as said:
                    assert said.status == 201
                async with client.post(f"{url}/kling/v1/videos/text2video", json={"prompt": "a rabbit"}) as said:
                    assert said.status == 200
                await eventually(lambda: any(heard.json["type"] == "task.succeed" for heard in other.heard), 20)
    assert await current(database) == head()
