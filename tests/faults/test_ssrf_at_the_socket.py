"""No packet leaves for an address that is not ours to dial: judged by what the interpreter itself does with sockets.

An audit hook hears of every socket made, connected or sent from, whoever does it and in whichever event loop; names are
answered by a server of the test's own, which is asked over UDP and may change its mind between two questions.
"""

import asyncio
import json
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import asyncpg
import pytest
import uvloop

from kling_relay.core.address import PUBLIC_ONLY, DialPolicy, check_url
from kling_relay.destinations.webhook import WebhookClient
from tests.support.names import Asking, nameserver
from tests.support.service import running, sandboxed
from tests.support.sockets import heard
from tests.support.waiting import eventually

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BLOCKED = "blocked: the address is neither public nor allowed"
REFUSED = re.compile(rf"{BLOCKED}|dns: the name cannot be resolved|protocol: the URL is not valid|protocol: [A-Za-z]+")
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]

LITERALS = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "100.64.0.1", "100.100.100.200", "168.63.129.16", "169.254.169.254",
    "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "0.0.0.0", "0.1.2.3",
    "2130706433", "0x7f000001", "0x7f.0.0.1", "0X7F.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "0", "10.1",
    "2852039166", "0xa9fea9fe", "169.254.43518", "0251.0376.0251.0376",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:8.8.8.8]",
    "[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]", "[100::1]",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "[2001:db8::1]", "[2002:7f00:1::1]", "[2002:a9fe:a9fe::]", "[3fff::1]",
    "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[fec0::1]", "[ff02::1]", "[ff0e::1]",
]  # fmt: skip
"""Naive code dials each of these, because libc reads it as an address."""
DISGUISES = [
    "http://user:secret@127.0.0.1:{port}/", "http://example.com@127.0.0.1:{port}/", "http://127.0.0.1:{port}#@x.org/",
    "http://127.0.0.1:{port}?@x.org/", "http://x.org\\@127.0.0.1:{port}/", "http://127.0.0.1.:{port}/",
    "http://127%2e0.0.1:{port}/", "http://%31%32%37.0.0.1:{port}/", "http://①②⑦.⓪.⓪.①:{port}/", "http://localhost.:{port}/",
    "http://１２７.０.０.１:{port}/", "http://127。0。0。1:{port}/", "http://ⓛocalhost:{port}/", "http://localhost:{port}/",
    "http://LOCALHOST:{port}/", "http://a.localhost:{port}/", "http://[::1%25lo]:{port}/", "http://[::1%lo]:{port}/",
    "http://[fe80::1%25lo]:{port}/", "http://127.0.0.1:{port}\t/", "http:127.0.0.1:{port}/", "//127.0.0.1:{port}/",
    "ftp://127.0.0.1:{port}/", "file:///etc/passwd", "gopher://127.0.0.1:{port}/", "unix:/run/postgresql/x",
    "http+unix://%2Frun%2Fx/", "https://127.0.0.1:{port}/", "http://127.0.0.1:{port}/\r\nHost: x.org",
]  # fmt: skip
NAMED = [
    "127.0.0.1", "10.0.0.1", "100.64.0.1", "168.63.129.16", "169.254.169.254", "172.16.0.1", "192.168.0.1", "224.0.0.1",
    "0.0.0.0", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2001:0:4136:e378::",
    "2002:7f00:1::", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
]  # fmt: skip
"""What the test's own names resolve to."""


def test_the_corpus_is_large_and_none_of_it_may_be_kept() -> None:
    assert len(LITERALS) + len(DISGUISES) + len(NAMED) >= 100
    for url in [f"http://{host}/" for host in LITERALS] + [url.format(port=80) for url in DISGUISES]:
        assert isinstance(check_url(url), str), url


@pytest.mark.parametrize("loop", LOOPS)
def test_no_packet_leaves_for_any_form_of_an_inner_address(
    loop: Callable[[], asyncio.AbstractEventLoop], figure: Callable[[str], None]
) -> None:
    table = {(f"n{number}.example", ":" in at): [[at]] for number, at in enumerate(NAMED)}
    table |= {("localhost", False): [["127.0.0.1"]], ("localhost", True): [["::1"]]}
    with nameserver(table) as server, socket.create_server(("127.0.0.1", 0)) as bait:
        port = bait.getsockname()[1]
        hosts = [host for host in LITERALS if _is_plain(host)] + [name for name, _ in table]
        certain = [f"http://{host}:{port}/" for host in hosts]
        disguised = [f"http://{host}:{port}/" for host in LITERALS if not _is_plain(host)]
        disguised += [url.format(port=port) for url in DISGUISES]

        async def dial() -> list[str | None]:
            async with WebhookClient(allowed=PUBLIC_ONLY, resolver=Asking(server)) as endpoint:
                return [(await endpoint.post(url, {}, b"{}", NOW)).error for url in [*certain, *disguised]]

        with heard(besides=server.address) as sockets, asyncio.Runner(loop_factory=loop) as runner:
            said = runner.run(dial())
        assert sockets.reached == []
        assert sockets.streams == 0
        assert server.asked >= len(NAMED)
        bait.setblocking(False)
        with pytest.raises(BlockingIOError):
            bait.accept()
    assert said[: len(certain)] == [BLOCKED] * len(certain)
    assert [error for error in said if error is None or not REFUSED.fullmatch(error)] == []
    figure(f"{len(said)} forms of inner addresses: no socket made, none connected")


def test_the_hook_hears_of_what_is_dialled() -> None:
    """The test above proves something only if a packet would have been seen."""

    async def dial(port: int) -> str | None:
        async with WebhookClient(allowed=DialPolicy.parse("127.0.0.1/32"), timeout=0.2) as endpoint:
            return (await endpoint.post(f"http://127.0.0.1:{port}/", {}, b"", NOW)).error

    for loop in LOOPS:
        with socket.create_server(("127.0.0.1", 0)) as there:
            port = there.getsockname()[1]
            with heard() as sockets, asyncio.Runner(loop_factory=loop) as runner:
                assert runner.run(dial(port)) == "timeout"
            assert sockets.reached == [("127.0.0.1", port)]
            assert sockets.streams >= 1


@pytest.mark.parametrize("loop", LOOPS)
def test_a_rebound_name_is_judged_by_the_address_that_is_dialled(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """The first answer may be dialled; all later ones are inner addresses with a listener, which must not be called."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async def dial() -> None:
        outer = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = outer.sockets[0].getsockname()[1]
        inner = await asyncio.start_server(answer, "127.0.0.2", port)
        table = {("rebind.example", False): [["127.0.0.1"], ["127.0.0.2"]], ("both.example", False): [["127.0.0.2"]]}
        table |= {("both.example", True): [["::1"]]}
        with nameserver(table) as server, heard(besides=server.address) as sockets:
            async with (
                outer,
                inner,
                WebhookClient(allowed=DialPolicy.parse("127.0.0.1/32"), resolver=Asking(server), dns_ttl=0) as endpoint,
            ):
                first = await endpoint.post(f"http://rebind.example:{port}/", {}, b"{}", NOW)
                assert (first.status, first.error) == (200, None)
                assert server.answered["rebind.example", False] == 1  # no look-up between judging and dialling
                for name in ("rebind.example", "rebind.example", "both.example"):
                    again = await endpoint.post(f"http://{name}:{port}/", {}, b"{}", NOW)
                    assert (again.status, again.error) == (None, BLOCKED)
        assert sockets.reached == [("127.0.0.1", port)]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(dial())


async def test_attempts_say_blocked_and_never_where_a_name_resolves_to(database: str) -> None:
    """The addresses are written into the table directly, as if the check of URLs had a hole."""
    urls = [f"http://{host}:19009/" for host in ("127.0.0.1", "0x7f.1", "[::1]", "169.254.169.254", "localhost")]
    urls += [f"http://{socket.gethostname()}:19009/"] if _is_inner(socket.gethostname()) else []
    async with (
        sandboxed() as (_, provider),
        running(database, provider, allowed_networks="") as relay,
        asyncpg.create_pool(database) as pool,
    ):
        made = {}
        for url in urls:
            made[(await relay.subscribe("https://subscriber.example/", events=["task.succeed"]))["id"]] = url
        for subscription, url in made.items():
            await pool.execute("UPDATE subscriptions SET url = $1 WHERE id = $2", url, subscription)
        with heard() as sockets:
            await relay.final(await relay.submit())
            told = await eventually(lambda: _attempts(relay, len(urls)))
        assert [address for address in sockets.reached if address[1] == 19009] == []
        assert [attempt["error"] for attempt in told] == [BLOCKED] * len(urls)
        assert not re.search(r"127\.|169\.254|::1|10\.|172\.|192\.168", json.dumps([each["error"] for each in told]))
        rows = await pool.fetch("SELECT error, status, answer FROM attempts")
        assert {tuple(row) for row in rows} == {(BLOCKED, None, None)}


async def _attempts(relay: Any, limit: int) -> list[dict[str, Any]] | None:
    found = []
    for delivery in (await relay.call("GET", "/v1/deliveries?limit=100"))[1]["data"]:
        _, shown = await relay.call("GET", f"/v1/deliveries/{delivery['id']}")
        found += shown["attempts"][:1]
    return found if len(found) == limit else None


def _is_plain(host: str) -> bool:
    """Return whether every parser reads this as an address; some forms are refused before they are resolved."""
    try:
        return bool(ip_address(host.strip("[]")))
    except ValueError:
        return False


def _is_inner(name: str) -> bool:
    try:
        return not any(PUBLIC_ONLY.admits(ip_address(found[4][0])) for found in socket.getaddrinfo(name, 9))
    except (OSError, ValueError):
        return False
