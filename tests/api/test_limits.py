"""Requests are limited in size, time and number, and our own failures are never blamed on the caller."""

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
from kling_relay.core.address import DialPolicy
from kling_relay.flows.coalesce import OverloadedError
from kling_relay.flows.memory import BodyMemory, MemoryLimits
from kling_relay.store.postgres.statement import StoreUnavailableError
from kling_relay.web.http.context import RequestLimits
from tests.support.link import cable
from tests.support.relay import CALLBACK_KEY, ApiServer, serve_api
from tests.support.service import running, sandboxed


def callback_path(task: str, token: str | None = None) -> str:
    """Return the path of callbacks for a task."""
    return f"/callbacks/{task}/{token or callback_token.make([CALLBACK_KEY], UUID(task))}"


class Failing:
    """An ingest that fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def callback(
        self, task: UUID, body: bytes, headers: Mapping[str, str], now: datetime, *, is_decoded: bool = True
    ) -> None:
        raise self.error


async def raw(api: ApiServer, sent: bytes) -> bytes:
    """Send bytes on a new connection and return everything that comes back until it is closed."""
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(sent)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_an_answer_before_the_end_of_a_body_announces_that_the_connection_closes(database: str) -> None:
    """Or the client would send its next request on a connection that is about to close."""
    async with serve_api(database) as api:
        head = b"POST /v1/subscriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
        whole = await raw(api, head + b"Connection: close\r\n\r\n{}")
        assert whole.startswith(b"HTTP/1.1 401 ")
        response = await raw(api, head + b"\r\n{")
        assert response.startswith(b"HTTP/1.1 401 ")
        assert b"\r\nConnection: close\r\n" in response


async def test_a_forged_callback_token_costs_no_database_query(api: ApiServer) -> None:
    task = await api.order()
    forged = [
        callback_path(task, "x" * 32),
        callback_path(str(uuid1()), callback_token.make([CALLBACK_KEY], UUID(task))),
        callback_path("nonsense", "x"),
        callback_path(task, callback_token.make([b"another key"], UUID(task))),
    ]
    await api.database.pool.close()
    for path in forged:
        status, body = await api.call("POST", path, "", json={"task_status": "failed"})
        assert (status, body["code"]) == (404, 1203)


async def test_a_callback_for_a_dropped_task_is_not_found(api: ApiServer) -> None:
    status, _ = await api.call("POST", callback_path(str(uuid1())), "", json={"task_status": "failed"})
    assert status == 404


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[" * 10_000, b'{"task_status": "\\u0000"}', b"\xff\xfe"])
async def test_an_unreadable_callback_is_recorded_and_gets_200(api: ApiServer, body: bytes) -> None:
    task = await api.order()
    status, content = await api.call("POST", callback_path(task), "", data=body)
    assert (status, content) == (200, {"code": 0, "message": "ok"})


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), OverloadedError(), RuntimeError("a bug")])
async def test_a_callback_that_cannot_be_recorded_gets_5xx(database: str, error: Exception) -> None:
    async with serve_api(database, change=lambda context: replace(context, ingest=Failing(error))) as api:
        task = await api.order()
        status, body, headers = await api.call_with_headers(
            "POST", callback_path(task), "", json={"task_status": "succeed"}
        )
    assert status == (500 if isinstance(error, RuntimeError) else 503)
    assert "bug" not in str(body)
    assert status == 500 or headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/callbacks", 1 << 20), ("/v1/subscriptions", 1 << 20), ("/kling/v1/videos/text2video", 1 << 25)],
)
@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.long
async def test_a_body_beyond_its_limit_gets_413(api: ApiServer, path: str, limit: int, is_chunked: bool) -> None:
    target = callback_path(await api.order()) if path == "/callbacks" else path

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(limit // 65536 + 2):
            yield bytes(65536)

    content: Any = chunks() if is_chunked else io.BytesIO(bytes(limit + 1))
    try:
        status, body = await api.call("POST", target, data=content)
    except aiohttp.ClientConnectionError:
        assert is_chunked  # the connection was closed before everything was sent
    else:
        assert (status, body["code"]) == (413, 1205)
    assert api.context.memory.held == 0


async def test_the_nesting_of_a_body_is_limited_by_a_setting(database: str) -> None:
    deep = '{"headers":' * 5 + "{}" + "}" * 5
    for depth in (4, 32):
        async with serve_api(database, RequestLimits(json_depth=depth)) as api:
            for path in ("/v1/subscriptions", "/kling/v1/videos/text2video"):
                status, body = await api.call("POST", path, data=deep)
                assert (status, "nested deeper than 4 levels" in str(body)) == (400, depth == 4)


@pytest.mark.parametrize("limit", [1024, 8192])
async def test_the_length_of_a_header_is_limited_by_a_setting(database: str, limit: int) -> None:
    async with serve_api(database, RequestLimits(header_bytes=limit)) as api:
        for length, status in ((limit - 200, 200), (limit + 200, 400)):
            for sent in (f"/livez?{'x' * length} HTTP/1.1\r\n", f"/livez HTTP/1.1\r\nX-Long: {'x' * length}\r\n"):
                response = await raw(api, f"GET {sent}Host: x\r\nConnection: close\r\n\r\n".encode())
                assert response[9:12] == str(status).encode(), (length, response[:80])


async def test_the_ports_of_urls_are_limited_by_a_setting(database: str) -> None:
    few = DialPolicy(ports=(range(443, 444),))
    async with serve_api(database, change=lambda context: replace(context, dial_policy=few)) as api:
        closed = "https://x.example:22/"
        for path, body in (
            ("/v1/subscriptions", {"url": closed}),
            ("/kling/v1/videos/text2video", {"prompt": "a", "notify_hook": closed}),
        ):
            status, content = await api.call("POST", path, json=body)
            assert (status, "must not use port 22" in str(content)) == (400, True)
        assert (await api.call("POST", "/v1/subscriptions", json={"url": "https://x.example/"}))[0] == 201


@pytest.mark.long
async def test_a_body_that_does_not_arrive_gets_408(database: str) -> None:
    async with serve_api(database, RequestLimits(body_seconds=0.1)) as api:
        head = f"POST /v1/subscriptions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n"
        response = await raw(api, f"{head}Content-Length: 100\r\n\r\n{{".encode())
    assert response.startswith(b"HTTP/1.1 408")
    assert api.context.memory.held == 0


@pytest.mark.parametrize("sent", [b"", b"GET /v1/tasks HTTP/1.1\r\nX-Slow:"])
async def test_a_connection_without_a_request_is_closed(database: str, sent: bytes) -> None:
    async with serve_api(database, RequestLimits(idle_seconds=0.1)) as api:
        assert await raw(api, sent) == b""


async def test_uploads_beyond_the_total_limit_get_503(database: str) -> None:
    memory = BodyMemory(MemoryLimits(bodies=1, small_bodies=0))
    memory.share(1)
    async with serve_api(database, change=lambda context: replace(context, memory=memory)) as api:
        status, body, headers = await api.call_with_headers("POST", "/kling/v1/videos/text2video", json={"prompt": "a"})
    assert (status, body["code"], headers["Retry-After"]) == (503, 5001, "1")


async def test_a_long_text_beyond_ascii_is_refused_before_it_takes_four_times_its_size(api: ApiServer) -> None:
    for text in ("a" * (1 << 19) + "😀", "a" * (1 << 19) + "\\ud83d\\ude00"):
        body = f'{{"prompt": "{text}"}}'.encode()
        status, content = await api.call("POST", "/kling/v1/videos/text2video", data=io.BytesIO(body))
        assert (status, "not ASCII" in str(content)) == (400, True)


async def test_waiters_of_a_process_are_bounded_across_keys(database: str) -> None:
    async with serve_api(database, RequestLimits(waiters=0)) as api:
        status, body = await api.get(f"/v1/tasks/{await api.order()}?wait=5")
    assert (status, body["code"]) == (503, 5001)


async def test_every_limit_among_the_settings_reaches_the_api(database: str) -> None:
    settings: dict[str, Any] = {
        "order_body_limit": "3MiB",
        "callback_body_limit": "2MiB",
        "header_limit": "3KiB",
        "json_depth": "7",
        "body_timeout": "11s",
        "idle_timeout": "12s",
        "unread_timeout": "17s",
        "waiters": "13",
        "streams_per_key": "14",
        "rate_limit": "15",
        "report_rate_limit": "18",
        "report_timeout": "19s",
        "subscription_concurrency": "16",
        "allowed_ports": "443,8000-8001",
        "allowed_networks": "10.9.0.0/16",
    }
    async with sandboxed() as (_, provider), running(database, provider, **settings) as relay:
        limits, allowed = relay.parts.context.limits, relay.parts.context.dial_policy
    assert limits == replace(
        RequestLimits(),
        order_bytes=3 << 20,
        callback_bytes=2 << 20,
        header_bytes=3 << 10,
        json_depth=7,
        body_seconds=11,
        idle_seconds=12,
        unread_seconds=17,
        waiters=13,
        streams_per_key=14,
        rate=15,
        burst=30,
        report_rate=18,
        report_burst=36,
        report_seconds=19,
        in_flight=16,
    )
    assert allowed == DialPolicy((IPv4Network("10.9.0.0/16"),), (range(443, 444), range(8000, 8002)))


async def test_the_waiters_of_a_key_are_limited(database: str) -> None:
    async with serve_api(database, RequestLimits(waiters_per_key=0)) as api:
        status, body = await api.get(f"/v1/tasks/{await api.order()}?wait=5")
    assert (status, body["code"]) == (429, 1302)


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
async def test_poisonous_bodies_are_refused_and_never_a_server_error(api: ApiServer, body: str) -> None:
    status, content = await api.call("POST", "/v1/subscriptions", data=body)
    assert status == (201 if "other.example" in body else 400)
    assert status == 400 or content["url"] == "https://other.example/"


@pytest.mark.parametrize("path", ["/v1/tasks?text=%00", "/v1/tasks?text=%ff", "/kling/v1/videos/text2video/%00"])
async def test_a_hostile_path_or_query_never_gets_5xx(api: ApiServer, path: str) -> None:
    status, _ = await api.get(path)
    assert status in {200, 400, 404}


async def test_a_wrong_method_or_path_gets_an_error_in_the_format_of_its_api(api: ApiServer) -> None:
    status, body, headers = await api.call_with_headers("PUT", "/kling/v1/videos/text2video")
    assert (status, body["code"], body["error"]["code"]) == (405, 1202, 1202)
    assert set(headers["Allow"].split(", ")) == {"GET", "HEAD", "POST", "OPTIONS"}
    status, body = await api.get("/kling/v1/videos/nothing")
    assert (status, body["code"], body["error"]["type"]) == (404, 1203, "not_found")
    status, body = await api.get("/v1/nothing")
    assert (status, body["status"], body["type"]) == (404, 404, "urn:kling-relay:not_found")
    assert (await api.call("HEAD", "/livez", ""))[0] == 200


async def test_a_lost_database_stops_orders_until_it_is_back(database: str) -> None:
    async with cable(database) as line, serve_api(line.url) as api, stream_of(api) as stream:
        assert (await api.get("/readyz", ""))[0] == 200
        await line.pull()
        status, body, headers = await api.call_with_headers("POST", "/kling/v1/videos/text2video", json={"prompt": "a"})
        assert (status, body["code"], headers["Retry-After"]) == (503, 5001, "1")
        status, body = await api.call("POST", callback_path(str(uuid1())), "", json={"task_status": "succeed"})
        assert status == 503
        assert (await api.get("/readyz", ""))[0] == 503
        assert (await api.get("/livez", ""))[0] == 200
        assert api.provider.orders == []
        await line.plug_in()
        task = await api.order()
        async with asyncio.timeout(10):
            while block := await stream.content.readuntil(b"\n\n"):
                if task.encode() in block:
                    break
            assert block


@asynccontextmanager
async def stream_of(api: ApiServer) -> AsyncIterator[aiohttp.ClientResponse]:
    async with api.session.get(
        f"{api.url}/v1/events/stream", headers={"Authorization": f"Bearer {api.key}"}
    ) as response:
        yield response


async def test_the_record_of_a_request_names_no_secret(api: ApiServer) -> None:
    await api.get("/v1/tasks?text=rabbit")
    summary = api.answered[-1]
    assert (summary.route, summary.method, summary.status, summary.code) == ("list_tasks", "GET", 200, 0)
    assert api.key not in repr(summary)
    assert isinstance(summary.seconds, float)
