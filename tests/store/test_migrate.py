"""Migrations are safe to run twice at once, and never wait for long."""

import asyncio

import asyncpg
import pytest
from alembic.script import ScriptDirectory

from kling_relay.store.embedded.server import Server
from kling_relay.store.schema.migrate import (
    MigrationError,
    configuration,
    current,
    downgrade,
    head,
    is_ready,
    locked_connection,
    migrate,
    revisions,
    scripts,
    wait_until_ready,
)
from tests.support.postgres import fresh_database


async def test_the_template_database_is_at_the_newest_revision(database: str) -> None:
    assert await current(database) == head() is not None
    assert await is_ready(database)
    await wait_until_ready(database, max_wait=1)


def test_the_revisions_that_a_release_knows_are_those_of_alembic() -> None:
    known = ScriptDirectory.from_config(configuration())
    assert revisions() == [script.revision for script in known.walk_revisions()][::-1]
    assert head() == known.get_current_head()


@pytest.mark.long
async def test_several_migrators_at_once_all_succeed(postgres: Server) -> None:
    async with fresh_database(postgres, template="template0") as url:
        assert await current(url) is None
        await asyncio.gather(*(migrate(url) for _ in range(4)), wait_until_ready(url, max_wait=60))
        assert await current(url) == head()


async def test_the_schema_is_downgraded_to_nothing_and_upgraded_again(database: str) -> None:
    await downgrade(database, "base")
    assert not await is_ready(database)
    await migrate(database)
    assert await is_ready(database)


async def test_a_newer_releases_schema_is_left_alone_and_counts_as_ready(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("UPDATE alembic_version SET version_num = 'from_next_year'")
    await connection.close()
    await migrate(database)
    assert await current(database) == "from_next_year"
    assert await is_ready(database)


async def test_a_migrator_that_never_gets_the_lock_raises(postgres: Server) -> None:
    async with fresh_database(postgres, template="template0") as url, locked_connection(url):
        with pytest.raises(MigrationError, match="Another migration"):
            await migrate(url, max_wait=0.3)


async def test_waiting_for_a_database_that_is_never_migrated_raises_with_the_reason(postgres: Server) -> None:
    async with fresh_database(postgres, template="template0") as url:
        with pytest.raises(MigrationError, match="not yet at"):
            await wait_until_ready(url, max_wait=0.1)
    with pytest.raises(MigrationError, match="does not exist"):
        await wait_until_ready(url, max_wait=0.1)


def test_the_scripts_are_beside_the_package_in_a_source_tree() -> None:
    assert (scripts() / "env.py").exists()
