"""Bytes that are not HTTP get a short error of ours, are counted, and hardly get into the log."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import orjson
import pytest
from aiohttp.http_exceptions import BadHttpMessage

from kling_relay.flows.observer import MALFORMED, combine
from kling_relay.observe.logging_setup import set_up, tear_down
from kling_relay.observe.metrics import Metrics
from kling_relay.web.http.aiohttp_internals import malformed
from kling_relay.web.http.context import RequestLimits
from tests.api.test_limits import raw
from tests.support.relay import ApiServer, serve_api

SECRET = "a-secret-of-the-client"
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/nowhere HTTP/1.1\r\nHost: x\r\n"
NOT_HTTP = {
    "TLS": ("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + SECRET.encode()),
    "HTTP/2": ("first_line", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "no method": ("first_line", f"{SECRET}\r\n\r\n".encode()),
    "a version": ("first_line", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n"),
    "an address without an end": ("first_line", f"GET http://[::1{SECRET} HTTP/1.1\r\nHost: x\r\n\r\n".encode()),
    "a port": ("first_line", f"GET http://{SECRET}:99999/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()),
    "a long path": ("too_long", b"GET /" + (SECRET * 1000).encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a long header": ("too_long", GET + b"Authorization: Bearer " + (SECRET * 1000).encode() + b"\r\n\r\n"),
    "many headers": ("too_long", GET + b"".join(b"X-%d: %b\r\n" % (n, SECRET.encode()) for n in range(400)) + b"\r\n"),
    "a header without a colon": ("header", GET + f"Authorization Bearer {SECRET}\r\n\r\n".encode()),
    "a zero byte": ("header", GET + f"Authorization: {SECRET}\x00\r\n\r\n".encode()),
    "a bare return": ("header", GET + f"Authorization: {SECRET}\rX: y\r\n\r\n".encode()),
    "no Host": ("header", f"GET /livez HTTP/1.1\r\nAuthorization: {SECRET}\r\n\r\n".encode()),
    "a length in words": ("body", POST + f"Content-Length: {SECRET}\r\n\r\n".encode()),
    "two lengths": ("body", POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    "length and chunks": ("body", POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "an unknown transfer": ("body", POST + f"Transfer-Encoding: {SECRET}\r\n\r\n".encode()),
    "a chunk without a size": ("body", POST + f"Transfer-Encoding: chunked\r\n\r\n{SECRET}\r\n".encode()),
    "a chunk beyond all sizes": ("body", POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n"),
}


@dataclass(frozen=True, slots=True)
class Watched:
    """An API server, its metrics and its log."""

    api: ApiServer
    metrics: Metrics
    stream: io.BytesIO

    @property
    def lines(self) -> list[dict[str, object]]:
        return [orjson.loads(line) for line in self.stream.getvalue().splitlines()]

    def counted(self, reason: str) -> float | None:
        return self.metrics.registry.get_sample_value("relay_malformed_requests_total", {"reason": reason})


@asynccontextmanager
async def watched(database: str) -> AsyncIterator[Watched]:
    stream, metrics, level = io.BytesIO(), Metrics(), logging.getLogger().level
    observer = combine(metrics, set_up("json", "debug", stream=stream))
    try:
        async with serve_api(database, change=lambda context: replace(context, observer=observer)) as api:
            yield Watched(api, metrics, stream)
    finally:
        tear_down()
        logging.getLogger().setLevel(level)


async def test_bytes_that_are_not_http_get_a_short_error_of_ours_and_are_counted(database: str) -> None:
    async with watched(database) as server:
        for name, (reason, sent) in NOT_HTTP.items():
            before = server.counted(reason)
            response = await raw(server.api, sent)
            head, _, content = response.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n"), (name, response)
            assert b"\r\nConnection: close" in head, name
            assert len(response) < 1000, name
            assert not {b"aiohttp", b"python"} & {*response.lower().split(b"/"), *response.lower().split()}, name
            body = orjson.loads(content)
            assert (body["code"], body["status"]) == (1200, 400), name
            assert body["error"]["message"] == body["message"] == body["detail"], name
            assert SECRET[:8] not in response.decode(), name
            assert before is not None, name
            assert server.counted(reason) == before + 1, name


async def test_bytes_that_are_not_http_write_at_most_one_line_a_second_and_nothing_of_their_own(database: str) -> None:
    async with watched(database) as server:
        started_at = asyncio.get_running_loop().time()
        for _ in range(3):
            for _, sent in NOT_HTTP.values():
                await raw(server.api, sent)
        seconds = asyncio.get_running_loop().time() - started_at
        written = [line for line in server.lines if line["event"] == "malformed requests"]
        assert 1 <= len(written) <= 1 + seconds
        assert {line["level"] for line in server.lines if line["level"] != "debug"} <= {"info"}
        assert SECRET[:8] not in server.stream.getvalue().decode()
        assert "Traceback" not in server.stream.getvalue().decode()
        assert len(server.stream.getvalue()) < 4096


async def test_a_body_that_stops_being_http_is_refused_at_once(database: str) -> None:
    # RequestLimits().body_seconds is the time that its request would wait otherwise
    async with watched(database) as server, asyncio.timeout(RequestLimits().body_seconds / 10):
        host, port = server.api.url.removeprefix("http://").split(":")
        for first in (b"", b"3\r\n{ }\r\n"):
            reader, writer = await asyncio.open_connection(host, int(port))
            key = f"Authorization: Bearer {server.api.key}\r\n".encode()
            writer.write(
                b"POST /v1/quotes HTTP/1.1\r\nHost: x\r\n" + key + b"Transfer-Encoding: chunked\r\n\r\n" + first
            )
            await asyncio.sleep(0.05)  # so that the head arrives before the body, in a read of its own
            writer.write(b"nonsense\r\n\r\n")
            response = await reader.read()
            writer.close()
            assert response.startswith(b"HTTP/1.1 400 Bad Request\r\n"), response
            assert b"\r\nConnection: close" in response
        assert not [line for line in server.lines if line["level"] in {"warning", "error"}]


async def test_a_bug_behind_the_handlers_is_answered_in_our_manner(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(database) as server:

        def broken(_: object) -> None:
            raise RuntimeError(SECRET)

        monkeypatch.setattr(server.api.application.dispatcher._router, "match", broken)
        response = await raw(server.api, GET + b"\r\n")
        assert response.startswith(b"HTTP/1.1 500 Internal Server Error\r\n"), response
        assert orjson.loads(response.partition(b"\r\n\r\n")[2])["code"] == 5000
        assert SECRET not in response.decode()
        assert b"aiohttp" not in response.lower()
        (error,) = [line for line in server.lines if line["level"] == "error"]
        assert "RuntimeError" in str(error["exception"])


def test_every_reason_is_in_the_catalogue() -> None:
    assert {reason for reason, _ in NOT_HTTP.values()} == set(MALFORMED)
    assert malformed(BadHttpMessage("something new")).reason in MALFORMED
