"""The embedded PostgreSQL survives killed processes, and is shared by all of its users."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from kling_relay.store.embedded.server import EmbeddedError, Server, acquire, embedded
from tests.support.paths import ROOT
from tests.support.postgres import restart
from tests.support.waiting import eventually

QUICK = {"fsync": "off", "shared_buffers": "16MB", "max_wal_size": "256MB"}
USER = """
import sys, time
from pathlib import Path
from kling_relay.store.embedded.server import acquire
print(acquire(Path(sys.argv[1])).url(), flush=True)
time.sleep(600)  # until the test kills it
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="relay-embedded-"))
    place.chmod(0o711)
    yield place / "data"
    acquire(place / "data", QUICK).release()
    shutil.rmtree(place)


def postmaster(server: Server) -> psutil.Process:
    return psutil.Process(int((server.cluster / "postmaster.pid").read_text().splitlines()[0]))


def is_running(server: Server) -> bool:
    return (server.cluster / "postmaster.pid").exists()


async def ask(server: Server, question: str) -> object:
    connection = await asyncpg.connect(server.url())
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def test_the_first_user_starts_the_server_and_the_last_stops_it(directory: Path) -> None:
    async with embedded(directory, QUICK) as first:
        pid = postmaster(first).pid
        async with embedded(directory) as second:
            assert postmaster(second).pid == pid
            assert second.url() == first.url()
        assert is_running(first)
        assert await ask(first, "SELECT 1") == 1
    assert not is_running(first)


async def test_the_server_keeps_committed_rows_and_listens_on_no_network(directory: Path) -> None:
    async with embedded(directory) as server:
        assert await ask(server, "SELECT current_setting('fsync')") == "on"
        assert await ask(server, "SELECT current_setting('listen_addresses')") == ""
        assert server.cluster.stat().st_mode & 0o077 == 0
        await ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    async with embedded(directory) as server:
        assert await ask(server, "SELECT answer FROM kept") == 42


async def test_a_killed_user_leaves_a_server_that_the_next_user_joins_and_stops(directory: Path) -> None:
    user = await asyncio.create_subprocess_exec(
        sys.executable, "-c", USER, str(directory), stdout=subprocess.PIPE, cwd=ROOT
    )
    assert user.stdout
    assert b"postgresql://" in await user.stdout.readline()
    user.kill()
    await user.communicate()
    async with embedded(directory) as server:
        assert await ask(server, "SELECT 1") == 1
    assert not is_running(server)


async def test_several_processes_at_once_share_one_server(directory: Path) -> None:
    users = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", USER, str(directory), stdout=subprocess.PIPE, cwd=ROOT
        )
        for _ in range(3)
    ]
    said = {await user.stdout.readline() for user in users if user.stdout}
    for user in users:
        user.kill()
        await user.communicate()
    assert len(said) == 1


async def test_a_killed_postmaster_is_replaced_and_loses_nothing(directory: Path) -> None:
    server = acquire(directory, QUICK)
    try:
        await ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
        victim = postmaster(server)
        os.kill(victim.pid, signal.SIGKILL)
        await eventually(lambda: not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE)
        async with embedded(directory) as again:
            assert await ask(again, "SELECT answer FROM kept") == 42
    finally:
        server.release()


async def test_a_reused_process_id_is_not_taken_for_the_server(directory: Path) -> None:
    async with embedded(directory, QUICK) as server:
        lines = (server.cluster / "postmaster.pid").read_text().splitlines()
    (server.cluster / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]))
    async with embedded(directory) as server:
        assert await ask(server, "SELECT 1") == 1


async def test_an_unfinished_cluster_is_created_again(directory: Path) -> None:
    (directory / "postgresql.new" / "base").mkdir(parents=True)
    async with embedded(directory, QUICK) as server:
        assert await ask(server, "SELECT 1") == 1


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_the_server_can_be_restarted_under_its_users(mode: str, directory: Path) -> None:
    async with embedded(directory, QUICK) as server:
        connection = await asyncpg.connect(server.url())
        before = postmaster(server).pid
        await asyncio.to_thread(restart, server, mode)
        assert postmaster(server).pid != before
        with pytest.raises((asyncpg.PostgresError, OSError, asyncpg.InterfaceError)):
            await connection.fetchval("SELECT 1")
        connection.terminate()
        assert await ask(server, "SELECT 1") == 1


async def test_a_path_too_long_for_a_socket_works(directory: Path) -> None:
    deep = directory / ("d" * 60) / ("e" * 60)
    async with embedded(deep, QUICK) as server:
        assert server.socket_directory.stat().st_mode & 0o077 == 0
        assert await ask(server, "SELECT 1") == 1
    assert not is_running(server)
    server.socket_directory.rmdir()


@pytest.mark.parametrize("name", ["a $HOME b", 'a "quoted" name', "it's", "back\\slash", "`tick`", "a, b"])
async def test_a_data_directory_may_have_any_name(name: str, directory: Path) -> None:
    async with embedded(directory / name, QUICK) as server:
        assert await ask(server, "SELECT current_setting('data_directory')") == str(directory / name / "postgresql")
    assert not is_running(server)
    async with embedded(directory / name) as server:
        assert await ask(server, "SELECT 1") == 1
    if server.socket_directory != server.cluster:
        server.socket_directory.rmdir()


def test_a_server_that_cannot_start_reports_postgresql_s_reason(directory: Path) -> None:
    acquire(directory, QUICK).release()
    settings = directory / "postgresql" / "postgresql.conf"
    sound = settings.read_text()
    settings.write_text(f"{sound}\nshared_buffers = 'plenty'\n")
    with pytest.raises(EmbeddedError, match="invalid value for parameter"):
        acquire(directory)
    settings.write_text(sound)
