"""Memory and CPU of a process that has nothing to do, and the memory of idle event streams."""

import asyncio
import socket
import tempfile
from contextlib import ExitStack

from bench.environment import Environment
from bench.figures import Figure
from bench.programs import KEY, SIGNING, Program, program, service

STREAMS = 10_000
_SETTLE = 5.0
"""Seconds after the start until a process has nothing to do."""
_MAX_IDLE = 100.0
_MAX_STREAM = 12.0
_REQUEST = f"GET /v1/events/stream HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()


async def measure(environment: Environment, seconds: float) -> list[Figure]:
    """Measure an idle `up` on a new data directory and on an existing one, then idle streams."""
    with tempfile.TemporaryDirectory(prefix="kling-relay-bench-") as directory:
        first, _ = await _idle(directory, seconds)
        again, cpu = await _idle(directory, seconds)
    async with environment.database() as database:
        streams, before, after = await _streams(database)
    return [
        Figure(
            name="memory of an idle up",
            unit="MB",
            ours=[again],
            reach=_MAX_IDLE,
            at_most=True,
            notes={"MB after the start that made the database": first, "% of a core": cpu},
        ),
        Figure(
            name=f"memory of an idle stream, of {STREAMS:,}",
            unit="kB",
            ours=[streams],
            reach=_MAX_STREAM,
            at_most=True,
            notes={"MB of the api before": before, "MB with all streams": after},
        ),
    ]


async def _idle(directory: str, seconds: float) -> tuple[float, float]:
    """Return the memory in MB of an `up` in this data directory, and its share of a core in per cent."""
    settings = {
        "port": "0",
        "metrics_port": "0",
        "data_dir": directory,
        "signing_keys": SIGNING,
        "log_level": "warning",
    }
    async with program("service", {"role": "up", "coalesce": True, "settings": settings}) as up:
        await asyncio.sleep(_SETTLE)
        before = up.cpu()
        await asyncio.sleep(seconds)
        return up.resident(), 100 * (up.cpu() - before) / seconds


async def _streams(database: str) -> tuple[float, float, float]:
    """Return the memory in kB of one idle stream, and of the process in MB before and after all were opened."""
    async with service(database, "api", streams_per_key=str(2 * STREAMS)) as api:
        with ExitStack() as connections:
            await asyncio.to_thread(_open, api, connections, 100)
            before = api.resident()
            await asyncio.to_thread(_open, api, connections, STREAMS)
            after = api.resident()
    return (after - before) * 1024 / STREAMS, before, after


def _open(api: Program, connections: ExitStack, count: int) -> None:
    streams = []
    for _ in range(count):
        stream = connections.enter_context(socket.create_connection(("127.0.0.1", api.ready["port"]), timeout=60))
        stream.sendall(_REQUEST)
        streams.append(stream)
    for stream in streams:
        if not stream.recv(1024).startswith(b"HTTP/1.1 200 "):
            raise RuntimeError("a stream was refused")
