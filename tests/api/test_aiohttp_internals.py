"""Undocumented details of aiohttp that we rely on: a test fails if a new release changes one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web
from typing_extensions import override

from kling_relay.web.http.aiohttp_internals import Response, Takeover, is_unused, make_server, send_continue
from kling_relay.web.http.headers import CommonHeaders, format_headers
from tests.support.waiting import eventually

NOW = datetime(2026, 11, 22, 12, 0, 5, 900_000, tzinfo=UTC)
Handler = Callable[[web.BaseRequest], Awaitable[Response | Takeover]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, web.Server]]:
    """Yield a connection to a server with this handler, and the server."""
    server = make_server(handler, lambda error: Response(body=str(error).encode(), status=400))
    runner = web.ServerRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
        yield reader, writer, server
        writer.close()
    finally:
        await runner.cleanup()


async def hello(_: web.BaseRequest) -> Response:
    response = Response(body=b"hello", headers={"Content-Type": "text/plain"})
    response.common = "Server: test\r\n"
    return response


async def response_to(request: str, handler: Handler = hello) -> bytes:
    """Return everything that the server sends until it closes the connection."""
    async with served(handler) as (reader, writer, _):
        writer.write(request.encode())
        return await asyncio.wait_for(reader.read(), 5)


async def test_a_response_is_sent_as_head_and_body() -> None:
    response = await response_to("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert response == (
        b"HTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
        b"Connection: close\r\n\r\nhello"
    )


async def test_a_connection_serves_several_requests() -> None:
    async with served(hello) as (reader, writer, _):
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"Connection" not in head
            assert await reader.readexactly(5) == b"hello"


async def test_a_connection_of_http_1_0_is_closed_unless_the_client_asks_to_keep_it() -> None:
    assert (await response_to("GET / HTTP/1.0\r\n\r\n")).endswith(b"Content-Length: 5\r\n\r\nhello")
    async with served(hello) as (reader, writer, _):
        writer.write(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert b"Connection: keep-alive\r\n" in await reader.readuntil(b"\r\n\r\n")


async def test_a_response_to_head_has_the_length_but_not_the_body() -> None:
    response = await response_to("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 5\r\n" in response
    assert response.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
async def test_a_response_without_a_body_has_no_length(status: int) -> None:
    async def bodiless(_: web.BaseRequest) -> Response:
        return Response(status=status)

    response = await response_to("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", bodiless)
    assert b"Content-Length" not in response


async def test_a_forced_close_is_announced_and_carried_out() -> None:
    async def last(_: web.BaseRequest) -> Response:
        response = Response(body=b"bye")
        response.force_close()
        return response

    assert b"Connection: close\r\n" in await response_to("GET / HTTP/1.1\r\nHost: x\r\n\r\n", last)


async def test_a_client_that_does_not_read_stops_the_writing() -> None:
    answered = 0

    async def large(_: web.BaseRequest) -> Response:
        nonlocal answered
        answered += 1
        return Response(body=bytes(8 * 1024 * 1024))

    async with served(large) as (reader, writer, _):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10)

        async def begun() -> bool:
            return answered > 0

        await eventually(begun)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: 8388608\r\n" in head
        assert answered <= 2  # the first response is still being sent, so the other requests wait


async def test_a_connection_is_unused_until_its_first_request() -> None:
    async with served(hello) as (reader, writer, server):

        async def accepted() -> bool:
            return len(server.connections) == 1

        await eventually(accepted)
        (connection,) = server.connections
        assert hasattr(connection, "_request_count")
        assert is_unused(connection)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        assert not is_unused(connection)


async def test_a_continue_is_sent_before_the_response_and_does_not_count_as_part_of_it() -> None:
    sizes: list[int] = []

    async def upload(request: web.BaseRequest) -> Response:
        await send_continue(request)
        sizes.append(request.writer.output_size)
        return Response(body=await request.read())

    async with served(upload) as (reader, writer, _):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert await reader.readexactly(3) == b"abc"
    assert sizes == [0]


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\x00b"])
def test_a_header_cannot_start_another_one(value: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        format_headers({"X-Name": value})
    with pytest.raises(ValueError, match="control character"):
        format_headers({value: "x"})


def test_the_date_is_that_of_the_request_and_changes_every_second() -> None:
    common = CommonHeaders({"Server": "test"})
    assert common.at(NOW) == "Server: test\r\nDate: Sun, 22 Nov 2026 12:00:05 GMT\r\n"
    assert common.at(NOW.replace(second=6)) == "Server: test\r\nDate: Sun, 22 Nov 2026 12:00:06 GMT\r\n"


async def test_bytes_that_are_not_http_get_the_given_response() -> None:
    response = await response_to("nonsense\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 400 Bad Request\r\n"), response
    assert b"text/plain" not in response


async def test_a_compressed_body_is_not_touched() -> None:
    async def echo(request: web.BaseRequest) -> Response:
        return Response(body=await request.read())

    head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\nContent-Encoding: "
    for encoding in ("gzip", "br", "zstd"):
        assert (await response_to(f"{head}{encoding}\r\n\r\nbody", echo)).endswith(b"\r\n\r\nbody")


class _Heir(asyncio.BufferedProtocol):
    """Takes a connection over, and records what happens to it."""

    def __init__(self) -> None:
        self.transport: asyncio.BaseTransport | None = None
        self.received = bytearray()
        self.is_lost = asyncio.Event()
        self._buffer = bytearray(100)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost.set()

    @override
    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self.received += self._buffer[:nbytes]


async def test_a_connection_that_is_taken_over_belongs_to_its_new_protocol_alone() -> None:
    heir = _Heir()

    async def give_away(request: web.BaseRequest) -> Takeover:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        return Takeover(heir)

    async with served(give_away) as (reader, writer, server):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"5\r\nfirst\r\n")
        await eventually(lambda: heir.transport is not None)
        assert not server.connections
        assert isinstance(heir.transport, asyncio.WriteTransport)
        heir.transport.write(b"second")
        assert await reader.readexactly(6) == b"second"
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await eventually(lambda: heir.received.startswith(b"GET /"))
        writer.close()
        await asyncio.wait_for(heir.is_lost.wait(), 5)


async def test_a_connection_that_is_lost_before_it_is_taken_over_is_reported_lost() -> None:
    heir = _Heir()

    async def give_away(request: web.BaseRequest) -> Takeover:
        assert request.transport is not None
        request.transport.abort()
        return Takeover(heir)

    async with served(give_away) as (_, writer, __):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(heir.is_lost.wait(), 5)
        assert heir.transport is None


async def test_a_large_body_is_read_in_small_pieces() -> None:
    sizes: list[int] = []

    async def read(request: web.BaseRequest) -> Response:
        while piece := await request.content.readany():
            sizes.append(len(piece))
        return Response(body=b"done", headers={"Connection": "close"})

    async with served(read) as (reader, writer, _):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000))
        await asyncio.wait_for(reader.readuntil(b"done"), 5)
    assert sum(sizes) == 1_000_000
    assert max(sizes) <= 128 * 1024
