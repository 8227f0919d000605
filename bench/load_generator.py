"""Load, from a process of its own: `wrk` where it is installed, else the bundled generator; and load at a fixed rate.

`python -m bench.load_generator JSON` is the bundled one. Paths are called in order and never twice; a load ends with its time or
its paths, whichever is first.
"""

import asyncio
import json
import shutil
import sys
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop

from bench.environment import ROOT, Ground, Program
from bench.figures import Spent
from bench.protocols import Calling

_LUA = """
local paths, at = {}, 0
function init(args)
  for line in io.lines(args[1]) do paths[#paths + 1] = line end
  body = io.open(args[2], "rb"):read("*a")
  method, key, repeating = args[3], args[4], args[5] == "again"
  headers = {["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. key}
end
function request()
  at = at + 1
  if at > #paths then
    if not repeating then wrk.thread:stop() end
    at = 1
  end
  return wrk.format(method, paths[at], headers, body)
end
function done(summary, latency)
  io.write(string.format('\\n{"requests": %d, "seconds": %f, "failed": %d, "p50": %f, "p99": %f}\\n',
    summary.requests, summary.duration / 1e6, summary.errors.status + summary.errors.read + summary.errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What a load did: answers, seconds, answers that were not 2xx (or none), and latencies in milliseconds."""

    requests: int
    seconds: float
    failed: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return (self.requests - self.failed) / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What to call: each of `paths` once, in order, or with `again` over and over."""

    url: str
    paths: Sequence[str]
    method: str = "POST"
    body: str = ""
    key: str = "none"
    again: bool = False


async def full(calls: Calls, *, connections: int, seconds: float) -> Load:
    """Call as fast as answers come over so many connections."""
    with _written(calls) as (paths, body, script):
        if wrk := shutil.which("wrk"):
            shape = ("-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", script)
            again = "again" if calls.again else "once"
            found = await _told([wrk, *shape, calls.url, "--", paths, body, calls.method, calls.key, again])
        else:
            found = await _bundled(calls, paths, body, connections=connections, seconds=seconds)
    return Load(**{name: found[name] for name in ("requests", "seconds", "failed", "p50", "p99")})


async def counted(load: Awaitable[Load], api: Program, ground: Ground, spent: Spent) -> Load:
    """Return what a load did, and note the CPU of service and PostgreSQL that each of its requests took."""
    before = api.cpu(), ground.cpu()
    done = await load
    spent["service"].append((api.cpu() - before[0]) / done.requests * 1e6)
    spent["PostgreSQL"].append((ground.cpu() - before[1]) / done.requests * 1e6)
    return done


async def paced(calls: Calls, *, rate: float, connections: int = 64) -> dict[str, float]:
    """Call each path once at `rate` a second, whatever the answers; return when each was sent (monotonic seconds)."""
    with _written(calls) as (paths, body, _):
        found = await _bundled(calls, paths, body, connections=connections, rate=rate)
    if found["failed"]:
        raise RuntimeError(f"{found['failed']} of {found['requests']} calls failed")
    sent: dict[str, float] = found["sent"]
    return sent


@contextmanager
def _written(calls: Calls) -> Iterator[tuple[str, str, str]]:
    """Give the names of files with the paths, the body, and wrk's script."""
    with TemporaryDirectory(prefix="kling-relay-load-") as directory:
        files = [Path(directory, name) for name in ("paths", "body", "script.lua")]
        for file, text in zip(files, ("\n".join(calls.paths), calls.body, _LUA), strict=True):
            file.write_text(text)
        paths, body, script = map(str, files)
        yield paths, body, script


async def _bundled(calls: Calls, paths: str, body: str, **more: float) -> dict[str, Any]:
    said = {"paths": paths, "body": body, "url": calls.url, "method": calls.method, "key": calls.key} | more
    return await _told([sys.executable, "-m", "bench.load_generator", json.dumps({**said, "again": calls.again})])


async def _told(command: list[str]) -> dict[str, Any]:
    """Return the last line that a program says, as JSON."""
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    found: dict[str, Any] = json.loads(output.decode().strip().rsplit("\n", 1)[-1])
    return found


class Generator:
    """The bundled generator; `sent` is filled at a fixed rate only."""

    def __init__(self, said: dict[str, Any]) -> None:
        self._said = said
        self._paths = Path(said["paths"]).read_text().split("\n")
        body = Path(said["body"]).read_bytes()
        host = said["url"].removeprefix("http://")
        head = f"Host: {host}\r\nAuthorization: Bearer {said['key']}\r\nContent-Type: application/json\r\n"
        self._rest = f" HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._host, port = host.split(":")
        self._port = int(port)
        self._took: list[float] = []
        self._failed = 0
        self.sent: dict[str, float] = {}

    async def run(self) -> dict[str, Any]:
        """Call, and return what was done."""
        loop = asyncio.get_running_loop()
        made = [await loop.create_connection(Calling, self._host, self._port) for _ in range(self._said["connections"])]
        begun = time.monotonic()
        if "rate" in self._said:
            await self._at_rate([calling for _, calling in made], begun)
        else:
            paths = iter(self._paths)
            await asyncio.gather(*(self._flat_out(calling, paths, begun) for _, calling in made))
        seconds = time.monotonic() - begun
        took = sorted(self._took)
        told = {"p50": took[len(took) // 2] * 1000, "p99": took[len(took) * 99 // 100] * 1000}
        return {"requests": len(took), "seconds": seconds, "failed": self._failed, **told, "sent": self.sent}

    async def _at_rate(self, callings: list[Calling], begun: float) -> None:
        answers: set[asyncio.Task[None]] = set()
        for number, path in enumerate(self._paths):
            wait = begun + number / self._said["rate"] - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            self.sent[path] = time.monotonic()
            answers.add(asyncio.create_task(self._one(callings[number % len(callings)], path)))
        await asyncio.wait(answers)

    async def _flat_out(self, calling: Calling, paths: Any, begun: float) -> None:
        while time.monotonic() - begun < self._said["seconds"]:
            path = next(paths, None)
            if path is None and not self._said["again"]:
                return
            await self._one(calling, path or self._paths[0])

    async def _one(self, calling: Calling, path: str) -> None:
        begun = time.monotonic()
        try:
            status = await calling.call(f"{self._said['method']} {path}".encode() + self._rest)
        except OSError:
            status = 0
        self._took.append(time.monotonic() - begun)
        self._failed += not 200 <= status < 300


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(Generator(json.loads(sys.argv[1])).run())))
