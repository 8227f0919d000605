"""A database that cannot be used is reported with its place and with what to do; only some commands make a database."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner, Result

from kling_relay.cli.program import program
from kling_relay.store.embedded.server import Server
from tests.support.postgres import fresh_database
from tests.support.service import SIGNING

ADMIN_COMMANDS = [
    ("keys", "list"),
    ("keys", "create", "me"),
    ("keys", "revoke", "me"),
    ("keys", "reencrypt"),
    ("bill",),
    ("budgets", "list"),
    ("budgets", "set", "me", "--total", "5"),
    ("reconcile",),
    ("migrate", "--wait"),
    ("api",),
    ("worker",),
]


async def command(*words: str, code: int, **settings: str) -> Result:
    """Run a command in a thread, because it runs an event loop; it never shows a traceback."""
    environment = {"RELAY_PORT": "0", "RELAY_METRICS_PORT": "0", **settings}
    result: Result = await asyncio.to_thread(CliRunner().invoke, program, words, env=environment)
    assert result.exit_code == code, result.output
    assert not {"Traceback", "bug"} & set(result.output.split())
    return result


@pytest.mark.parametrize("words", ADMIN_COMMANDS, ids=" ".join)
async def test_a_command_without_a_database_says_where_it_looked_and_makes_none(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    result = await command(*words, code=2, RELAY_DATA_DIR=str(tmp_path / "elsewhere"))
    assert f"There is no database in {tmp_path / 'elsewhere'}" in result.stderr
    assert "RELAY_DATA_DIR" in result.stderr
    assert not (tmp_path / "elsewhere").exists()


async def test_the_doctor_says_in_which_directory_there_is_no_database(tmp_path: Path) -> None:
    result = await command("doctor", code=0, RELAY_DATA_DIR=str(tmp_path / "elsewhere"))
    assert f"! database: the embedded PostgreSQL under {tmp_path / 'elsewhere'} does not exist yet" in result.stdout
    assert not (tmp_path / "elsewhere").exists()


@asynccontextmanager
async def database_with(postgres: Server, options: str) -> AsyncIterator[str]:
    admin = await asyncpg.connect(postgres.url("postgres"))
    try:
        await admin.execute(f"CREATE DATABASE odd TEMPLATE template0 {options}")
        yield postgres.url("odd")
    finally:
        await admin.execute("DROP DATABASE IF EXISTS odd WITH (FORCE)")
        await admin.close()


@pytest.mark.parametrize("words", [("api",), ("keys", "list"), ("worker",)], ids=" ".join)
async def test_a_database_without_the_schema_asks_for_the_migration(words: tuple[str, ...], postgres: Server) -> None:
    async with fresh_database(postgres, template="template0") as empty:
        result = await command(*words, code=1, RELAY_DATABASE_URL=empty, RELAY_SIGNING_KEYS=SIGNING)
    assert "The schema of the database at /" in result.stderr
    assert "is missing" in result.stderr
    assert "What to do: Run `kling-relay migrate`" in result.stderr


async def test_an_older_schema_asks_for_the_migration(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("UPDATE alembic_version SET version_num = '0001'")
    await connection.close()
    result = await command("keys", "list", code=1, RELAY_DATABASE_URL=database, RELAY_SIGNING_KEYS=SIGNING)
    assert "is at 0001, but this release needs" in result.stderr


@pytest.mark.parametrize("words", [("migrate",), ("api",), ("keys", "list")], ids=" ".join)
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_cannot_store_chinese_is_refused(
    encoding: str, words: tuple[str, ...], postgres: Server
) -> None:
    options = f"ENCODING '{encoding}' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"
    async with database_with(postgres, options) as odd:
        result = await command(*words, code=1, RELAY_DATABASE_URL=odd, RELAY_SIGNING_KEYS=SIGNING)
    assert f"is encoded in {encoding}" in result.stderr
    assert "ENCODING 'UTF8'" in result.stderr


@pytest.mark.parametrize("words", [("api",), ("worker",), ("migrate",), ("keys", "list")], ids=" ".join)
async def test_a_server_that_is_away_is_named_with_host_and_port(words: tuple[str, ...]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        url = f"postgresql://relay:hush@127.0.0.1:{port}/relay"
        result = await command(*words, code=3, RELAY_DATABASE_URL=url, RELAY_SIGNING_KEYS=SIGNING)
    assert f"The database at 127.0.0.1:{port} does not run" in result.stderr
    assert "What to do: " in result.stderr
    assert "hush" not in result.output


async def test_a_database_that_does_not_exist_is_a_sentence(postgres: Server) -> None:
    url = postgres.url("nowhere")
    result = await command("keys", "list", code=1, RELAY_DATABASE_URL=url, RELAY_SIGNING_KEYS=SIGNING)
    assert 'database "nowhere" does not exist' in result.stderr
    assert "CREATE DATABASE" in result.stderr


async def test_a_host_that_does_not_resolve_is_a_sentence() -> None:
    url = "postgresql://relay@no-such-host.invalid/relay"
    result = await command("api", code=3, RELAY_DATABASE_URL=url, RELAY_SIGNING_KEYS=SIGNING)
    assert "no-such-host.invalid:5432 has a host name that this machine cannot resolve" in result.stderr
