"""Load from a process of its own: `wrk` if it is installed, else the bundled generator; and load at a fixed rate.

`python -m bench.load_generator JSON` is the bundled one. Paths are called in order, each once. A load ends with its
time or its paths, whichever ends first.
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

from bench.environment import Environment
from bench.figures import CpuTimes
from bench.programs import ROOT, Program
from bench.protocols import ClientProtocol

_LUA = """
local paths, at = {}, 0
function init(args)
  for line in io.lines(args[1]) do paths[#paths + 1] = line end
  body = io.open(args[2], "rb"):read("*a")
  method, key, repeating = args[3], args[4], args[5] == "repeat"
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
    """The result of a load: answers, seconds, failures (not 2xx, or no answer), and latencies in milliseconds."""

    requests: int
    seconds: float
    failed: int
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return (self.requests - self.failed) / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """What to call: each of `paths` once, in order; with `repeat`, over and over."""

    url: str
    paths: Sequence[str]
    method: str = "POST"
    body: str = ""
    key: str = "none"
    repeat: bool = False


async def full_load(requests: Requests, *, connections: int, seconds: float) -> Load:
    """Call over `connections` connections, each as fast as answers arrive."""
    with _files(requests) as (paths, body, script):
        if wrk := shutil.which("wrk"):
            shape = ("-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", script)
            repeat = "repeat" if requests.repeat else "once"
            command = [wrk, *shape, requests.url, "--", paths, body, requests.method, requests.key, repeat]
            result = await _last_line(command)
        else:
            result = await _bundled(requests, paths, body, connections=connections, seconds=seconds)
    return Load(**{name: result[name] for name in ("requests", "seconds", "failed", "p50", "p99")})


async def with_cpu(load: Awaitable[Load], api: Program, environment: Environment, cpu_times: CpuTimes) -> Load:
    """Run a load, and add the CPU time of service and PostgreSQL per request to `cpu_times`."""
    before = api.cpu(), environment.cpu()
    result = await load
    cpu_times["service"].append((api.cpu() - before[0]) / result.requests * 1e6)
    cpu_times["PostgreSQL"].append((environment.cpu() - before[1]) / result.requests * 1e6)
    return result


async def steady_load(requests: Requests, *, rate: float, connections: int = 64) -> dict[str, float]:
    """Call each path once, `rate` a second, however slow the answers are; return when each was sent (monotonic)."""
    with _files(requests) as (paths, body, _):
        result = await _bundled(requests, paths, body, connections=connections, rate=rate)
    if result["failed"]:
        raise RuntimeError(f"{result['failed']} of {result['requests']} requests failed")
    sent_at: dict[str, float] = result["sent_at"]
    return sent_at


async def latencies_at(requests: Requests, *, rate: float, connections: int = 64) -> Load:
    """Call each path once, `rate` a second, and return the load with its latencies. Raises RuntimeError."""
    with _files(requests) as (paths, body, _):
        result = await _bundled(requests, paths, body, connections=connections, rate=rate)
    if result["failed"]:
        raise RuntimeError(f"{result['failed']} of {result['requests']} requests failed")
    return Load(**{name: result[name] for name in ("requests", "seconds", "failed", "p50", "p99")})


@contextmanager
def _files(requests: Requests) -> Iterator[tuple[str, str, str]]:
    """Give the names of files with the paths, the body, and wrk's script."""
    with TemporaryDirectory(prefix="kling-relay-load-") as directory:
        files = [Path(directory, name) for name in ("paths", "body", "script.lua")]
        for file, text in zip(files, ("\n".join(requests.paths), requests.body, _LUA), strict=True):
            file.write_text(text)
        paths, body, script = map(str, files)
        yield paths, body, script


async def _bundled(requests: Requests, paths: str, body: str, **shape: float) -> dict[str, Any]:
    options = {
        "paths": paths,
        "body": body,
        "url": requests.url,
        "method": requests.method,
        "key": requests.key,
        "repeat": requests.repeat,
        **shape,
    }
    return await _last_line([sys.executable, "-m", "bench.load_generator", json.dumps(options)])


async def _last_line(command: list[str]) -> dict[str, Any]:
    """Run a program and return the last line of its output, read as JSON."""
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    line: dict[str, Any] = json.loads(output.decode().strip().rsplit("\n", 1)[-1])
    return line


class Generator:
    """The bundled generator; it fills `sent_at` only at a fixed rate."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._paths = Path(options["paths"]).read_text().split("\n")
        body = Path(options["body"]).read_bytes()
        host = options["url"].removeprefix("http://")
        head = f"Host: {host}\r\nAuthorization: Bearer {options['key']}\r\nContent-Type: application/json\r\n"
        self._rest = f" HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._host, port = host.split(":")
        self._port = int(port)
        self._durations: list[float] = []
        self._failed = 0
        self.sent_at: dict[str, float] = {}

    async def run(self) -> dict[str, Any]:
        """Call, and return the result as `Load` and `steady_load` expect it."""
        loop = asyncio.get_running_loop()
        pairs = [
            await loop.create_connection(ClientProtocol, self._host, self._port)
            for _ in range(self._options["connections"])
        ]
        connections = [connection for _, connection in pairs]
        started_at = time.monotonic()
        if "rate" in self._options:
            await self._at_rate(connections, started_at)
        else:
            paths = iter(self._paths)
            await asyncio.gather(*(self._flat_out(connection, paths, started_at) for connection in connections))
        seconds = time.monotonic() - started_at
        durations = sorted(self._durations)
        return {
            "requests": len(durations),
            "seconds": seconds,
            "failed": self._failed,
            "p50": durations[len(durations) // 2] * 1000,
            "p99": durations[len(durations) * 99 // 100] * 1000,
            "sent_at": self.sent_at,
        }

    async def _at_rate(self, connections: list[ClientProtocol], started_at: float) -> None:
        answers: set[asyncio.Task[None]] = set()
        for number, path in enumerate(self._paths):
            wait = started_at + number / self._options["rate"] - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            self.sent_at[path] = time.monotonic()
            answers.add(asyncio.create_task(self._call(connections[number % len(connections)], path)))
        await asyncio.wait(answers)

    async def _flat_out(self, connection: ClientProtocol, paths: Iterator[str], started_at: float) -> None:
        while time.monotonic() - started_at < self._options["seconds"]:
            path = next(paths, None)
            if path is None and not self._options["repeat"]:
                return
            await self._call(connection, path or self._paths[0])

    async def _call(self, connection: ClientProtocol, path: str) -> None:
        started_at = time.monotonic()
        try:
            status = await connection.call(f"{self._options['method']} {path}".encode() + self._rest)
        except OSError:
            status = 0
        self._durations.append(time.monotonic() - started_at)
        self._failed += not 200 <= status < 300


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(Generator(json.loads(sys.argv[1])).run())))
