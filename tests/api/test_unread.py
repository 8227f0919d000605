"""A connection with unsent bytes ends in time in every state: while it writes, once it closes, and as a stream."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from aiohttp import web

from kling_relay.web.http.aiohttp_internals import MAX_UNSENT, Response, open_connections
from kling_relay.web.http.context import RequestLimits
from kling_relay.web.server import serve
from tests.support.waiting import eventually

UNREAD = 0.3
SIZES = range(60_000, 200_000, 5_000)
"""Around what the kernel takes: with some of these, the connection closes while the last bytes wait in this process."""


class Documents:
    """A service whose documents have the size in the path; `/stream/SIZE` sends one as a stream that does not end."""

    def __init__(self) -> None:
        self.asked = self.cut = 0
        self.server: web.Server | None = None

    async def answer(self, request: web.BaseRequest) -> Response | web.StreamResponse:
        self.server = request.protocol._manager
        self.asked += 1
        body = bytes(int(request.path.rpartition("/")[2]))
        if not request.path.startswith("/stream"):
            return Response(body=body)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(body)
        await eventually(lambda: request.transport is None)  # as a stream waits for events
        return response

    def refuse(self, error: BaseException) -> Response:
        raise AssertionError(error)

    def connections_cut(self, count: int) -> None:
        self.cut += count

    def close_streams(self) -> None:
        """Streams end when their clients are gone."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield

    def open(self) -> int:
        return len(list(open_connections(self.server))) if self.server else 0


async def cut(path: str, header: str = "") -> int:
    """Ask for documents of all sizes on connections that are never read; return how many connections were cut."""
    documents, loop = Documents(), asyncio.get_running_loop()
    limits = RequestLimits(unread_seconds=UNREAD)
    async with serve(documents, "127.0.0.1", 0, limits, shutdown_timeout=1) as port:
        with ExitStack() as stack:
            for size in SIZES:
                client = stack.enter_context(socket.socket())
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setblocking(False)
                await loop.sock_connect(client, ("127.0.0.1", port))
                await loop.sock_sendall(client, f"GET {path}/{size} HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode())
            await eventually(lambda: documents.asked == len(SIZES))
            # a connection whose bytes the kernel took as a whole is not cut, and stays open unless it closes by itself
            await eventually(lambda: documents.open() == (0 if header else len(SIZES) - documents.cut))
            await eventually(lambda: documents.cut > len(SIZES) // 3)
            return documents.cut


async def test_a_connection_that_closes_with_unsent_bytes_is_cut() -> None:
    assert await cut("/close", "Connection: close\r\n") < len(SIZES), "the kernel takes the smallest ones"


async def test_a_connection_that_is_kept_with_unsent_bytes_is_cut() -> None:
    assert await cut("/keep") < len(SIZES)


async def test_a_stream_that_is_not_read_is_cut() -> None:
    assert await cut("/stream") < len(SIZES)


async def test_a_large_body_is_written_only_as_far_as_the_client_reads() -> None:
    documents, sizes = Documents(), []
    async with serve(documents, "127.0.0.1", 0, RequestLimits(), shutdown_timeout=1) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /10000000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = 0
        while chunk := await reader.read(100_000):
            received += len(chunk)
            assert documents.server is not None
            sizes += [transport.get_write_buffer_size() for _, transport in open_connections(documents.server)]
        writer.close()
    assert received > 10_000_000
    assert max(sizes) <= 8 * MAX_UNSENT
