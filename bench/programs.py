"""The processes that a benchmark starts: the service, the stand-ins, the ceilings. Each ends with its block."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

KEY = "bench-key-with-every-scope-0123456789abcdef"
SIGNING = "bench-signing-key-0123456789abcdef0123456789abcdef"
ROOT = Path(__file__).parent.parent
_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 40.0
_MAX_LINE = 64 * 1024 * 1024


@dataclass(slots=True)
class Program:
    """A started process. It prints a line of JSON once it is ready, and may print more."""

    process: asyncio.subprocess.Process
    ready: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ready['port']}"

    async def next_line(self, within: float = _START_TIMEOUT) -> dict[str, Any]:
        """Return its next line. Raises RuntimeError if it ends without one."""
        if self.process.stdout is None:
            raise RuntimeError("the program was started without a pipe for its output")
        async with asyncio.timeout(within):
            text = await self.process.stdout.readline()
        if not text:
            raise RuntimeError(f"the program ended with {await self.process.wait()} before it printed anything")
        line: dict[str, Any] = json.loads(text)
        return line

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def resident(self) -> float:
        """Return its resident memory in MB."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 2**20

    async def stop(self) -> None:
        """Stop it cleanly, or kill it if that takes too long."""
        if self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def program(module: str, options: Mapping[str, Any]) -> AsyncIterator[Program]:
    """Run `python -m bench.<module>` with `options` as its JSON argument until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"bench.{module}", json.dumps(options)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        limit=_MAX_LINE,
    )
    started = Program(process)
    try:
        started.ready = await started.next_line()
        yield started
    finally:
        await started.stop()


@asynccontextmanager
async def service(
    database: str, role: str, *, coalesce: bool = True, provider: str = "http://127.0.0.1:9", **changes: str
) -> AsyncIterator[Program]:
    """Run the service in one role, with its default settings and `changes` to them (names without RELAY_)."""
    settings = {
        "port": "0",
        "metrics_port": "0",
        "database_url": database,
        "provider_url": provider,
        "provider_key": "hk-bench",
        "signing_keys": SIGNING,
        "bootstrap_key": KEY,
        "allowed_networks": "127.0.0.0/8",
        "log_level": "warning",
        **changes,
    }
    async with program("service", {"role": role, "coalesce": coalesce, "settings": settings}) as started:
        yield started
