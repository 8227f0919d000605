"""PostgreSQL's programs as an operator uses them, and clusters to restore into."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from kling_relay.store.embedded.server import Server, _programs, acquire

QUICK = {"fsync": "off", "shared_buffers": "16MB", "max_wal_size": "256MB"}


@asynccontextmanager
async def own_place() -> AsyncIterator[Path]:
    """Yield a directory that PostgreSQL's account can reach; it is removed at the end."""
    place = Path(tempfile.mkdtemp(prefix="relay-restore-"))
    os.chmod(place, 0o711)  # noqa: PTH101 - the other spelling is refused in a coroutine
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@asynccontextmanager
async def own_server(directory: Path, options: Mapping[str, str] | None = None) -> AsyncIterator[Server]:
    """Run a cluster in `directory`, new or existing, until the end of the block."""
    server = await asyncio.to_thread(acquire, directory, {**QUICK, **(options or {})})
    try:
        yield server
    finally:
        await asyncio.to_thread(server.release)


async def postgres_program(server: Server, name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs as the server's account; if it fails, so does the test, with its output."""
    account = server.account
    process = await asyncio.create_subprocess_exec(
        str(_programs() / name),
        *arguments,
        cwd="/",
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        user=account.uid if account else None,
        group=account.gid if account else None,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
