"""The ground that benchmarks stand on: a PostgreSQL of their own, a fresh database per round, programs that end."""

import asyncio
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from kling_relay.store.embedded.server import Server, embedded
from kling_relay.store.schema import partitions
from kling_relay.store.schema.migrate import migrate

TEMPLATE = "bench_template"
BARE = "bench_bare"
"""The schema without partitions."""
KEY = "bench-key-with-every-scope-0123456789abcdef"
SIGNING = "bench-signing-key-0123456789abcdef0123456789abcdef"
ROOT = Path(__file__).parent.parent
_STARTS_WITHIN = 30.0
_ENDS_WITHIN = 40.0
_LINE = 64 * 1024 * 1024
_numbers = count(1)


@dataclass(slots=True)
class Program:
    """One started process; it says a line of JSON once it is ready, and may say more."""

    process: asyncio.subprocess.Process
    ready: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ready['port']}"

    async def says(self, within: float = _STARTS_WITHIN) -> dict[str, Any]:
        """Return its next line; RuntimeError where it ends without one."""
        if self.process.stdout is None:
            raise RuntimeError("a program without a voice")
        async with asyncio.timeout(within):
            line = await self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a program ended with {await self.process.wait()} before it said anything")
        said: dict[str, Any] = json.loads(line)
        return said

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        used = psutil.Process(self.process.pid).cpu_times()
        return used.user + used.system

    def resident(self) -> float:
        """Return its resident memory in MB."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 2**20

    async def end(self) -> None:
        """Stop it cleanly, or by force where that takes too long."""
        if self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_ENDS_WITHIN):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def program(module: str, said: Mapping[str, Any], *words: str) -> AsyncIterator[Program]:
    """Run `python -m bench.<module>` with `said` as its JSON argument until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"bench.{module}",
        json.dumps(said),
        *words,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE,
    )
    one = Program(process)
    try:
        one.ready = await one.says()
        yield one
    finally:
        await one.end()


@dataclass(slots=True)
class Ground:
    """A running PostgreSQL with the product's own settings, fsync included."""

    server: Server
    directory: Path
    template: str = TEMPLATE

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """Give the address of a fresh database with the schema and its partitions; dropped afterwards."""
        name = f"bench_{next(_numbers)}"
        admin = await asyncpg.connect(self.server.url("postgres"))
        try:
            await admin.execute(f"CREATE DATABASE {name} TEMPLATE {self.template} STRATEGY file_copy", timeout=3600)
            yield self.server.url(name)
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await admin.execute("CHECKPOINT")  # what one round left to write does not fall into the next
        finally:
            await admin.close()

    def cpu(self) -> float:
        """Return the seconds of CPU of PostgreSQL: its processes, and those of them that ended."""
        postmaster = psutil.Process(int((self.server.cluster / "postmaster.pid").read_text().split()[0]))
        used = 0.0
        for process in (postmaster, *postmaster.children()):
            with suppress(psutil.NoSuchProcess):  # it ended just now; the postmaster has its time
                times = process.cpu_times()
                used += times.user + times.system
        ended = postmaster.cpu_times()
        return used + ended.children_user + ended.children_system


@asynccontextmanager
async def ground() -> AsyncIterator[Ground]:
    """Start a PostgreSQL in a temporary directory with a migrated template, and remove it afterwards."""
    directory = _directory()
    try:
        async with embedded(directory) as server:
            admin = await asyncpg.connect(server.url("postgres"))
            try:
                await admin.execute(f"CREATE DATABASE {BARE}")
                await migrate(server.url(BARE))
                await admin.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE {BARE}")
                inside = await asyncpg.connect(server.url(TEMPLATE))
                await partitions.ensure(inside, datetime.now(UTC), timedelta(days=90))
                await inside.close()
            finally:
                await admin.close()
            yield Ground(server, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="kling-relay-bench-"))
    directory.chmod(0o711)  # as root, PostgreSQL runs as somebody else
    return directory


def settings(database: str, provider: str = "http://127.0.0.1:9", **given: str) -> dict[str, str]:
    """Return a service's settings, in the texts of the environment without RELAY_; the rest is the product's own."""
    return {
        "port": "0",
        "metrics_port": "0",
        "database_url": database,
        "provider_url": provider,
        "provider_key": "hk-bench",
        "signing_keys": SIGNING,
        "bootstrap_key": KEY,
        "allowed_networks": "127.0.0.0/8",
        "log_level": "warning",
        **given,
    }


@asynccontextmanager
async def relay(
    database: str, role: str, *, coalesce: bool = True, provider: str = "", **given: str
) -> AsyncIterator[Program]:
    """Run the service in one role, as a process of its own."""
    said = {
        "role": role,
        "coalesce": coalesce,
        "settings": settings(database, **({"provider": provider} if provider else {}), **given),
    }
    async with program("service", said) as one:
        yield one


async def until(url: str, sql: str, arguments: Sequence[Any], reached: int, within: float) -> None:
    """Wait until the number that `sql` gives is at least `reached`; RuntimeError with the number where it is not."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    connection = await asyncpg.connect(url)
    try:
        while (found := await connection.fetchval(sql, *arguments)) < reached:
            if loop.time() > deadline:
                raise RuntimeError(f"{found} of {reached} within {within:g} s: {sql}")
            await asyncio.sleep(0.05)
    finally:
        await connection.close()
