"""What comes in is bounded in size, time and number, and what fails here is never told as the caller's fault."""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from ipaddress import IPv4Network
from typing import Any
from uuid import UUID, uuid1

import aiohttp
import pytest

from kling_relay.core import callback_token
from kling_relay.core.address import Allowed
from kling_relay.flows.coalesce import OverloadedError
from kling_relay.store.postgres.statement import StoreUnavailableError
from kling_relay.web.http.context import Limits
from tests.support.link import cable
from tests.support.relay import CALLBACK_KEY, House, house
from tests.support.service import running, sandboxed


def operation(task: str, given: str | None = None) -> str:
    return f"/callbacks/{task}/{given or callback_token.make([CALLBACK_KEY], UUID(task))}"


class Failing:
    """An ingest that cannot."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def callback(self, task: UUID, body: bytes, headers: Mapping[str, str], now: datetime) -> None:
        raise self.error


async def raw(home: House, sent: bytes) -> bytes:
    """Send bytes on a connection of their own and return all that is answered until it is closed."""
    host, port = home.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(sent)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_forged_token_costs_no_database(home: House) -> None:
    task = await home.order()
    forged = [
        operation(task, "x" * 32),
        operation(str(uuid1()), callback_token.make([CALLBACK_KEY], UUID(task))),
        operation("nonsense", "x"),
        operation(task, callback_token.make([b"another key"], UUID(task))),
    ]
    await home.database.pool.close()
    for path in forged:
        status, said = await home.call("POST", path, "", json={"task_status": "failed"})
        assert (status, said["code"]) == (404, 1203)


async def test_a_task_that_is_no_more_is_not_found_even_with_its_token(home: House) -> None:
    status, _ = await home.call("POST", operation(str(uuid1())), "", json={"task_status": "failed"})
    assert status == 404


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[" * 10_000, b'{"task_status": "\\u0000"}', b"\xff\xfe"])
async def test_an_unreadable_callback_is_kept_and_answered_with_200(home: House, body: bytes) -> None:
    task = await home.order()
    status, said = await home.call("POST", operation(task), "", data=body)
    assert (status, said) == (200, {"code": 0, "message": "ok"})


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), OverloadedError(), RuntimeError("a bug")])
async def test_when_we_fail_the_provider_is_told_to_come_again(database: str, error: Exception) -> None:
    async with house(database, change=lambda tools: replace(tools, ingest=Failing(error))) as home:
        task = await home.order()
        status, said, headers = await home.full("POST", operation(task), "", json={"task_status": "succeed"})
    assert status == (500 if isinstance(error, RuntimeError) else 503)
    assert "bug" not in str(said)
    assert status == 500 or headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/callbacks", 1 << 20), ("/v1/subscriptions", 1 << 20), ("/kling/v1/videos/text2video", 1 << 25)],
)
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_beyond_its_limit_is_413(home: House, path: str, limit: int, is_chunked: bool) -> None:
    target = operation(await home.order()) if path == "/callbacks" else path

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(limit // 65536 + 2):
            yield bytes(65536)

    content: Any = chunks() if is_chunked else io.BytesIO(bytes(limit + 1))
    try:
        status, said = await home.call("POST", target, data=content)
    except aiohttp.ClientConnectionError:
        assert is_chunked  # it was hung up on before it had sent all
    else:
        assert (status, said["code"]) == (413, 1205)
    assert home.load("bytes") == 0


async def test_how_deep_a_body_may_nest_is_a_setting(database: str) -> None:
    deep = '{"headers":' * 5 + "{}" + "}" * 5
    for depth in (4, 32):
        async with house(database, Limits(json_depth=depth)) as home:
            for path in ("/v1/subscriptions", "/kling/v1/videos/text2video"):
                status, said = await home.call("POST", path, data=deep)
                assert (status, "nested deeper than 4 levels" in str(said)) == (400, depth == 4)


@pytest.mark.parametrize("limit", [1024, 8192])
async def test_how_long_a_header_may_be_is_a_setting(database: str, limit: int) -> None:
    async with house(database, Limits(header_bytes=limit)) as home:
        for length, status in ((limit - 200, 200), (limit + 200, 400)):
            for sent in (f"/livez?{'x' * length} HTTP/1.1\r\n", f"/livez HTTP/1.1\r\nX-Long: {'x' * length}\r\n"):
                answer = await raw(home, f"GET {sent}Host: x\r\nConnection: close\r\n\r\n".encode())
                assert answer[9:12] == str(status).encode(), (length, answer[:80])


async def test_which_ports_may_be_dialled_is_a_setting(database: str) -> None:
    few = Allowed(ports=(range(443, 444),))
    async with house(database, change=lambda tools: replace(tools, allowed=few)) as home:
        closed = "https://x.example:22/"
        for path, body in (
            ("/v1/subscriptions", {"url": closed}),
            ("/kling/v1/videos/text2video", {"prompt": "a", "notify_hook": closed}),
        ):
            status, said = await home.call("POST", path, json=body)
            assert (status, "must not use port 22" in str(said)) == (400, True)
        assert (await home.call("POST", "/v1/subscriptions", json={"url": "https://x.example/"}))[0] == 201


async def test_a_body_that_never_comes_is_408(database: str) -> None:
    async with house(database, Limits(body_seconds=0.1)) as home:
        head = f"POST /v1/subscriptions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {home.key}\r\n"
        answer = await raw(home, f"{head}Content-Length: 100\r\n\r\n{{".encode())
    assert answer.startswith(b"HTTP/1.1 408")
    assert home.load("bytes") == 0


@pytest.mark.parametrize("sent", [b"", b"GET /v1/tasks HTTP/1.1\r\nX-Slow:"])
async def test_a_connection_without_a_request_is_closed(database: str, sent: bytes) -> None:
    async with house(database, Limits(idle_seconds=0.1)) as home:
        assert await raw(home, sent) == b""


async def test_when_too_much_is_being_uploaded_others_wait(database: str) -> None:
    async with house(database, Limits(total_body_bytes=0)) as home:
        home.add_load("bytes", 1)
        status, said, headers = await home.full("POST", "/kling/v1/videos/text2video", json={"prompt": "a"})
        home.add_load("bytes", -1)
    assert (status, said["code"], headers["Retry-After"]) == (503, 5001, "1")


async def test_waiters_of_a_process_are_bounded_across_keys(database: str) -> None:
    async with house(database, Limits(waiters=0)) as home:
        status, said = await home.get(f"/v1/tasks/{await home.order()}?wait=5")
    assert (status, said["code"]) == (503, 5001)


async def test_every_bound_among_the_settings_reaches_what_it_bounds(database: str) -> None:
    given: dict[str, Any] = {
        "order_body_limit": "3MiB",
        "callback_body_limit": "2MiB",
        "header_limit": "3KiB",
        "json_depth": "7",
        "body_timeout": "11s",
        "idle_timeout": "12s",
        "waiters": "13",
        "streams_per_key": "14",
        "rate_limit": "15",
        "subscription_concurrency": "16",
        "allowed_ports": "443,8000-8001",
        "allowed_networks": "10.9.0.0/16",
    }
    async with sandboxed() as (_, provider), running(database, provider, **given) as relay:
        limits, allowed = relay.parts.tools.limits, relay.parts.tools.allowed
    assert limits == replace(
        Limits(),
        order_bytes=3 << 20,
        callback_bytes=2 << 20,
        header_bytes=3 << 10,
        json_depth=7,
        body_seconds=11,
        idle_seconds=12,
        waiters=13,
        streams_per_key=14,
        rate=15,
        burst=30,
        in_flight=16,
    )
    assert allowed == Allowed((IPv4Network("10.9.0.0/16"),), (range(443, 444), range(8000, 8002)))


async def test_waiters_are_bounded(database: str) -> None:
    async with house(database, Limits(waiters_per_key=0)) as home:
        status, said = await home.get(f"/v1/tasks/{await home.order()}?wait=5")
    assert (status, said["code"]) == (429, 1302)


@pytest.mark.parametrize(
    "body",
    [
        '{"url":"https://example.com","url":"https://other.example/"}',
        '{"url": "https://example.com", "description": "' + "\\u0000" + '"}',
        '{"url": "https://example.com", "description": "\\ud800"}',
        '{"url": "https://example.com", "max_in_flight": NaN}',
        '{"headers":' * 40 + "{}" + "}" * 40,
        "[" + "0," * 30_000 + "0]",
        "null",
        '"text"',
    ],
)
async def test_poisonous_bodies_are_refused_and_never_a_server_error(home: House, body: str) -> None:
    status, said = await home.call("POST", "/v1/subscriptions", data=body)
    assert status == (201 if "other.example" in body else 400)
    assert status == 400 or said["url"] == "https://other.example/"


@pytest.mark.parametrize("path", ["/v1/tasks?text=%00", "/v1/tasks?text=%ff", "/kling/v1/videos/text2video/%00"])
async def test_poison_in_a_path_or_query_is_refused(home: House, path: str) -> None:
    status, _ = await home.get(path)
    assert status in {200, 400, 404}


async def test_a_wrong_method_or_path_is_told_in_the_manner_of_its_place(home: House) -> None:
    status, said, headers = await home.full("PUT", "/kling/v1/videos/text2video")
    assert (status, said["code"], said["error"]["code"]) == (405, 1202, 1202)
    assert set(headers["Allow"].split(", ")) == {"GET", "HEAD", "POST", "OPTIONS"}
    status, said = await home.get("/kling/v1/videos/nothing")
    assert (status, said["code"], said["error"]["type"]) == (404, 1203, "not_found")
    status, said = await home.get("/v1/nothing")
    assert (status, said["status"], said["type"]) == (404, 404, "urn:kling-relay:not_found")
    assert (await home.call("HEAD", "/livez", ""))[0] == 200


async def test_without_the_database_nothing_is_ordered_and_all_comes_back(database: str) -> None:
    async with cable(database) as line, house(line.url) as home, stream_of(home) as told:
        assert (await home.get("/readyz", ""))[0] == 200
        await line.pull()
        status, said, headers = await home.full("POST", "/kling/v1/videos/text2video", json={"prompt": "a"})
        assert (status, said["code"], headers["Retry-After"]) == (503, 5001, "1")
        status, said = await home.call("POST", operation(str(uuid1())), "", json={"task_status": "succeed"})
        assert status == 503
        assert (await home.get("/readyz", ""))[0] == 503
        assert (await home.get("/livez", ""))[0] == 200
        assert home.provider.orders == []
        await line.plug_in()
        task = await home.order()
        async with asyncio.timeout(10):
            while block := await told.content.readuntil(b"\n\n"):
                if task.encode() in block:
                    break
            assert block


@asynccontextmanager
async def stream_of(home: House) -> AsyncIterator[aiohttp.ClientResponse]:
    async with home.session.get(
        f"{home.url}/v1/events/stream", headers={"Authorization": f"Bearer {home.key}"}
    ) as told:
        yield told


async def test_the_record_of_a_request_names_no_secret(home: House) -> None:
    await home.get("/v1/tasks?text=rabbit")
    seen = home.seen[-1]
    assert (seen.route, seen.method, seen.status, seen.code) == ("list_tasks", "GET", 200, 0)
    assert home.key not in repr(seen)
    assert isinstance(seen.seconds, float)
