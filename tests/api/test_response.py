"""Responses that are written whole: what goes over the wire, byte by byte, for each way of asking."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from kling_relay.web.http.response import Common, Response, lines
from tests.support.waiting import eventually

NOW = datetime(2026, 11, 22, 12, 0, 5, 900_000, tzinfo=UTC)
Act = Callable[[web.BaseRequest], Awaitable[Response]]


@asynccontextmanager
async def served(act: Act) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server that answers by `act`."""
    handler: Any = act
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
        yield reader, writer
        writer.close()
    finally:
        await runner.cleanup()


async def hello(_: web.BaseRequest) -> Response:
    response = Response(body=b"hello", headers={"Content-Type": "text/plain"})
    response.common = "Server: test\r\n"
    return response


async def asked(head: str, act: Act = hello) -> bytes:
    """All that comes back until the server hangs up."""
    async with served(act) as (reader, writer):
        writer.write(head.encode())
        return await asyncio.wait_for(reader.read(), 5)


async def test_an_answer_is_its_head_and_body() -> None:
    told = await asked("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert told == (
        b"HTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
        b"Connection: close\r\n\r\nhello"
    )


async def test_a_connection_is_kept_for_who_may_ask_again() -> None:
    async with served(hello) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"Connection" not in head
            assert await reader.readexactly(5) == b"hello"


async def test_http_1_0_is_hung_up_on_unless_it_asks_to_be_kept() -> None:
    assert (await asked("GET / HTTP/1.0\r\n\r\n")).endswith(b"Content-Length: 5\r\n\r\nhello")
    async with served(hello) as (reader, writer):
        writer.write(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert b"Connection: keep-alive\r\n" in await reader.readuntil(b"\r\n\r\n")


async def test_head_tells_the_length_of_what_it_does_not_send() -> None:
    told = await asked("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 5\r\n" in told
    assert told.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
async def test_what_has_no_body_has_no_length(status: int) -> None:
    async def nothing(_: web.BaseRequest) -> Response:
        return Response(status=status)

    told = await asked("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", nothing)
    assert b"Content-Length" not in told
    assert told.endswith(b"\r\n\r\n")


async def test_the_last_answer_says_so_and_hangs_up() -> None:
    async def last(_: web.BaseRequest) -> Response:
        response = Response(body=b"bye")
        response.force_close()
        return response

    assert b"Connection: close\r\n" in await asked("GET / HTTP/1.1\r\nHost: x\r\n\r\n", last)


async def test_who_does_not_read_is_not_written_for() -> None:
    answered = 0

    async def large(_: web.BaseRequest) -> Response:
        nonlocal answered
        answered += 1
        return Response(body=bytes(8 * 1024 * 1024))

    async with served(large) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10)

        async def begun() -> bool:
            return answered > 0

        await eventually(begun)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: 8388608\r\n" in head
        assert answered <= 2  # the first has not gone out; nobody works on the rest


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\x00b"])
def test_a_header_ends_no_line_but_its_own(value: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        lines({"X-Name": value})
    with pytest.raises(ValueError, match="control character"):
        lines({value: "x"})


def test_the_date_is_that_of_the_request_and_changes_with_the_second() -> None:
    common = Common({"Server": "test"})
    assert common.at(NOW) == "Server: test\r\nDate: Sun, 22 Nov 2026 12:00:05 GMT\r\n"
    assert common.at(NOW.replace(second=6)) == "Server: test\r\nDate: Sun, 22 Nov 2026 12:00:06 GMT\r\n"
