"""Commands of docs/operations.md, as an operator types them."""

import asyncio

import asyncpg
from click.testing import CliRunner, Result

from kling_relay.cli.program import program
from tests.support.service import SIGNING, running, sandboxed

NEW = "the-next-signing-key-0123456789abcdef0123456789abc"


async def operate(database: str, *words: str, keys: str = SIGNING) -> Result:
    """Run a command in a thread, because it runs an event loop."""
    environment = {"RELAY_DATABASE_URL": database, "RELAY_SIGNING_KEYS": keys}
    result: Result = await asyncio.to_thread(CliRunner().invoke, program, words, env=environment)
    return result


async def test_keys_reencrypt_reports_its_counts(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider):
        pass
    first = await operate(database, "keys", "reencrypt", keys=f"{NEW},{SIGNING}")
    assert (first.exit_code, first.stdout) == (0, "2 re-encrypted, 0 already under the newest key.\n")
    again = await operate(database, "keys", "reencrypt", "--json", keys=f"{NEW},{SIGNING}")
    assert '"reencrypted": 0' in again.stdout
    lost = await operate(database, "keys", "reencrypt")
    assert lost.exit_code == 1
    assert "RELAY_SIGNING_KEYS" in lost.stderr


async def test_migrate_restored_marks_the_database_once_no_worker_runs(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider):
        refused = await operate(database, "migrate", "--restored")
        assert refused.exit_code == 1
        assert "Stop them all" in refused.stderr
    assert (await operate(database, "migrate", "--restored")).exit_code == 0
    connection = await asyncpg.connect(database)
    try:
        assert await connection.fetchval("SELECT tx_offset > 0 FROM database_info")
    finally:
        await connection.close()
    assert (await operate(database, "migrate", "--restored", "--wait")).exit_code == 2
