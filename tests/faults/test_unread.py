"""Clients that do not read what they asked for hold little memory, and not for long."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import orjson
import psutil
import pytest

from tests.faults.test_abuse import Besieged, besieged
from tests.support.waiting import eventually

COUNT = 60
MAX_KIB = 120
"""Memory of one connection, with the parser and the task that every connection has."""
UNREAD = "1.5s"
ATTACKS = {
    "a large document, again and again": (60, "/openapi.json", 10),
    "a small response, hundreds of times": (60, "/livez", 350),
}


@asynccontextmanager
async def silent(on: Besieged, sent: bytes, count: int) -> AsyncIterator[list[socket.socket]]:
    """Give connections that have sent these bytes, and whose client takes next to nothing."""
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, (on.host, on.port))
            await loop.sock_sendall(client, sent)
            clients.append(client)
        yield clients


def connections(on: Besieged) -> int:
    """Return how many connections the service has on its port."""
    sockets = psutil.Process(on.process.pid).net_connections("tcp4")
    return sum(one.laddr.port == on.port and one.status == psutil.CONN_ESTABLISHED for one in sockets)


def cut(log: Path) -> int:
    """Return how many connections were cut, by the log."""
    lines = [orjson.loads(line) for line in log.read_bytes().splitlines() if line.startswith(b"{")]
    return sum(line["count"] for line in lines if line["event"] == "cut connections whose clients do not read")


def requests(path: str, times: int, header: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode() * times


@pytest.mark.parametrize("name", ATTACKS)
async def test_connections_that_never_read_hold_little_and_are_cut(
    database: str, tmp_path: Path, figure: Callable[[str], None], name: str
) -> None:
    count, path, times = ATTACKS[name]
    settings = {"unread_timeout": UNREAD, "idle_timeout": "75s", "log_level": "warning"}
    log = tmp_path / "log"
    async with besieged(database, log, **settings) as on:
        before, own = on.memory(), connections(on)
        async with silent(on, requests(path, times), count):
            peak = 0.0

            def are_cut() -> bool:
                nonlocal peak
                peak = max(peak, on.memory() - before)
                return cut(log) == count and connections(on) <= own

            await eventually(are_cut, within=30)
        figure(f"{count} clients that never read, {name}: {peak * 1024 / count:.0f} KiB each")
        assert peak * 1024 / count < MAX_KIB
        assert await on.slowest() < 2


async def test_a_client_that_reads_slowly_gets_everything(database: str, tmp_path: Path) -> None:
    async with besieged(database, tmp_path / "log", unread_timeout=UNREAD) as on:
        loop = asyncio.get_running_loop()
        sent = requests("/openapi.json", 2) + requests("/openapi.json", 1, "Connection: close\r\n")
        async with silent(on, sent, 1) as (client,):
            received = b""
            while chunk := await loop.sock_recv(client, 8192):
                received += chunk
                await asyncio.sleep(0.05)  # about 160 KB/s, so that the documents take longer than the time-out
        assert received.count(b"HTTP/1.1 200 OK") == 3
        assert received.endswith(b"}")


@pytest.mark.parametrize("count", [40, 1])
async def test_requests_behind_an_unread_response_are_bounded(
    database: str, tmp_path: Path, figure: Callable[[str], None], count: int
) -> None:
    """A request has a header of 12 KiB, `count` of them are on their way at once, and heads of 480 KiB are refused."""
    async with besieged(database, tmp_path / "log", unread_timeout=UNREAD, idle_timeout="75s") as on:
        before, own = on.memory(), connections(on)
        headers = [f"X-{number}: {'y' * 12_000}\r\n" for number in range(40)]
        sent = b"".join(requests("/livez", 1, header) for header in headers)
        if count == 1:
            sent = requests("/livez", 1, "".join(headers))
        async with silent_tries(on, requests("/openapi.json", 8 if count > 1 else 0) + sent) as sending:
            await eventually(lambda: all(task.done() for task in sending) and connections(on) <= own, within=20)
            held = (on.memory() - before) * 1024 / COUNT
        figure(f"{COUNT} clients with 480 KiB of heads in {count} requests: {held:.0f} KiB each")
        assert held < 480 / 2


@asynccontextmanager
async def silent_tries(on: Besieged, sent: bytes) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Connect, and give what sends until the other side has had enough."""
    loop = asyncio.get_running_loop()
    async with silent(on, b"", COUNT) as clients:

        async def send(client: socket.socket) -> None:
            with suppress(ConnectionError):
                await loop.sock_sendall(client, sent)

        sending = [asyncio.create_task(send(client)) for client in clients]
        yield sending
        for task in sending:
            task.cancel()
        await asyncio.wait(sending)
