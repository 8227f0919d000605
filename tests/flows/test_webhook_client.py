"""The webhook client over real sockets: no forbidden address is connected to, reads are bounded, nothing is raised."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

import kling_relay.outbound.http_client
from kling_relay.core.address import PUBLIC_ONLY, DialPolicy
from kling_relay.core.delivery import SubscriberResponse
from kling_relay.destinations.webhook import MAX_KEPT, GuardedResolver, WebhookClient

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LOOPBACK = DialPolicy.parse("127.0.0.1/32,::1/128")

Answering = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Meeting = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answering: Answering) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(answering))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw(meeting: Meeting) -> AsyncIterator[str]:
    """A rude server: it treats each connection as the test says, and closes all of them when it stops."""
    met: list[asyncio.StreamWriter] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(writer)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await meeting(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for writer in met:
            writer.transport.abort()


def endpoint(allowed: DialPolicy = LOOPBACK, **more: Any) -> WebhookClient:
    return WebhookClient(allowed=allowed, **more)


class Sockets:
    """Counts the sockets that the client makes."""

    def __init__(self) -> None:
        self.made: list[socket.socket] = []

    def __call__(self, *shape: Any) -> socket.socket:
        self.made.append(socket.socket(*shape))
        return self.made[-1]


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sockets]:
    """Counts the guard's calls of `socket.socket`, and no others."""
    counted = Sockets()

    class Module:
        socket = counted

        def __getattr__(self, name: str) -> Any:
            return getattr(socket, name)

    monkeypatch.setattr(kling_relay.outbound.http_client, "socket", Module())
    yield counted
    for made in counted.made:
        made.close()


class Telling(AbstractResolver):
    """A resolver for tests: each look-up returns the next list of addresses, and in the end always the last."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in addresses
        ]

    @override
    async def close(self) -> None:
        pass


async def test_a_post_arrives_to_the_letter_and_its_answer_comes_back() -> None:
    heard: list[Any] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        heard.append((request.method, request.raw_path, await request.read(), dict(request.headers)))
        return web.Response(status=202, text="thanks", headers={"Set-Cookie": "a=b"})

    async with serving(answer) as url, endpoint() as client:
        got = await client.post(url + "?sig=a%2Fb+c&x=%zz", {"webhook-id": "evt_1", "X-Own": "1"}, b"{}", NOW)
        await client.post(url, {}, b"{}", NOW)
    assert got.latency > 0
    assert got == SubscriberResponse(status=202, error=None, retry_after=None, body=b"thanks", latency=got.latency)
    method, path, body, headers = heard[0]
    assert (method, path, body) == ("POST", "/hook?sig=a%2Fb+c&x=%zz", b"{}")
    assert headers["webhook-id"] == "evt_1"
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"] == "kling-relay"
    assert "Cookie" not in heard[1][3]


async def test_connections_are_kept_and_used_again(sockets: Sockets) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=b"x" * MAX_KEPT)

    async with serving(answer) as url, endpoint() as client:
        for _ in range(10):
            assert (await client.post(url, {}, b"{}", NOW)).body == b"x" * MAX_KEPT
    assert len(sockets.made) == 1


async def test_a_redirect_is_an_answer_and_never_followed() -> None:
    calls: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        calls.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with serving(answer) as url, endpoint() as client:
        assert (await client.post(url, {}, b"{}", NOW)).status == 307
    assert calls == ["/hook"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30.0), ("Sun, 22 Nov 2026 12:02:00 GMT", 120.0), ("9999999", 86_400.0), ("soon", None)],
)
async def test_retry_after_is_read(header: str, seconds: float | None) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": header})

    async with serving(answer) as url, endpoint() as client:
        got = await client.post(url, {}, b"{}", NOW)
    assert (got.status, got.retry_after) == (503, seconds)


LITERALS = ["127.0.0.1", "127.0.0.2", "10.0.0.1", "169.254.169.254", "100.64.0.1", "192.0.0.8", "0.0.0.0", "224.0.0.1"]
LITERALS += ["[::1]", "[::]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::1]", "[fec0::1]", "[fd00::1]"]
LITERALS += ["[2001:0:4136:e378::]", "[fe80::1]", "[ff02::1]", "255.255.255.255", "168.63.129.16"]


@pytest.mark.parametrize("literal", LITERALS)
async def test_an_inner_address_gets_no_socket_as_a_literal_or_behind_a_name(literal: str, sockets: Sockets) -> None:
    async with endpoint(PUBLIC_ONLY, resolver=Telling([literal.strip("[]")])) as client:
        for host in (literal, "name.example"):
            got = await client.post(f"http://{host}:1/", {}, b"{}", NOW)
            assert (got.status, got.error) == (None, "blocked: the address is neither public nor allowed")
    assert sockets.made == []


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1.", "localhost", "①②⑦.⓪.⓪.①"]
)
async def test_no_notation_of_loopback_gets_a_socket(host: str, sockets: Sockets) -> None:
    async with endpoint(PUBLIC_ONLY) as client:
        got = await client.post(f"http://{host}:1/", {}, b"{}", NOW)
    assert got.error is not None
    assert got.error.startswith(("blocked", "protocol", "dns"))
    assert sockets.made == []


async def test_a_port_that_is_not_allowed_gets_no_socket(sockets: Sockets) -> None:
    few = DialPolicy.parse("127.0.0.1/32")
    async with endpoint(DialPolicy(networks=few.networks, ports=(range(80, 81), range(8000, 9000)))) as client:
        got = await client.post("http://127.0.0.1:7999/", {}, b"{}", NOW)
        assert (got.status, got.error) == (None, "blocked: the port is not allowed")
        assert sockets.made == []
        assert (await client.post("http://127.0.0.1:8999/", {}, b"{}", NOW)).error == "refused"


async def test_among_several_addresses_only_those_allowed_are_dialled(sockets: Sockets) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response()

    async with serving(answer) as url:
        port = url.rpartition(":")[2]
        async with endpoint(resolver=Telling(["10.0.0.1", "127.0.0.1", "127.0.0.2"])) as client:
            assert (await client.post(f"http://name.example:{port}", {}, b"{}", NOW)).status == 200
        async with endpoint(resolver=Telling(["10.0.0.1", "fd00::1"])) as client:
            got = await client.post(f"http://name.example:{port}", {}, b"{}", NOW)
    assert got.error == "blocked: the address is neither public nor allowed"
    assert len(sockets.made) == 1


async def test_a_rebound_name_gains_nothing() -> None:
    """The name is fine when it is checked and at the first connection. Then it points to an inner address."""
    inner: list[bytes] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner.append(await reader.read(1))
        writer.close()

    async def answer(request: web.BaseRequest) -> web.Response:
        response = web.Response()
        response.force_close()
        return response

    async with serving(answer) as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
        server = await asyncio.start_server(meet, "127.0.0.2", port)
        resolver = Telling(["127.0.0.1"], ["127.0.0.2"])
        async with server, endpoint(resolver=resolver, dns_ttl=0) as client:
            first = await client.post(f"http://name.example:{port}/", {}, b"{}", NOW)
            second = await client.post(f"http://name.example:{port}/", {}, b"{}", NOW)
    assert first.status == 200
    assert second.error == "blocked: the address is neither public nor allowed"
    assert inner == []


async def test_an_endless_answer_is_read_to_its_bound_and_no_further() -> None:
    sent = 0

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            sent += 4096
            await writer.drain()

    async with raw(pour) as url, endpoint() as client:
        got = await client.post(url, {}, b"{}", NOW)
    assert (got.status, got.body) == (200, b"x" * MAX_KEPT)
    assert sent < 64 * 1024 * 1024


async def test_compressed_answers_are_kept_as_they_came() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(body=b"\x1f\x8b no bomb goes off here", headers={"Content-Encoding": "gzip"})

    async with serving(answer) as url, endpoint() as client:
        assert (await client.post(url, {}, b"{}", NOW)).body == b"\x1f\x8b no bomb goes off here"


async def test_an_answer_that_breaks_off_keeps_its_status() -> None:
    async def stop(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")

    async with raw(stop) as url, endpoint() as client:
        got = await client.post(url, {}, b"{}", NOW)
    assert (got.status, got.error) == (200, None)


RUDE = [
    (b"", "reset"),
    (b"SSH-2.0-OpenSSH\r\n", "protocol"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n", "protocol"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n", "protocol"),
    (b"HTTP/1.1 OK\r\n\r\n", "protocol"),
]


@pytest.mark.parametrize(("said", "error"), RUDE)
async def test_a_rude_server_is_an_answer_too(said: bytes, error: str) -> None:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    async with raw(say) as url, endpoint() as client:
        got = await client.post(url, {}, b"{}", NOW)
    assert got.status is None
    assert got.error is not None
    assert got.error.split(":")[0] == error


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
async def test_a_server_that_hangs_is_left_in_time(said: bytes) -> None:
    over = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await over.wait()

    async with raw(hang) as url, endpoint(timeout=0.2) as client:
        got = await client.post(url, {}, b"{}", NOW)
        over.set()
    assert (got.status, got.error) == (None, "timeout")
    assert got.latency < 2


async def test_every_fault_of_dialling_has_its_word() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        async with endpoint(timeout=0.2) as client:
            assert (await client.post(f"https://127.0.0.1:{port}/", {}, b"", NOW)).error == "timeout"
    async with endpoint() as client:
        assert (await client.post(f"http://127.0.0.1:{port}/", {}, b"", NOW)).error == "refused"
        assert (await client.post("http://nowhere.invalid/", {}, b"", NOW)).error == "dns: the name cannot be resolved"

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response()

    async with serving(answer) as url, endpoint() as client:
        got = await client.post(url.replace("http:", "https:"), {}, b"", NOW)
        assert got.error == "tls: the handshake failed"


@pytest.mark.parametrize(
    "url", ["", "no url", "http://", "ftp://127.0.0.1/", "http://[::1", "http://a:b@c:99999/", "//x"]
)
async def test_no_address_makes_it_raise(url: str) -> None:
    async with endpoint() as client:
        got = await client.post(url, {}, b"", NOW)
    assert got.status is None
    assert got.error is not None
    assert got.error.startswith("protocol")


async def test_no_answer_reveals_where_a_name_resolves_to() -> None:
    told = []
    for addresses in (["10.1.2.3"], ["10.1.2.3", "127.0.0.1"], ["10.1.2.3", "fd00::7"], ["127.0.0.1"]):
        async with endpoint(resolver=Telling(addresses)) as client:
            told.append((await client.post("http://name.example:1/", {}, b"", NOW)).error or "")
    assert not [text for text in told if any(sign in text for sign in ("10.1", "127.0", "fd00"))]


async def test_a_cancelled_attempt_is_cancelled() -> None:
    met, over = asyncio.Event(), asyncio.Event()

    async def hang(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        met.set()
        await over.wait()

    async with raw(hang) as url, endpoint() as client:
        attempt = asyncio.create_task(client.post(url, {}, b"{}", NOW))
        await met.wait()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        over.set()


async def test_names_are_resolved_by_the_system() -> None:
    names = GuardedResolver()
    found = await names.resolve("localhost", 80)
    assert {address["host"] for address in found} <= {"127.0.0.1", "::1"}
    for nobody in ("nowhere.invalid", "a" * 64 + ".example", "."):
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on the system's resolver
            await names.resolve(nobody, 80)
