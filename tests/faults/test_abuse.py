"""Clients and subscribers that mean ill: bounded memory and time, and figures of both. The service is a process of its
own, so that its memory is measured and nobody else's.
"""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
import pytest
from aiohttp import web

from tests.faults.client import Client
from tests.faults.process import Part, Process, reserved_port, started
from tests.support.service import KEY, sandboxed, subscriber
from tests.support.waiting import eventually

MIB = 2**20
Figure = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Besieged:
    """A service under attack: its address and its memory."""

    host: str
    port: int
    client: Client
    process: Process

    def memory(self) -> float:
        """Return its memory in MiB."""
        return float(psutil.Process(self.process.pid).memory_info().rss / MIB)

    async def knock(self, sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect and send some bytes."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(sent)
        await writer.drain()
        return reader, writer

    async def slowest(self, times: int = 20) -> float:
        """Return the duration of the slowest of `times` honest requests, in seconds."""
        slowest = 0.0
        for _ in range(times):
            began = time.monotonic()
            said = await self.client.call("GET", "/v1/tasks?limit=1")
            assert said is not None
            assert said[0] == 200
            slowest = max(slowest, time.monotonic() - began)
        return slowest


@asynccontextmanager
async def besieged(database: str, log: Path, **settings: str) -> AsyncIterator[Besieged]:
    with reserved_port() as held:
        port = held.getsockname()[1]
        given = {"port": str(port), "body_timeout": "2s", "idle_timeout": "2s", "delivery_timeout": "1s", **settings}
        async with (
            sandboxed() as (_, provider),
            aiohttp.ClientSession() as session,
            started(Part(role="up", database=database, provider=provider, settings=given, log=log)) as process,
        ):
            client = Client(f"http://127.0.0.1:{port}", session)
            one = Besieged(host="127.0.0.1", port=port, client=client, process=process)
            await one.slowest()
            yield one


def head(length: int | None, path: str = "/kling/v1/videos/text2video") -> bytes:
    """Return the head of a request with a body of `length` bytes, or in chunks."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n{size}\r\n\r\n".encode()


async def closed(reader: asyncio.StreamReader) -> bytes:
    """Read until the other side hangs up, and return everything it sent."""
    try:
        return await reader.read(65536)
    except ConnectionError:
        return b""


async def test_a_hundred_half_heads_are_hung_up_on_and_honest_clients_do_not_notice(
    database: str, tmp_path: Path, figure: Figure
) -> None:
    async with besieged(database, tmp_path / "log") as on:
        before = on.memory()
        loris = [await on.knock(b"GET /v1/tasks HTTP/1.1\r\nHost: x\r\nX-Slow: ") for _ in range(100)]
        slowest, held = await on.slowest(), on.memory() - before
        began = time.monotonic()
        async with asyncio.timeout(10):
            await asyncio.gather(*(closed(reader) for reader, _ in loris))
        took = time.monotonic() - began
        for _, writer in loris:
            writer.close()
        figure(f"slow-loris, 100 half heads: +{held:.1f} MiB, honest {slowest * 1e3:.0f} ms, gone {took:.1f} s")
        assert held < 20
        assert slowest < 2


async def test_half_sent_bodies_are_given_up_in_time_and_hold_no_more_than_was_sent(
    database: str, tmp_path: Path, figure: Figure
) -> None:
    async with besieged(database, tmp_path / "log") as on:
        before = on.memory()
        half = [await on.knock(head(32 * MIB) + b"x" * (MIB // 4)) for _ in range(40)]
        slowest, held = await on.slowest(), on.memory() - before
        async with asyncio.timeout(15):
            answers = await asyncio.gather(*(closed(reader) for reader, _ in half))
        for _, writer in half:
            writer.close()
        figure(
            f"half-sent bodies, 40 of 32 MiB with 10 MiB sent in all: +{held:.1f} MiB, honest {slowest * 1e3:.0f} ms"
        )
        assert all(answer.startswith(b"HTTP/1.1 408") for answer in answers)
        assert held < 60
        await on.slowest()


@pytest.mark.parametrize("said", [True, False])
async def test_bodies_beyond_the_limit_are_refused_without_being_kept(
    database: str, tmp_path: Path, figure: Figure, *, said: bool
) -> None:
    async with besieged(database, tmp_path / "log", order_body_limit="1MiB") as on:
        before = on.memory()
        statuses = set()
        for _ in range(10):
            reader, writer = await on.knock(head(512 * MIB if said else None))
            chunk = b"x" * 65536
            try:
                for _ in range(64):
                    writer.write(chunk if said else b"10000\r\n" + chunk + b"\r\n")
                    await writer.drain()
            except ConnectionError:
                pass
            statuses.add((await closed(reader))[9:12])
            writer.close()
        held = on.memory() - before
        figure(f"10 bodies beyond 1 MiB, {'said' if said else 'not said'} beforehand: +{held:.1f} MiB")
        assert statuses <= {b"413", b""}
        assert held < 20
        await on.slowest()


async def test_bodies_of_ten_megabytes_do_not_stall_the_event_loop(
    database: str, tmp_path: Path, figure: Figure
) -> None:
    async with besieged(database, tmp_path / "log") as on:
        many = b'{"prompt": "a", "x": [' + b"[]," * (10 * MIB // 3) + b"0]}"  # slow to parse, if anybody did
        long = b'{"prompt": "' + b"a" * (10 * MIB) + b'"}'

        async def post(body: bytes) -> int:
            headers = {"Authorization": f"Bearer {KEY}"}
            url = f"{on.client.url}/kling/v1/videos/text2video"
            async with on.client.session.post(url, data=io.BytesIO(body), headers=headers) as answer:
                return answer.status

        uploads = [asyncio.create_task(post(body)) for body in (many, long) for _ in range(4)]
        slowest = await on.slowest()
        assert await asyncio.gather(*uploads) == [400] * len(uploads)
        figure(f"8 bodies of 10 MiB at once, half of them of 3.5 million values: honest {slowest * 1e3:.0f} ms")
        assert slowest < 2


async def test_subscribers_that_hang_or_never_stop_answering_hold_up_nobody(
    database: str, tmp_path: Path, figure: Figure
) -> None:
    async with (
        besieged(database, tmp_path / "log", retry_schedule="60s") as on,
        subscriber() as sound,
        bad() as (hang, flood),
    ):
        for url in (hang, flood, sound.url):
            await on.client.subscribed(url)
        before = on.memory()
        began = time.monotonic()
        tasks = [await on.client.insist(f"order {number}", "a rabbit") for number in range(10)]
        for task in tasks:
            await on.client.final(task)
        await eventually(lambda: len(sound.ids()) == 30)
        took = time.monotonic() - began
        held = on.memory() - before
        figure(
            f"30 events past one subscriber that hangs and one that answers endlessly: {took:.1f} s, +{held:.1f} MiB"
        )
        assert took < 15
        assert held < 40
        deliveries = (await on.client.got("/v1/deliveries?limit=200"))["data"]
        assert deliveries


@asynccontextmanager
async def bad() -> AsyncIterator[tuple[str, str]]:
    """Give the addresses of a subscriber that never answers, and of one whose answer never ends."""

    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)  # longer than any attempt waits
        return web.Response()

    async def flood(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 65536)

    app = web.Application()
    app.router.add_post("/hang", hang)
    app.router.add_post("/flood", flood)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield f"{url}/hang", f"{url}/flood"
    finally:
        await runner.cleanup()
