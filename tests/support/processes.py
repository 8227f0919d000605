"""Real processes of the service: `python -m kling_relay ROLE`, with settings in the environment."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kling_relay.app.serving import Role
from tests.support.paths import ROOT

_BEGUN = {"api": "listens on", "up": "listens on", "worker": "has started"}
_START_WITHIN = 30.0


@dataclass(slots=True)
class Running:
    """A process of the service and its output."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    listening: asyncio.Task[None] | None = None

    async def leave(self, within: float = 30.0) -> int:
        """Stop it with SIGTERM and return its exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        try:
            async with asyncio.timeout(within):
                code = await self.process.wait()
        except TimeoutError:
            self.process.kill()
            raise
        if self.listening:
            await self.listening
        return code


@dataclass(slots=True)
class Fleet:
    """Processes that share their settings; all of them are stopped at the end."""

    settings: dict[str, str]
    code: Path = ROOT
    started: list[Running] = field(default_factory=list)

    async def start(self, role: Role) -> Running:
        """Start a process and return once it serves; fail with its output if it ends instead."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "kling_relay",
            role,
            cwd=self.code,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(self.code / "service"),
                "RELAY_LOG_LEVEL": "warning",
                **self.settings,
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        one = Running(process)
        self.started.append(one)
        begun = asyncio.get_running_loop().create_future()
        one.listening = asyncio.create_task(_listen(one, _BEGUN[role], begun))
        async with asyncio.timeout(_START_WITHIN):
            await asyncio.wait({begun, one.listening}, return_when=asyncio.FIRST_COMPLETED)
        assert begun.done(), "\n".join(one.lines)
        return one


async def _listen(one: Running, word: str, begun: "asyncio.Future[None]") -> None:
    assert one.process.stderr
    async for line in one.process.stderr:
        one.lines.append(line.decode(errors="replace").rstrip())
        if word in one.lines[-1] and not begun.done():
            begun.set_result(None)


@asynccontextmanager
async def fleet(settings: dict[str, str], code: Path = ROOT) -> AsyncIterator[Fleet]:
    """Give a fleet with these settings (full names), running the code in the directory `code`."""
    all_of_them = Fleet(settings, code)
    try:
        yield all_of_them
    finally:
        await asyncio.gather(*(each.leave() for each in all_of_them.started))
