"""The log by cursor and as a stream: nothing skipped, nothing twice, whoever writes, however a reader comes back."""

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
from kling_relay.web.http.context import Limits
from tests.support.relay import House, house
from tests.support.waiting import eventually


class Reader:
    """One stream being read, event by event."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def next(self) -> dict[str, Any]:
        """Return the next event with its id; comments are passed over."""
        async with asyncio.timeout(10):
            while True:
                block = (await self.answer.content.readuntil(b"\n\n")).decode()
                lines = dict(line.split(": ", 1) for line in block.strip().split("\n"))
                if "data" in lines:
                    return {"cursor": lines["id"], "event": lines["event"], **orjson.loads(lines["data"])}


@asynccontextmanager
async def stream(
    home: House, query: str = "", last: str | None = None, key: str | None = None
) -> AsyncIterator[Reader]:
    headers = {"Authorization": f"Bearer {key or home.key}", **({"Last-Event-ID": last} if last else {})}
    url = f"{home.url}/v1/events/stream?{query}"
    async with aiohttp.ClientSession(read_bufsize=1 << 16) as session, session.get(url, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        await answer.content.readuntil(b"\n\n")
        yield Reader(answer)


def name(event: dict[str, Any]) -> tuple[str, int]:
    return event["data"]["task_id"], event["data"]["sequence"]


async def test_a_stream_begins_now_and_tells_what_comes(home: House) -> None:
    await home.order("before")
    async with stream(home) as reader:
        task = await home.order("after")
        await home.done(task)
        first, second = await reader.next(), await reader.next()
    assert [name(first), name(second)] == [(task, 1), (task, 2)]
    assert (first["event"], second["event"]) == ("task.submitted", "task.succeed")


async def test_a_stream_goes_on_behind_the_last_event_that_was_seen(home: House) -> None:
    tasks = [await home.order(f"number {number}") for number in range(3)]
    async with stream(home, "after=0") as reader:
        seen = [await reader.next() for _ in range(2)]
    tasks.append(await home.order("number 3"))
    async with stream(home, last=seen[-1]["cursor"]) as reader:
        seen += [await reader.next() for _ in range(2)]
    assert [name(event)[0] for event in seen] == tasks


async def test_a_stream_can_be_narrowed(home: House) -> None:
    first = await home.order("first")
    async with stream(home, f"after=0&task={first}") as of_task, stream(home, "type=task.succeed") as of_type:
        second = await home.order("second")
        await home.done(second)
        await home.done(first)
        assert name(await of_type.next()) == (second, 2)
        assert [name(await of_task.next()) for _ in range(2)] == [(first, 1), (first, 2)]


async def test_another_clients_stream_gets_no_event(home: House) -> None:
    other = await home.key_of("other")
    async with stream(home, key=other) as theirs, stream(home) as ours:
        await home.order()
        await ours.next()
        status, _ = await home.post("/v1/videos/text2video", {"prompt": "theirs"}, other)
        assert status == 200
        assert (await theirs.next())["data"]["kind"] == "text2video"
        _, said = await home.get("/v1/events", other)
        assert len(said["data"]) == 1


async def test_readers_that_come_and_go_miss_nothing_and_hear_nothing_twice(home: House) -> None:
    dice = random.Random(7)
    total = 60

    async def write() -> None:
        tasks = [await home.order(f"number {number}") for number in range(total // 3)]
        dice.shuffle(tasks)
        await asyncio.gather(*(home.called_back(task, "processing") for task in tasks))
        await asyncio.gather(*(home.done(task) for task in tasks))

    async def read(patience: int) -> list[tuple[str, int]]:
        seen: list[tuple[str, int]] = []
        last = "0"
        while len(seen) < total:
            async with stream(home, last=last) as reader:
                for _ in range(min(patience, total - len(seen))):
                    event = await reader.next()
                    seen.append(name(event))
                    last = event["cursor"]
        return seen

    async with asyncio.timeout(60):
        _, *heard = await asyncio.gather(write(), *(read(patience) for patience in (1, 7, 1000)))
    pages = [name(event) for event in (await home.get("/v1/events?limit=500"))[1]["data"]]
    assert len(set(pages)) == total
    assert heard == [pages, pages, pages]
    for task in {task for task, _ in pages}:
        assert [sequence for other, sequence in pages if other == task] == [1, 2, 3]


async def test_an_event_that_commits_late_is_not_passed_over(home: House, database: str) -> None:
    early = await home.order("early")
    late = await asyncpg.connect(database)
    try:
        async with stream(home, "after=0") as reader:
            assert name(await reader.next()) == (early, 1)
            transaction = late.transaction()
            await transaction.start()
            await late.execute(
                "INSERT INTO events (subject, sequence, client, tx, at, type, body) "
                "SELECT subject, 2, client, pg_current_xact_id()::text::bigint, at, type, "
                "convert_to(replace(convert_from(body, 'UTF8'), '\"sequence\":1', '\"sequence\":2'), 'UTF8') "
                "FROM events"
            )
            overtaking = await home.order("overtaking")
            _, said = await home.get("/v1/events")
            assert [name(event) for event in said["data"]] == [(early, 1)]
            await transaction.commit()
            assert [name(await reader.next()) for _ in range(2)] == [(early, 2), (overtaking, 1)]
    finally:
        await late.close()


async def test_pages_of_the_log_follow_one_another(home: House) -> None:
    made = [await home.order(f"number {number}") for number in range(5)]
    await home.readable()
    seen: list[str] = []
    after = "0"
    while after:
        _, page = await home.get(f"/v1/events?limit=2&after={after}")
        seen += [event["data"]["task_id"] for event in page["data"]]
        after = page["next_cursor"]
    assert seen == made
    _, page = await home.get(f"/v1/events?limit=2&cursor={page['data'][-1]['cursor']}")
    assert page == {"data": [], "next_cursor": None}


@pytest.mark.parametrize("query", ["after=x", "after=1-2-3", "type=task.nothing", "task=x", "colour=red"])
async def test_an_invalid_cursor_is_refused(home: House, query: str) -> None:
    for path in ("/v1/events", "/v1/events/stream"):
        assert (await home.get(f"{path}?{query}"))[0] == 400


async def test_a_silent_stream_has_a_heartbeat(database: str) -> None:
    async with house(database, Limits(heartbeat=0.01)) as home, stream(home) as reader:
        async with asyncio.timeout(10):
            assert (await reader.answer.content.readuntil(b"\n\n")).startswith(b":")


async def test_streams_of_a_key_are_bounded(database: str) -> None:
    async with house(database, Limits(streams_per_key=1)) as home:
        async with stream(home):
            status, said = await home.get("/v1/events/stream")
            assert (status, said["code"]) == (429, 1302)
            assert home.load("streams") == 1
        await eventually(lambda: home.load("streams") == 0, within=15)


async def test_a_reader_that_does_not_read_is_cut_and_resumes_without_loss(database: str) -> None:
    async with house(database, Limits(stream_buffer=5, stream_stall=0.2)) as home:
        many = 3_000
        host, port = home.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(
            f"GET /v1/events/stream?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {home.key}\r\n\r\n".encode()
        )
        await reader.readuntil(b"retry")
        task = await home.order("x" * 400)
        await home.database.pool.execute(
            "INSERT INTO events SELECT subject, g, client, tx, at, type, body || repeat(' ', 4000)::bytea "
            "FROM events, generate_series(2, $1) g",
            many,
        )
        await home.order("afterwards")
        await eventually(lambda: home.load("streams") == 0, within=20)
        writer.close()
        async with stream(home, "after=0") as again:
            for number in range(1, many + 1):
                event = await again.next()
                assert event["cursor"].endswith(f"-{number}")
            assert name(await again.next())[0] != task


async def test_a_revoked_keys_stream_ends(home: House) -> None:
    key = await home.key_of("leaving")
    async with stream(home, key=key) as reader:
        await client_keys.revoke(home.database, "leaving", datetime.now(UTC))
        async with asyncio.timeout(8):
            await reader.answer.content.read()


async def test_streams_end_when_the_service_does(database: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with house(database) as home:
            headers = {"Authorization": f"Bearer {home.key}"}
            answer = await session.get(f"{home.url}/v1/events/stream", headers=headers)
            task = await home.order()
            waiting = asyncio.create_task(home.get(f"/v1/tasks/{task}?wait=30"))
            await eventually(lambda: home.load("waiters") == 1)
            async with asyncio.timeout(10):
                await home.stop()
                assert (await waiting)[1]["task_status"] == "submitted"
                assert await answer.content.read()
        answer.close()
