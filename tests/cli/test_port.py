"""A port is shared by processes of one deployment alone; one in use is named with its setting and its holder."""

import asyncio
import os
import re
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from kling_relay.app.ports import PortError, is_free, listening, shares_port
from kling_relay.app.serving import serve
from kling_relay.settings import Settings
from kling_relay.store.embedded.server import Server
from tests.cli.test_demo import read_until, start, tmp_path  # noqa: F401 - a fixture
from tests.support.paths import ROOT
from tests.support.postgres import fresh_database
from tests.support.processes import fleet
from tests.support.service import SIGNING, running, sandboxed, settings_for


def free_port() -> int:
    with listening("127.0.0.1", 0) as held:
        port: int = held.getsockname()[1]
        return port


def test_a_port_is_free_until_something_listens_there() -> None:
    with listening("127.0.0.1", 0) as ours:
        ours.listen()
        port = ours.getsockname()[1]
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)


async def test_the_second_service_on_a_port_notes_that_it_shares_it(database: str) -> None:
    port = free_port()
    async with sandboxed() as (_, provider):
        settings = {
            "RELAY_PORT": str(port),
            "RELAY_METRICS_PORT": "0",
            "RELAY_DATABASE_URL": database,
            "RELAY_PROVIDER_URL": provider,
            "RELAY_PROVIDER_KEY": "hk-sandbox",
            "RELAY_SIGNING_KEYS": SIGNING,
            "RELAY_PROCESSES": "2",
        }
        async with fleet(settings) as services:
            first, second = await services.start("api"), await services.start("up")
            note = f"Port {port} is already served by another process"
            assert not any(note in line for line in first.lines), first.lines
            assert sum(note in line for line in second.lines) == 1, second.lines


async def test_a_port_is_shared_with_the_same_database_and_refused_to_another(postgres: Server, database: str) -> None:
    async with (
        fresh_database(postgres) as other,
        sandboxed() as (_, provider),
        running(database, provider) as relay,
    ):
        same = settings_for(database, provider, port=str(relay.settings.port))
        assert await shares_port(same)
        different = settings_for(other, provider, port=str(relay.settings.port))
        with pytest.raises(PortError, match="another deployment of kling-relay") as caught:
            await shares_port(different)
        assert f"Port {relay.settings.port} " in str(caught.value)
        assert f"(process {os.getpid()}" in str(caught.value)
        assert "RELAY_PORT=" in caught.value.advice
        assert await shares_port(different.model_copy(update={"share_port": True}))


async def test_of_two_deployments_that_start_together_the_later_one_is_refused(postgres: Server, database: str) -> None:
    """Both found the port free when they began; `serve` asks again before it listens."""
    async with (
        fresh_database(postgres) as other,
        sandboxed() as (_, provider),
        running(database, provider) as relay,
    ):
        port = str(relay.settings.port)
        with pytest.raises(PortError, match=f"Port {port} is in use by another deployment"):
            async with running(other, provider, port=port):
                pass
        async with running(database, provider, port=port), running(other, provider, port=port, share_port="true"):
            pass


async def test_the_metrics_of_up_take_another_port_if_theirs_was_taken_meanwhile(database: str) -> None:
    with ExitStack() as stack:
        with suppress(OSError):  # if another test has it, that is the same to `up`
            stack.enter_context(socket.create_server(("127.0.0.1", 9464)))
        stopping, started = asyncio.Event(), asyncio.get_running_loop().create_future()
        settings = Settings(port="0", database_url=database, signing_keys=SIGNING)
        serving = asyncio.ensure_future(
            serve(settings, "up", stopping=stopping, started=lambda _, real: started.set_result(real.metrics_port))
        )
        await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
        stopping.set()
        await serving
        assert started.result() not in {0, 9464}


async def test_a_service_without_a_database_yet_does_not_join_another_one(database: str, tmp_path: Path) -> None:  # noqa: F811
    async with sandboxed() as (_, provider), running(database, provider) as relay:
        settings = Settings(port=str(relay.settings.port), data_dir=str(tmp_path / "new"))
        with pytest.raises(PortError, match="another deployment"):
            await shares_port(settings)
        assert not (tmp_path / "new").exists()


async def test_a_port_that_is_only_reserved_is_shared_and_another_program_is_refused() -> None:
    with listening("127.0.0.1", 0) as reserved:
        assert not await shares_port(Settings(port=str(reserved.getsockname()[1])))

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    other = await asyncio.start_server(answer, "127.0.0.1", 0, reuse_port=True)
    async with other:
        port = other.sockets[0].getsockname()[1]
        with pytest.raises(PortError, match=f"Port {port} is in use by"):
            await shares_port(Settings(port=str(port)))


@asynccontextmanager
async def up(directory: Path, **settings: str) -> AsyncIterator[tuple[Process, str]]:
    """Run `up` with an embedded database; give the process and what it prints until it serves."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kling_relay", "up"),
        cwd=ROOT,
        env={**plain, "RELAY_DATA_DIR": str(directory), "RELAY_LOG_FORMAT": "human", **settings},
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        yield process, await read_until(process, "listens on")
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.communicate(), 30)


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_two_services_on_one_machine_need_only_two_ports(tmp_path: Path) -> None:  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as taken:
        # the usual port of the metrics may be in use by another test: both cases are the same to the second service
        async with up(tmp_path / "one", RELAY_PORT="0"), up(tmp_path / "two", RELAY_PORT="0") as (_, said):
            assert "Port 9464 is in use, so the metrics have another one." in said
        port = taken.getsockname()[1]
        for setting, other in (("RELAY_METRICS_PORT", "RELAY_PORT"), ("RELAY_PORT", "RELAY_METRICS_PORT")):
            refused = await start_with(tmp_path / "one", {setting: str(port), other: "0"})
            output, _ = await asyncio.wait_for(refused.communicate(), 60)
            assert refused.returncode == 1
            assert f"Port {port} is in use by " in output.decode()
            assert f"(process {os.getpid()}" in output.decode()
            assert f"{setting}={port + 1}" in output.decode()
        settings = {"RELAY_METRICS_PORT": str(port), "RELAY_PORT": "0", "RELAY_PROCESSES": "2"}
        refused = await start_with(tmp_path / "one", settings)
        output, _ = await asyncio.wait_for(refused.communicate(), 60)
        assert refused.returncode == 1
        assert f"Port {port} is in use by " in output.decode(), "a child's error is printed, too"


async def start_with(directory: Path, settings: dict[str, str]) -> Process:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kling_relay", "up"),
        cwd=ROOT,
        env={**plain, "RELAY_DATA_DIR": str(directory), **settings},
        stdout=PIPE,
        stderr=STDOUT,
    )


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_the_sandbox_of_up_keeps_its_port_between_starts(tmp_path: Path) -> None:  # noqa: F811
    """It cannot have the usual one at first, which every service on this machine tries."""
    ports, file = [], tmp_path / "data" / "sandbox-port"
    file.parent.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file.write_text(str(taken.getsockname()[1]))
        for _ in range(2):
            async with up(tmp_path / "data", RELAY_PORT="0", RELAY_METRICS_PORT="0"):
                ports.append(int(file.read_text()))
                with socket.create_connection(("127.0.0.1", ports[-1]), timeout=5):
                    pass
        assert taken.getsockname()[1] not in ports
    assert ports[0] == ports[1]


async def test_the_sandbox_beside_an_external_database_keeps_its_port(database: str) -> None:
    from kling_relay.app.serving import start_sandbox, usual_sandbox_port

    settings = Settings(database_url=database, signing_keys=SIGNING)
    assert usual_sandbox_port(settings) == usual_sandbox_port(Settings(database_url=database, signing_keys=SIGNING))
    first, url = await start_sandbox(settings)
    second, elsewhere = await start_sandbox(settings)
    await first.stop()
    await second.stop()
    assert url != elsewhere
    third, again = await start_sandbox(settings)
    await third.stop()
    assert again == url


async def test_the_command_sandbox_names_its_own_option(tmp_path: Path) -> None:  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = await start(tmp_path, "sandbox", "--port", str(port))
        output, _ = await asyncio.wait_for(refused.communicate(), 30)
    assert refused.returncode == 1
    assert re.search(rf"Port {port} is in use by .*; --port chooses it", output.decode())
    assert f"--port {port + 1}" in output.decode()
