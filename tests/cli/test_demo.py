"""The demo as `make run` starts it: two runs in one directory, the first ended by Ctrl-C."""

import asyncio
import os
import re
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.paths import ROOT

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
KEY = re.compile(r"kr-[0-9a-f]{32}-[\w-]{43}")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that PostgreSQL's account can read: pytest makes its own private at the start of every run."""
    with TemporaryDirectory(prefix="kling-relay-demo-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


async def start(directory: Path, *words: str, port: int = 0) -> Process:
    settings = {"RELAY_DATA_DIR": str(directory / ".relay"), "RELAY_PORT": str(port), "RELAY_METRICS_PORT": "0"}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kling_relay", *words),
        cwd=ROOT,
        env={**ENVIRONMENT, **settings},
        stdout=PIPE,
        stderr=STDOUT,
    )


async def read_until(running: Process, words: str) -> str:
    """Return what a process prints up to these words. Fails with the output if the process ends before."""
    assert running.stdout is not None
    text = ""
    async with asyncio.timeout(90):
        while words not in text:
            line = await running.stdout.readline()
            assert line, text
            text += line.decode()
    return text


@pytest.mark.timeout(240)
async def test_the_demo_delivers_four_tasks_stops_at_once_and_reuses_its_data(tmp_path: Path) -> None:
    first = await start(tmp_path, "demo")
    try:
        text = await read_until(first, "Press Ctrl-C to stop")
        url = re.findall(r"(http://127\.0\.0\.1:\d+)/console#key=", text)
        key = KEY.findall(text)
        assert len(url) == 2, "at the top, and again when the four are finished"
        for kind in ("text2image", "image2image", "text2video", "image2video"):
            ends = [line for line in text.splitlines() if f"  {kind} " in line and "task.succeed delivered" in line]
            assert len(ends) == 1, text
        client = await start(tmp_path, "tasks", "--url", url[0], "--key", key[0], "--json")
        listed, _ = await asyncio.wait_for(client.communicate(), 30)
        assert listed.count(b'"succeed"') == 4
        at = time.monotonic()
        first.send_signal(signal.SIGINT)
        rest, _ = await asyncio.wait_for(first.communicate(), 30)
        assert time.monotonic() - at < 5
        assert first.returncode == 0, rest
        assert b"Traceback" not in rest
    finally:
        if first.returncode is None:
            first.kill()
            await first.communicate()
    second = await start(tmp_path, "demo", "--once")
    output, _ = await asyncio.wait_for(second.communicate(), 90)
    assert second.returncode == 0, output
    assert KEY.findall(output.decode())[0] == key[0]
    assert output.count(b"task.succeed delivered, signature verified") == 4


async def test_the_demo_names_a_port_in_use_and_a_free_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as holder:
        port = holder.getsockname()[1]
        refused = await start(tmp_path, "demo", port=port)
        output, _ = await asyncio.wait_for(refused.communicate(), 30)
    assert refused.returncode == 1
    assert f"Port {port} is in use".encode() in output
    assert f"RELAY_PORT={port + 1}".encode() in output
    assert not (tmp_path / ".relay").exists()
