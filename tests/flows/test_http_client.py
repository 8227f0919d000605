"""The HTTP client against raw answers: every form that a subscriber may send, in any cuts, on real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from kling_relay.core.address import DialPolicy
from kling_relay.outbound.http_client import HTTPClient
from kling_relay.outbound.http_connection import MAX_FIELDS, Connection, ConnectionEndedError, NotHTTPError
from kling_relay.outbound.http_response import MAX_HEAD
from kling_relay.outbound.target import InvalidRequestError, read_target
from tests.support.waiting import eventually

ON_EVERY_LOOP = True
LIMIT = 1024
LOOPBACK = DialPolicy.parse("127.0.0.1/32")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Resolver:
    """Knows `name.example`, which is this machine."""

    async def resolve(self, host: str, port: int, family: int) -> list[dict[str, Any]]:
        if host != "name.example":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [{"host": "127.0.0.1", "port": port, "family": socket.AF_INET}]


class Server:
    """Answers each request with the next of `answers` (the last one again and again); None closes without a word."""

    def __init__(self, *answers: bytes | None, is_closing: bool = False) -> None:
        self.answers = list(answers)
        self.is_closing = is_closing
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = ""
        self.open: set[asyncio.StreamWriter] = set()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
                if self.is_closing:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()


@asynccontextmanager
async def serving(*answers: bytes | None, is_closing: bool = False) -> AsyncIterator[Server]:
    server = Server(*answers, is_closing=is_closing)
    listening = await asyncio.start_server(server.meet, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/hook"
    async with listening:
        yield server
        for writer in list(server.open):
            writer.transport.abort()


@asynccontextmanager
async def client(**more: Any) -> AsyncIterator[HTTPClient]:
    made = HTTPClient(allowed=LOOPBACK, resolver=Resolver(), max_body=LIMIT, **{"timeout": 5.0, **more})
    made.start()
    try:
        yield made
    finally:
        await made.stop()


REUSABLE: dict[str, tuple[bytes, tuple[int, str | None, bytes]]] = {
    "a length": (OK, (200, None, b"ok")),
    "no body": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (200, None, b"")),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", (204, None, b"")),
    "304": (b"HTTP/1.1 304 Not Modified\r\n\r\n", (304, None, b"")),
    "no reason": (b"HTTP/1.1 202 \r\nContent-Length: 0\r\n\r\n", (202, None, b"")),
    "no space": (b"HTTP/1.1 202\r\nContent-Length: 0\r\n\r\n", (202, None, b"")),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n",
        (200, None, b"abcde"),
    ),
    "100 before": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, (200, None, b"ok")),
    "103 before": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 P\r\n\r\n" + OK, (200, None, b"ok")),
    "Retry-After": (
        b"HTTP/1.1 503 Busy\r\nRETRY-AFTER:  30 \r\nContent-Length: 0\r\n\r\n",
        (503, "30", b""),
    ),
    "a 1.0 that keeps alive": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        (200, None, b"ok"),
    ),
    "a redirect": (b"HTTP/1.1 307 T\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", (307, None, b"")),
    "an odd status": (b"HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n", (599, None, b"")),
    "a long head": (
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000 + b"\r\nContent-Length: 2\r\n\r\nok",
        (200, None, b"ok"),
    ),
    "many fields": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"Content-Length: 2\r\n\r\nok", (200, None, b"ok")),
}
"""After these the connection is used again."""
FINAL: dict[str, tuple[bytes, tuple[int, str | None, bytes]]] = {
    "a 204 with bytes after it": (b"HTTP/1.1 204 No Content\r\n\r\nextra", (204, None, b"")),
    "a 204 with a length and a body": (b"HTTP/1.1 204 N\r\nContent-Length: 2\r\n\r\nok", (204, None, b"")),
    "bytes beyond the length": (OK + b"more", (200, None, b"ok")),
    "two responses": (OK + OK, (200, None, b"ok")),
    "the same length twice": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\nok",
        (200, "7", b"ok"),
    ),
    "a length and chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        (200, None, b""),
    ),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", (200, None, b"ok")),
    "a field without a colon": (b"HTTP/1.1 201 OK\r\nnonsense\r\nContent-Length: 0\r\n\r\n", (201, None, b"")),
    "a length that is not a number": (b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", (200, None, b"ok")),
    "a bad chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", (200, None, b"")),
    "101": (b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", (101, None, b"")),
    "a close": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", (200, None, b"ok")),
    "a 1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", (200, None, b"ok")),
    "a long body": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + b"x" * (LIMIT + 1),
        (200, None, b"x" * LIMIT),
    ),
}
"""The status is the response, and the connection is closed."""
ENDING: dict[str, tuple[bytes, tuple[int, str | None, bytes]]] = {
    "a body that ends with the connection": (b"HTTP/1.1 200 OK\r\n\r\nabc", (200, None, b"abc")),
    "a body that breaks off": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", (200, None, b"abc")),
    "chunks that break off": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", (200, None, b"abc")),
}
"""The same where the server closes the connection."""
BROKEN: dict[str, tuple[bytes, type[Exception]]] = {
    "nothing": (b"", ConnectionEndedError),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-", ConnectionEndedError),
    "only an interim response": (b"HTTP/1.1 100 Continue\r\n\r\n", ConnectionEndedError),
    "something else": (b"SSH-2.0-OpenSSH_9\r\n", NotHTTPError),
    "no status": (b"HTTP/1.1 OK\r\n\r\n", NotHTTPError),
    "a status of four digits": (b"HTTP/1.1 2000 OK\r\n\r\n", NotHTTPError),
    "a head beyond its bound": (b"HTTP/1.1 200 OK\r\nX: " + b"y" * (2 * MAX_HEAD), NotHTTPError),
    "a line without an end": (b"HTTP/1.1 200 " + b"y" * (2 * MAX_HEAD), NotHTTPError),
    "fields beyond their bound": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MAX_FIELDS + 1) + b"\r\n", NotHTTPError),
    "endless interim responses": (b"HTTP/1.1 100 C\r\nA: b\r\n\r\n" * 5000, NotHTTPError),
}


@pytest.mark.parametrize("form", REUSABLE)
async def test_a_response_is_read_and_its_connection_used_again(form: str) -> None:
    raw, expected = REUSABLE[form]
    async with serving(raw) as server, client() as http:
        assert [(await http.post(server.url, {}, b"{}"))[:3] for _ in range(3)] == [expected] * 3
        assert server.connections == 1


@pytest.mark.parametrize("form", FINAL)
@pytest.mark.long
async def test_a_status_is_the_answer_and_its_connection_is_not_used_again(form: str) -> None:
    raw, expected = FINAL[form]
    async with serving(raw) as server, client() as http:
        assert [(await http.post(server.url, {}, b"{}"))[:3] for _ in range(2)] == [expected] * 2
        assert server.connections == 2


@pytest.mark.parametrize("form", ENDING)
async def test_a_status_is_the_answer_if_the_connection_ends_within_the_body(form: str) -> None:
    raw, expected = ENDING[form]
    async with serving(raw, is_closing=True) as server, client() as http:
        assert (await http.post(server.url, {}, b"{}"))[:3] == expected


@pytest.mark.parametrize("form", BROKEN)
async def test_without_a_whole_head_there_is_no_response(form: str) -> None:
    raw, error = BROKEN[form]
    async with serving(raw or None, is_closing=True) as server, client() as http:
        with pytest.raises(error):
            await http.post(server.url, {}, b"{}")


async def test_a_request_goes_out_to_the_letter() -> None:
    async with serving(OK) as server, client(headers={"User-Agent": "kling-relay"}) as http:
        await http.post(server.url + "?sig=a%2Fb+c&x=%zz#part", {"webhook-id": "evt_1", "X-Own": "ü"}, b"{}")
    host = server.url.split("/")[2]
    assert server.requests == [
        f"POST /hook?sig=a%2Fb+c&x=%zz HTTP/1.1\r\nHost: {host}\r\nUser-Agent: kling-relay\r\nwebhook-id: evt_1\r\n"
        "X-Own: ü\r\nContent-Length: 2\r\n\r\n{}".encode()
    ]


async def test_a_header_of_the_request_replaces_the_common_one() -> None:
    async with serving(OK) as server, client(headers={"User-Agent": "kling-relay", "Accept": "*/*"}) as http:
        await http.post(server.url, {"user-agent": "mine"}, b"{}")
    assert server.requests[0].split(b"\r\n")[2:5] == [b"Accept: */*", b"user-agent: mine", b"Content-Length: 2"]


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nX: y", "a\rX: y"])
async def test_a_header_cannot_begin_another(value: str) -> None:
    async with serving(OK) as server, client() as http:
        with pytest.raises(InvalidRequestError):
            await http.post(server.url, {"X-Own": value}, b"{}")
        assert server.requests == []


async def test_a_kept_connection_that_died_is_replaced_without_an_error() -> None:
    async with serving(OK, None, OK) as server, client() as http:
        for _ in range(2):  # the second request meets the end of its connection, and goes out again on another
            assert (await http.post(server.url, {}, b"{}")).status == 200
        assert (server.connections, len(server.requests)) == (2, 3)


async def test_a_fresh_connection_that_dies_is_an_error_and_not_dialled_again() -> None:
    async with serving(None) as server, client() as http:
        with pytest.raises(ConnectionEndedError):
            await http.post(server.url, {}, b"{}")
        assert server.connections == 1


async def test_a_request_is_not_repeated_once_a_byte_of_its_answer_came() -> None:
    async with serving(OK, b"HTTP/1.1 2", None) as server, client(timeout=0.3) as http:
        await http.post(server.url, {}, b"{}")
        with pytest.raises(TimeoutError):
            await http.post(server.url, {}, b"{}")
        assert len(server.requests) == 2


async def test_bytes_that_arrive_late_after_a_204_do_not_spoil_the_next_request() -> None:
    """Python's own http.server writes a 204 and then the body that it must not have."""
    async with serving(b"HTTP/1.1 204 N\r\n\r\n", b"{}" + OK, OK) as server, client() as http:
        assert (await http.post(server.url, {}, b"{}")).status == 204
        assert (await http.post(server.url, {}, b"{}")).status == 200
        assert server.connections == 2


async def test_an_idle_connection_is_closed_when_something_arrives_or_its_time_is_over() -> None:
    async with serving(OK) as server, client(keepalive=0.1) as http:
        await http.post(server.url, {}, b"{}")
        await eventually(lambda: not server.open, within=5)
        await http.post(server.url, {}, b"{}")
        next(iter(server.open)).write(b"HTTP/1.1 408 Timeout\r\n\r\n")
        await eventually(lambda: not server.open, within=5)
        assert (await http.post(server.url, {}, b"{}")).status == 200
        assert server.connections == 3


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
@pytest.mark.long
async def test_a_request_ends_with_its_time(answer: bytes) -> None:
    async with serving(answer) as server, client(timeout=0.2) as http:
        with pytest.raises(TimeoutError):
            await http.post(server.url, {}, b"{}")
        await eventually(lambda: not server.open, within=5)


@pytest.mark.long
async def test_a_slow_request_does_not_shorten_or_lengthen_the_time_of_others() -> None:
    async with serving(b"") as slow, serving(OK) as quick, client(timeout=0.5) as http:
        hanging = asyncio.create_task(http.post(slow.url, {}, b"{}"))
        for _ in range(50):
            assert (await http.post(quick.url, {}, b"{}")).status == 200
        with pytest.raises(TimeoutError):
            await hanging
        assert quick.connections == 1


async def test_a_short_time_counts_though_a_longer_one_began_before() -> None:
    async with serving(b"") as server, client(timeout=30.0) as http:
        long = asyncio.create_task(http.post(server.url, {}, b"{}"))
        await eventually(lambda: server.requests)
        with pytest.raises(TimeoutError):
            await http.request("POST", read_target(server.url), {}, (b"{}",), timeout=0.1, is_repeatable=True)
        assert not long.done()
        long.cancel()
        await asyncio.gather(long, return_exceptions=True)


async def test_a_cancelled_request_closes_its_connection() -> None:
    async with serving(b"") as server, client() as http:
        request = asyncio.create_task(http.post(server.url, {}, b"{}"))
        await eventually(lambda: server.requests)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await eventually(lambda: not server.open)


@pytest.mark.long
async def test_many_requests_at_once_each_get_their_own_answer() -> None:
    async with serving(OK) as server, client() as http:
        answers = await asyncio.gather(*(http.post(server.url, {}, str(n).encode()) for n in range(200)))
        assert [answer[:3] for answer in answers] == [(200, None, b"ok")] * 200
        assert sorted(int(request.rsplit(b"\n", 1)[1]) for request in server.requests) == list(range(200))
        before = server.connections
        await asyncio.gather(*(http.post(server.url, {}, b"{}") for _ in range(100)))
        assert server.connections == before


async def test_stopping_ends_what_is_under_way() -> None:
    async with serving(b"") as server:
        async with client() as http:
            request = asyncio.create_task(http.post(server.url, {}, b"{}"))
            await eventually(lambda: server.requests)
        with pytest.raises(ConnectionEndedError):
            await request
        await eventually(lambda: not server.open)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "//x",
        "http://",
        "ftp://a/",
        "http://a:b@c/",
        "http://a b/",
        "http://ä/",
        "http://a/\r\nX: y",
        "http://[",
    ],
)
def test_a_url_that_cannot_be_dialled_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError):
        read_target(url)


def test_the_host_header_names_the_port_only_if_it_is_unusual() -> None:
    for url, host in (
        ("http://a.example:80/x", "a.example"),
        ("https://a.example:443/x", "a.example"),
        ("https://a.example:8443/x", "a.example:8443"),
        ("http://[2001:db8::1]:8080/x", "[2001:db8::1]:8080"),
    ):
        assert read_target(url).rest == f"/x HTTP/1.1\r\nHost: {host}\r\n"
    assert read_target("http://a.example").rest.startswith("/ HTTP/1.1\r\n")


class Transport(asyncio.Transport):
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self._is_closing = False

    @override
    def write(self, data: Any) -> None:
        pass

    @override
    def is_closing(self) -> bool:
        return self._is_closing

    @override
    def abort(self) -> None:
        self._is_closing = True


class Pool:
    """Notes what became of a connection."""

    def __init__(self) -> None:
        self.reusable: list[bool] = []

    def answered(self, connection: Connection, *, is_reusable: bool) -> None:
        self.reusable.append(is_reusable)

    def ended(self, connection: Connection) -> None:
        pass


def fed(raw: bytes, cuts: Sequence[int], *, is_ending: bool) -> tuple[Any, bool]:
    """Return the response to `raw`, or its error's type, and whether the connection can be used again."""
    loop = asyncio.new_event_loop()
    try:
        pool = Pool()
        connection = Connection(loop, pool, None, LIMIT)
        transport = Transport()
        connection.connection_made(transport)
        response = connection.send(b"")
        places = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
        for start, end in pairwise(places):
            if not transport.is_closing() and not response.done():
                connection.data_received(raw[start:end])
        if is_ending and not transport.is_closing():
            connection.connection_lost(None)
        if not response.done():
            return None, False
        error = response.exception()
        return (type(error) if error else tuple(response.result())), pool.reusable == [True]
    finally:
        loop.close()


@given(st.sampled_from([*REUSABLE.values(), *FINAL.values()]), st.lists(st.integers(0, 400), max_size=12))
@settings(max_examples=400)
def test_cuts_change_nothing_but_what_arrives_after_the_answer(
    form: tuple[bytes, tuple[int, str | None, bytes]], cuts: list[int]
) -> None:
    raw, (status, retry_after, body) = form
    answer, _ = fed(raw, cuts, is_ending=False)
    assert answer[:2] == (status, retry_after)
    assert body.startswith(answer[2])


@given(st.sampled_from(list(BROKEN.values())), st.lists(st.integers(0, 80_000), max_size=12))
def test_cuts_do_not_make_a_response_of_what_is_none(form: tuple[bytes, type[Exception]], cuts: list[int]) -> None:
    raw, _ = form
    answer, is_reusable = fed(raw, cuts, is_ending=True)
    assert answer in (ConnectionEndedError, NotHTTPError)
    assert not is_reusable


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
@settings(max_examples=500)
def test_no_bytes_make_it_raise(raw: bytes, cuts: list[int]) -> None:
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        answer, _ = fed(prefix + raw, cuts, is_ending=True)
        assert answer in (ConnectionEndedError, NotHTTPError) or answer[0] >= 100
