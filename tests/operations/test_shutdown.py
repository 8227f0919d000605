"""A process that stops turns red, lets go of its clients one by one, and resets nobody who had connected."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
import uvloop
from aiohttp import web

from kling_relay.app.serving import listening
from kling_relay.web.http.context import RequestLimits
from kling_relay.web.http.response import Response
from kling_relay.web.server import serve
from tests.support.processes import fleet
from tests.support.service import SIGNING, running, sandboxed
from tests.support.waiting import eventually

ASK = b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n"


class _Here:
    """A service with one response to everything."""

    async def answer(self, _: web.BaseRequest) -> web.Response:
        return web.Response(text="here")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield

    def refuse(self, error: BaseException) -> Response:
        raise AssertionError(error)

    def connections_cut(self, count: int) -> None:
        raise AssertionError(count)

    def close_streams(self) -> None:
        """It has no streams."""


@asynccontextmanager
async def sharing(port: int) -> AsyncIterator[tuple[AsyncExitStack, socket.socket]]:
    """Serve on a port that is shared; give what stops the server before the end of the block, and its socket."""
    bound = listening("127.0.0.1", port)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            serve(_Here(), "127.0.0.1", port, RequestLimits(), bound=bound, shutdown_timeout=5)
        )
        yield stack, bound


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.mark.parametrize("loop", LOOPS)
def test_connections_in_the_queue_of_a_process_that_leaves_a_shared_port_are_answered(loop: str) -> None:
    async def leave() -> None:
        with listening("127.0.0.1", 0) as held:
            port = held.getsockname()[1]
            async with sharing(port), sharing(port) as (leaving, _):
                # the loop gets no turn meanwhile, so these stand in the queues of both
                callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(64)]
                for caller in callers:
                    caller.sendall(ASK)
                await leaving.aclose()
                answers = await asyncio.gather(*(asyncio.to_thread(_read, caller) for caller in callers))
                assert {answer[:12] for answer in answers} == {b"HTTP/1.1 200"}

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(leave())


async def test_a_client_that_connected_but_was_slow_to_ask_is_answered() -> None:
    async with sharing(0) as (leaving, bound):
        port = bound.getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        stopping = asyncio.ensure_future(leaving.aclose())
        await eventually(lambda: not _listens(port))
        writer.write(ASK)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        await stopping


def _read(caller: socket.socket) -> bytes:
    with caller:
        caller.settimeout(5)
        return caller.recv(100)


def _listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


async def test_readiness_is_red_first_while_everything_is_still_answered(database: str) -> None:
    async with sandboxed() as (_, provider), running(database, provider, shutdown_delay="2s") as relay:
        assert (await relay.call("GET", "/readyz"))[0] == 200
        task = await relay.submit()
        relay.stop()

        async def red() -> bool:
            status, said = await relay.call("GET", "/readyz")
            return status == 503 and said == {"status": "shutting down"}

        await eventually(red)
        async with relay.client.get(f"{relay.url}/v1/tasks/{task}") as answer:
            assert answer.status == 200
            assert answer.headers["Connection"] == "close"
        assert (await relay.final(await relay.submit()))["task_status"] == "succeed"


async def test_several_processes_of_one_service_leave_together_and_say_that_all_went_well(database: str) -> None:
    with listening("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        settings = {
            "RELAY_PORT": str(port),
            "RELAY_METRICS_PORT": "0",
            "RELAY_PROCESSES": "2",
            "RELAY_DATABASE_URL": database,
            "RELAY_PROVIDER_URL": "http://127.0.0.1:9",
            "RELAY_PROVIDER_KEY": "hk-nobody",
            "RELAY_SIGNING_KEYS": SIGNING,
            "RELAY_SHUTDOWN_DELAY": "0.1s",
        }
        async with fleet(settings) as one, aiohttp.ClientSession() as client:
            service = await one.start("api")
            async with client.get(f"http://127.0.0.1:{port}/livez") as answer:
                assert answer.status == 200
            assert await service.leave() == 0, service.lines
            await eventually(lambda: not _listens(port))
