"""The event log by cursor and as a stream: nothing is skipped or sent twice, however a reader reconnects."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import asyncpg
import orjson
import pytest

from kling_relay.store.access import client_keys
from kling_relay.web.http.context import RequestLimits
from tests.support.relay import ApiServer, serve_api
from tests.support.waiting import eventually


class Reader:
    """One stream being read, event by event."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> dict[str, Any]:
        """Return the next event with its id; comments are passed over."""
        async with asyncio.timeout(10):
            while True:
                block = (await self.response.content.readuntil(b"\n\n")).decode()
                lines = dict(line.split(": ", 1) for line in block.strip().split("\n"))
                if "data" in lines:
                    return {"cursor": lines["id"], "event": lines["event"], **orjson.loads(lines["data"])}


@asynccontextmanager
async def stream(
    api: ApiServer, query: str = "", last: str | None = None, key: str | None = None
) -> AsyncIterator[Reader]:
    headers = {"Authorization": f"Bearer {key or api.key}", **({"Last-Event-ID": last} if last else {})}
    url = f"{api.url}/v1/events/stream?{query}"
    async with aiohttp.ClientSession(read_bufsize=1 << 16) as session, session.get(url, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        await response.content.readuntil(b"\n\n")
        yield Reader(response)


def name(event: dict[str, Any]) -> tuple[str, int]:
    return event["data"]["task_id"], event["data"]["sequence"]


async def test_a_stream_starts_now_and_sends_new_events(api: ApiServer) -> None:
    await api.order("before")
    async with stream(api) as reader:
        task = await api.order("after")
        await api.succeed(task)
        first, second = await reader.next(), await reader.next()
    assert [name(first), name(second)] == [(task, 1), (task, 2)]
    assert (first["event"], second["event"]) == ("task.submitted", "task.succeed")


async def test_a_stream_continues_after_last_event_id(api: ApiServer) -> None:
    tasks = [await api.order(f"number {number}") for number in range(3)]
    async with stream(api, "after=0") as reader:
        received = [await reader.next() for _ in range(2)]
    tasks.append(await api.order("number 3"))
    async with stream(api, last=received[-1]["cursor"]) as reader:
        received += [await reader.next() for _ in range(2)]
    assert [name(event)[0] for event in received] == tasks


async def test_a_stream_can_be_filtered_by_task_and_type(api: ApiServer) -> None:
    first = await api.order("first")
    async with stream(api, f"after=0&task={first}") as of_task, stream(api, "type=task.succeed") as of_type:
        second = await api.order("second")
        await api.succeed(second)
        await api.succeed(first)
        assert name(await of_type.next()) == (second, 2)
        assert [name(await of_task.next()) for _ in range(2)] == [(first, 1), (first, 2)]


async def test_another_clients_stream_gets_no_event(api: ApiServer) -> None:
    other = await api.create_key("other")
    async with stream(api, key=other) as theirs, stream(api) as ours:
        await api.order()
        await ours.next()
        status, _ = await api.post("/v1/videos/text2video", {"prompt": "theirs"}, other)
        assert status == 200
        assert (await theirs.next())["data"]["kind"] == "text2video"
        _, body = await api.get("/v1/events", other)
        assert len(body["data"]) == 1


async def test_readers_that_reconnect_miss_nothing_and_get_nothing_twice(api: ApiServer) -> None:
    dice = random.Random(7)
    total = 60

    async def write() -> None:
        tasks = [await api.order(f"number {number}") for number in range(total // 3)]
        dice.shuffle(tasks)
        await asyncio.gather(*(api.send_callback(task, "processing") for task in tasks))
        await asyncio.gather(*(api.succeed(task) for task in tasks))

    async def read(patience: int) -> list[tuple[str, int]]:
        received: list[tuple[str, int]] = []
        last = "0"
        while len(received) < total:
            async with stream(api, last=last) as reader:
                for _ in range(min(patience, total - len(received))):
                    event = await reader.next()
                    received.append(name(event))
                    last = event["cursor"]
        return received

    async with asyncio.timeout(60):
        _, *received = await asyncio.gather(write(), *(read(patience) for patience in (1, 7, 1000)))
    pages = [name(event) for event in (await api.get("/v1/events?limit=500"))[1]["data"]]
    assert len(set(pages)) == total
    assert received == [pages, pages, pages]
    for task in {task for task, _ in pages}:
        assert [sequence for other, sequence in pages if other == task] == [1, 2, 3]


async def test_an_event_that_commits_late_is_not_skipped(api: ApiServer, database: str) -> None:
    early = await api.order("early")
    late = await asyncpg.connect(database)
    try:
        async with stream(api, "after=0") as reader:
            assert name(await reader.next()) == (early, 1)
            transaction = late.transaction()
            await transaction.start()
            await late.execute(
                "INSERT INTO events (subject, sequence, client, tx, at, type, body) "
                "SELECT subject, 2, client, pg_current_xact_id()::text::bigint, at, type, "
                "convert_to(replace(convert_from(body, 'UTF8'), '\"sequence\":1', '\"sequence\":2'), 'UTF8') "
                "FROM events"
            )
            overtaking = await api.order("overtaking")
            _, body = await api.get("/v1/events")
            assert [name(event) for event in body["data"]] == [(early, 1)]
            await transaction.commit()
            assert [name(await reader.next()) for _ in range(2)] == [(early, 2), (overtaking, 1)]
    finally:
        await late.close()


async def test_pages_of_the_log_have_every_event_once(api: ApiServer) -> None:
    created = [await api.order(f"number {number}") for number in range(5)]
    await api.wait_until_readable()
    received: list[str] = []
    after = "0"
    while after:
        _, page = await api.get(f"/v1/events?limit=2&after={after}")
        received += [event["data"]["task_id"] for event in page["data"]]
        after = page["next_cursor"]
    assert received == created
    _, page = await api.get(f"/v1/events?limit=2&cursor={page['data'][-1]['cursor']}")
    assert page == {"data": [], "next_cursor": None}


@pytest.mark.parametrize("query", ["after=x", "after=1-2-3", "type=task.nothing", "task=x", "colour=red"])
async def test_an_invalid_cursor_is_refused(api: ApiServer, query: str) -> None:
    for path in ("/v1/events", "/v1/events/stream"):
        assert (await api.get(f"{path}?{query}"))[0] == 400


async def test_a_stream_without_events_has_a_heartbeat(database: str) -> None:
    async with serve_api(database, RequestLimits(heartbeat=0.01)) as api, stream(api) as reader:
        async with asyncio.timeout(10):
            assert (await reader.response.content.readuntil(b"\n\n")).startswith(b":")


async def test_streams_of_a_key_are_bounded(database: str) -> None:
    async with serve_api(database, RequestLimits(streams_per_key=1)) as api:
        async with stream(api):
            status, body = await api.get("/v1/events/stream")
            assert (status, body["code"]) == (429, 1302)
            assert api.application.state.streams.count == 1
        await eventually(lambda: api.application.state.streams.count == 0, within=15)


async def test_a_reader_that_is_too_slow_is_disconnected_and_resumes_without_loss(database: str) -> None:
    async with serve_api(database, RequestLimits(stream_buffer=5, stream_stall=0.2)) as api:
        many = 3_000
        host, port = api.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(
            f"GET /v1/events/stream?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n\r\n".encode()
        )
        await reader.readuntil(b"retry")
        task = await api.order("x" * 400)
        await api.database.pool.execute(
            "INSERT INTO events SELECT subject, g, client, tx, at, type, body || repeat(' ', 4000)::bytea "
            "FROM events, generate_series(2, $1) g",
            many,
        )
        await api.order("afterwards")
        await eventually(lambda: api.application.state.streams.count == 0, within=20)
        writer.close()
        async with stream(api, "after=0") as again:
            for number in range(1, many + 1):
                event = await again.next()
                assert event["cursor"].endswith(f"-{number}")
            assert name(await again.next())[0] != task


async def test_a_reader_that_stops_reading_new_events_is_disconnected(database: str) -> None:
    async with serve_api(database, RequestLimits(stream_buffer=5, stream_stall=0.2, heartbeat=0.1)) as api:
        host, port = api.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(f"GET /v1/events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n\r\n".encode())
        await reader.readuntil(b"still here")
        await api.order("x" * 400)
        await api.database.pool.execute(
            "INSERT INTO events SELECT subject, g, client, tx, at, type, body || repeat(' ', 4000)::bytea "
            "FROM events, generate_series(2, 4000) g"
        )
        await api.order("afterwards")
        await eventually(lambda: api.application.state.streams.count == 0, within=20)
        writer.close()


async def test_a_stream_without_chunks_is_sent_to_an_old_client(api: ApiServer) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /v1/events/stream HTTP/1.0\r\nAuthorization: Bearer {api.key}\r\n\r\n".encode())
    assert b"chunked" not in await reader.readuntil(b"\r\n\r\n")
    task = await api.order()
    async with asyncio.timeout(10):
        assert (await reader.readuntil(b"data: ")).endswith(b"\nevent: task.submitted\ndata: ")
        assert task.encode() in await reader.readuntil(b"\n\n")
    writer.close()
    await eventually(lambda: api.application.state.streams.count == 0, within=10)


@pytest.mark.long
async def test_a_revoked_keys_stream_ends(api: ApiServer) -> None:
    key = await api.create_key("leaving")
    async with stream(api, key=key) as reader:
        await client_keys.revoke(api.database, "leaving", datetime.now(UTC))
        async with asyncio.timeout(8):
            await reader.response.content.read()


async def test_streams_end_when_the_service_does(database: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with serve_api(database) as api:
            headers = {"Authorization": f"Bearer {api.key}"}
            response = await session.get(f"{api.url}/v1/events/stream", headers=headers)
            task = await api.order()
            waiting = asyncio.create_task(api.get(f"/v1/tasks/{task}?wait=30"))
            await eventually(lambda: api.load("waiters") == 1)
            async with asyncio.timeout(10):
                await api.stop()
                assert (await waiting)[1]["task_status"] == "submitted"
                assert await response.content.read()
        response.close()
