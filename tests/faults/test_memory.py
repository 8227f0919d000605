"""The memory of a process, measured from outside: large orders, slow uploads and large callbacks stay within it."""

import asyncio
import collections
import io
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kling_relay.sandbox import Profile, Sandbox
from tests.faults.memory import MIB, chart_limit, order_of, peak_rss, rss
from tests.faults.process import Part, Process, started
from tests.support.service import KEY, sandboxed
from tests.support.waiting import eventually

Figure = Callable[[str], None]
PATH = "/kling/v1/videos/image2video"
AUTHORIZATION = {"Authorization": f"Bearer {KEY}"}
SMALL_PROCESS: dict[str, Any] = {"order_body_limit": "2MiB", "body_memory": "12MiB"}
"""The limits of a process at a twentieth of their defaults, so that a test takes a second."""
SMALL_ROOM = 12 + 16 + 4
"""What these limits allow, in MiB: bodies, small bodies, copies."""
SIZE = 3 * MIB // 2
SLACK = 24
"""MiB that the allocator, connections and the first imports may take beyond the limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A service, its provider and a client."""

    process: Process
    sandbox: Sandbox
    session: aiohttp.ClientSession
    connections: ExitStack

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.process.port}"

    async def post(self, body: bytes, path: str = PATH) -> tuple[int, dict[str, str]]:
        """Send an order; return the status and the headers of the answer."""
        async with self.session.post(self.url + path, data=io.BytesIO(body), headers=AUTHORIZATION) as answer:
            await answer.read()
            return answer.status, dict(answer.headers)

    async def post_at_once(self, body: bytes, count: int) -> collections.Counter[int]:
        """Send `count` orders at once; return how many got each status. Each 503 has a Retry-After."""
        answers = await asyncio.gather(*(self.post(body) for _ in range(count)))
        assert all(headers["Retry-After"] == "1" for status, headers in answers if status == 503)
        return collections.Counter(status for status, _ in answers)

    def begin(self, sent: int, announced: int) -> None:
        """Announce a body and send only a part of it, on a connection that stays open until the end of the test."""
        connection = self.connections.enter_context(socket.create_connection(("127.0.0.1", self.process.port)))
        connection.sendall(_head(announced) + b"x" * sent)


def _event(stream: socket.socket) -> bytes:
    """Return what a stream sends up to its first event."""
    received = b""
    while b"event: task." not in received:
        part = stream.recv(1024)
        assert part
        received += part
    return received


def _head(announced: int, *headers: str) -> bytes:
    lines = (
        f"POST {PATH} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {KEY}",
        f"Content-Length: {announced}",
        *headers,
    )
    return "\r\n".join((*lines, "", "")).encode()


@asynccontextmanager
async def host(
    database: str, log: Path, profile: Profile | None = None, role: Any = "api", **settings: str
) -> AsyncIterator[Host]:
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        sandboxed(profile) as (sandbox, provider),
        aiohttp.ClientSession(connector=connector) as session,
        started(Part(role=role, database=database, provider=provider, settings=settings, log=log)) as process,
    ):
        with ExitStack() as connections:
            yield Host(process=process, sandbox=sandbox, session=session, connections=connections)


async def test_large_orders_at_once_are_admitted_as_far_as_they_fit(
    database: str, tmp_path: Path, figure: Figure
) -> None:
    async with host(database, tmp_path / "log", **SMALL_PROCESS) as one:
        await one.post(order_of(MIB // 4))
        before = rss(one.process.pid)
        statuses = await one.post_at_once(order_of(SIZE), 20)
        growth = peak_rss(one.process.pid) - before
        figure(f"20 orders of 1.5 MiB at once, with room for 12 MiB: {dict(statuses)}, +{growth:.0f} MiB")
        assert statuses[200] >= 7
        assert statuses[200] + statuses[503] == 20
        assert growth < SMALL_ROOM + SLACK
        await eventually(lambda: len(one.sandbox.tasks) == statuses[200] + 1)
        assert (await one.post(order_of(SIZE)))[0] == 200  # all room is free again


@pytest.mark.long
async def test_twenty_orders_of_28_mb_at_once_fit_the_memory_limit_of_the_chart(
    database: str, tmp_path: Path, figure: Figure
) -> None:
    async with host(database, tmp_path / "log") as one:
        statuses = await one.post_at_once(order_of(27_900_000), 20)
        peak = peak_rss(one.process.pid)
        figure(f"20 orders of 28 MB at once: {dict(statuses)}, {peak:.0f} MiB at most")
        assert statuses[200] >= 9
        assert statuses[200] + statuses[503] == 20
        assert peak < chart_limit()
        await eventually(lambda: len(one.sandbox.tasks) == statuses[200], within=20)


@pytest.mark.long
async def test_ten_orders_with_two_pictures_of_10_mb_are_all_admitted(
    database: str, tmp_path: Path, figure: Figure
) -> None:
    async with host(database, tmp_path / "log") as one:
        statuses = await one.post_at_once(order_of(27_900_000), 10)
        peak = peak_rss(one.process.pid)
        figure(f"10 orders with two pictures of 10 MB at once: {peak:.0f} MiB at most")
        assert statuses == {200: 10}
        assert peak < chart_limit()


async def test_an_order_that_does_not_fit_is_refused_before_its_body_is_read(database: str, tmp_path: Path) -> None:
    async with host(database, tmp_path / "log", **SMALL_PROCESS) as one:
        for _ in range(6):
            one.begin(SIZE, 2 * MIB)
        head = b""

        async def is_refused() -> bool:
            nonlocal head
            reader, writer = await asyncio.open_connection("127.0.0.1", one.process.port)
            writer.write(_head(2 * MIB, "Expect: 100-continue"))
            head = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            return head.startswith(b"HTTP/1.1 503")

        await eventually(is_refused)
        assert b"Retry-After: 1" in head
        assert (await one.post(b'{"prompt": "a"}', "/kling/v1/videos/text2video"))[0] == 200  # small ones have room


@pytest.mark.parametrize(
    ("count", "within"),
    [(300, None), pytest.param(4_000, 60.0, marks=pytest.mark.long)],
)
async def test_uploads_that_send_little_take_little_and_do_not_keep_out_others(
    database: str, tmp_path: Path, figure: Figure, count: int, within: float | None
) -> None:
    settings: dict[str, Any] = SMALL_PROCESS if within is None else {}
    size = SIZE if within is None else 27_900_000
    async with host(database, tmp_path / "log", **settings) as one:
        before = rss(one.process.pid)
        for _ in range(count):
            one.begin(1024, size)
        assert (await one.post(order_of(size)))[0] == 200
        held = rss(one.process.pid) - before
        figure(f"{count} uploads that sent 1 KiB of {size / 1e6:.0f} MB: +{held:.0f} MiB")
        assert held < SLACK + count * 20 / 1024
        assert peak_rss(one.process.pid) < chart_limit()


async def test_slow_uploads_are_cut_off_when_others_need_their_room(database: str, tmp_path: Path) -> None:
    async with host(database, tmp_path / "log", **SMALL_PROCESS) as one:
        for _ in range(120):
            one.begin(64 * 1024, 2 * MIB)

        async def is_admitted() -> bool:
            return (await one.post(order_of(SIZE)))[0] == 200

        await eventually(is_admitted, within=10)


async def test_large_orders_that_wait_for_a_slot_are_not_in_memory(
    database: str, tmp_path: Path, figure: Figure
) -> None:
    profile = Profile(seconds=(0.0, 0.01))
    async with host(
        database, tmp_path / "log", profile, role="up", provider_slots="1", sweep_after="1s", **SMALL_PROCESS
    ) as one:
        await one.post(order_of(MIB // 4))
        before = rss(one.process.pid)
        for _ in range(8):
            assert (await one.post(order_of(SIZE)))[0] == 200
        await eventually(lambda: len(one.sandbox.tasks) == 9, within=20)
        growth = peak_rss(one.process.pid) - before
        figure(f"8 orders of 1.5 MiB in line for one slot, with room for 12 MiB: +{growth:.0f} MiB")
        assert growth < SMALL_ROOM + SLACK


@pytest.mark.parametrize("is_small", [True, pytest.param(False, marks=pytest.mark.long)])
async def test_uploads_that_send_nearly_everything_and_stop_stay_within_their_room(
    database: str, tmp_path: Path, figure: Figure, *, is_small: bool
) -> None:
    size = MIB if is_small else 29 * MIB
    async with host(database, tmp_path / "log", **(SMALL_PROCESS if is_small else {})) as one:

        def begin() -> None:
            with suppress(OSError):  # it was refused, and its connection closed
                one.begin(size, size + 1024)

        await asyncio.gather(*(asyncio.to_thread(begin) for _ in range(60)))
        peak = peak_rss(one.process.pid)
        figure(f"60 uploads of {size // MIB} MiB that never end: {peak:.0f} MiB at most")
        assert peak < (chart_limit() if not is_small else 100 + SMALL_ROOM + SLACK)
        assert (await one.post(b'{"prompt": "a"}', "/kling/v1/videos/text2video"))[0] == 200


async def test_the_body_of_a_get_is_not_kept_while_a_stream_goes_on(database: str, tmp_path: Path) -> None:
    async with host(database, tmp_path / "log") as one:
        before = rss(one.process.pid)
        for _ in range(20):
            connection = one.connections.enter_context(socket.create_connection(("127.0.0.1", one.process.port)))
            head = _head(MIB).replace(f"POST {PATH}".encode(), b"GET /v1/events/stream")
            connection.sendall(head + b"x" * MIB)
            assert (await asyncio.to_thread(connection.recv, 1024)).startswith(b"HTTP/1.1 200 ")
        assert rss(one.process.pid) - before < 10


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.long)])
async def test_an_idle_stream_takes_less_than_12_kb(database: str, tmp_path: Path, figure: Figure, count: int) -> None:
    async with host(database, tmp_path / "log", streams_per_key="20000") as one:
        request = f"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()

        def open_streams(number: int) -> list[socket.socket]:
            streams = []
            for _ in range(number):
                stream = socket.create_connection(("127.0.0.1", one.process.port), timeout=60)
                one.connections.enter_context(stream)
                stream.sendall(request)
                streams.append(stream)
            for stream in streams:
                assert stream.recv(1024).startswith(b"HTTP/1.1 200 ")
            return streams

        await asyncio.to_thread(open_streams, 50)
        before = rss(one.process.pid)
        streams = await asyncio.to_thread(open_streams, count)
        each = (rss(one.process.pid) - before) * 1024 / count
        figure(f"{count} idle streams: {each:.1f} KiB each, {peak_rss(one.process.pid):.0f} MiB at most")
        assert each < 12
        assert peak_rss(one.process.pid) < chart_limit()
        assert (await one.post(b'{"prompt": "a"}', "/kling/v1/videos/text2video"))[0] == 200
        assert all(await asyncio.to_thread(lambda: [_event(stream) for stream in streams]))


async def test_large_callbacks_at_once_stay_within_the_memory_of_bodies(
    database: str, tmp_path: Path, figure: Figure
) -> None:
    async with host(database, tmp_path / "log", body_memory="32MiB") as one:
        assert (await one.post(b'{"prompt": "a [forever]"}', "/kling/v1/videos/text2video"))[0] == 200
        await eventually(lambda: len(one.sandbox.tasks) == 1)
        hook = next(iter(one.sandbox.tasks.values())).order.hook
        before = rss(one.process.pid)
        statuses = collections.Counter[int]()

        async def send() -> None:
            body = b'{"task_status": "processing", "x": "' + b"a" * (MIB - 100) + b'"}'
            async with one.session.post(hook, data=io.BytesIO(body)) as answer:
                statuses[answer.status] += 1

        await asyncio.gather(*(send() for _ in range(200)))
        growth = peak_rss(one.process.pid) - before
        figure(f"200 callbacks of 1 MiB at once, with room for 32 MiB: {dict(statuses)}, +{growth:.0f} MiB")
        assert set(statuses) <= {200, 503}
        assert growth < 32 + 16 + SLACK
