"""The provider's client through an HTTP proxy, and by TLS: what either end gets, and what a failure means."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web

from kling_relay.core.submission import Accepted, NoAnswer, RetryLater, SubmitOutcome, Unknown
from kling_relay.outbound.proxy import read_proxy
from kling_relay.outbound.target import InvalidRequestError
from kling_relay.provider.client import Provider
from tests.flows.test_provider_client import HOOK, NOW, TASK, breaking, closed_port, created, provider
from tests.support.certificates import make_certificate

ON_EVERY_LOOP = True
BASIC = "Proxy-Authorization: Basic dXM6cCBz"


class Forwarder:
    """A proxy: it opens tunnels, and forwards plain requests by their URL."""

    def __init__(self, refusal: bytes = b"") -> None:
        self.refusal = refusal
        self.heads: list[str] = []
        self.tunnels = 0

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode())
            if self.refusal:
                writer.write(self.refusal)
            else:
                await self._forward(head, reader, writer)
        writer.close()

    async def _forward(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, url, _ = head.decode().split(" ", 2)
        authority = url if method == "CONNECT" else url.split("/")[2]
        host, _, port = authority.rpartition(":")
        beyond_reader, beyond_writer = await asyncio.open_connection(host, int(port))
        if method == "CONNECT":
            self.tunnels += 1
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            beyond_writer.write(head)
        await asyncio.gather(_pipe(reader, beyond_writer), _pipe(beyond_reader, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying(forwarder: Forwarder, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    server = await asyncio.start_server(forwarder.meet, "127.0.0.1", 0, ssl=tls)
    async with server:
        scheme = "https" if tls else "http"
        yield f"{scheme}://us:p%20s@127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve a provider that accepts every order, and yield its URL."""

    async def answer(request: web.BaseRequest) -> web.Response:
        assert len(await request.content.read()) == int(request.headers.get("Content-Length", 0))
        assert "Proxy-Authorization" not in request.headers or tls is None
        return web.json_response(created("processing" if request.method == "GET" else "submitted"))

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The context of a server whose certificate is in SSL_CERT_FILE."""
    certificate, context = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return context


async def submit(client: Provider, size: int = 0) -> SubmitOutcome:
    body = client.order_body({"image": "A" * size} if size else {})
    return await client.submit("videos/text2video", body, TASK, HOOK, NOW)


async def test_a_proxy_forwards_plain_requests_by_their_whole_url() -> None:
    forwarder = Forwarder()
    async with serving() as url, proxying(forwarder) as proxy, provider(url, proxy=proxy) as client:
        assert isinstance(await submit(client), Accepted)
    assert forwarder.heads[0].startswith(f"POST {url}/kling/v1/videos/text2video HTTP/1.1\r\nHost: {url[7:]}\r\n")
    assert BASIC in forwarder.heads[0]


@pytest.mark.parametrize("size", [0, 3_000_000])
async def test_tls_goes_through_a_tunnel_that_is_used_again(tls: ssl.SSLContext, size: int) -> None:
    forwarder = Forwarder()
    async with serving(tls) as url, proxying(forwarder) as proxy, provider(url, proxy=proxy) as client:
        assert isinstance(await submit(client, size), Accepted)
        assert isinstance(await submit(client), Accepted)
        assert not isinstance(await client.poll("videos/text2video", "T", TASK, NOW), NoAnswer)
    assert forwarder.tunnels == 1
    assert forwarder.heads[0].startswith(f"CONNECT {url[8:]} HTTP/1.1\r\nHost: {url[8:]}\r\n")
    assert BASIC in forwarder.heads[0]


async def test_a_proxy_may_itself_be_reached_by_tls(tls: ssl.SSLContext) -> None:
    forwarder = Forwarder()
    async with serving(tls) as url, proxying(forwarder, tls) as proxy, provider(url, proxy=proxy) as client:
        assert isinstance(await submit(client), Accepted)
    assert forwarder.tunnels == 1


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (b"HTTP/1.1 407 Who are you?\r\nContent-Length: 0\r\n\r\n", "the proxy answers 407"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", "the proxy answers 502"),
        (b"SSH-2.0-x\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 99_999, "not HTTP"),
        (b"HTTP/1.1 2", "the connection ended"),
        (b"HTTP/1.1 200 OK\r\n\r\nno TLS", "the connection ended"),
    ],
)
async def test_an_order_without_a_tunnel_is_retried_later(tls: ssl.SSLContext, refusal: bytes, reason: str) -> None:
    async with serving(tls) as url, proxying(Forwarder(refusal)) as proxy, provider(url, proxy=proxy) as client:
        assert await submit(client) == RetryLater(0, f"no connection to the provider: {reason}")


async def test_a_proxy_that_is_away_or_hangs_means_no_connection(tls: ssl.SSLContext) -> None:
    async with provider("https://127.0.0.1:9", proxy=f"http://127.0.0.1:{closed_port()}") as client:
        assert await submit(client) == RetryLater(0, "no connection to the provider: refused")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with provider("https://127.0.0.1:9", proxy=proxy, connect_timeout=0.1) as client:
            assert await submit(client) == RetryLater(0, "no connection to the provider: timed out")


async def test_a_proxy_that_loses_an_answer_leaves_an_order_unknown() -> None:
    async with breaking(b"") as (proxy, _), provider("http://provider.example", proxy=proxy) as client:
        assert isinstance(await submit(client), Unknown)


async def test_a_certificate_that_is_not_trusted_is_no_connection(tls: ssl.SSLContext, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    _, unknown = make_certificate(tmp_path / "other")
    async with serving(unknown) as url, provider(url) as client:
        assert await submit(client) == RetryLater(0, "no connection to the provider: no secure connection")
    async with serving(tls) as url, provider(url) as client:
        assert isinstance(await submit(client), Accepted)


@pytest.mark.parametrize("url", ["socks5://a:1", "http://", "", "http://a:b:c"])
def test_a_url_of_another_kind_of_proxy_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError):
        read_proxy(url)


def test_a_proxy_needs_no_scheme_and_shows_no_password() -> None:
    assert read_proxy("proxy.example:3128").target[:3] == ("proxy.example", 3128, False)
    assert "p s" not in repr(read_proxy("http://us:p%20s@proxy.example"))
    assert "dXM6" not in repr(read_proxy("http://us:p%20s@proxy.example"))
