"""A worker's memory does not grow with what is pending: the bytes of its events are bounded, and seen from outside."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import psutil
import pytest

from kling_relay.store.access import secrets
from kling_relay.store.access.encryption import Encryptor
from tests.faults.process import Part, Process, started
from tests.support.outbox import SECRET, Outbox, fresh_id, now, outbox
from tests.support.service import SIGNING
from tests.support.waiting import eventually

MIB = 2**20
EVENT_BYTES = 14_000
Figure = Callable[[str], None]
_ENCRYPTOR = Encryptor([SIGNING.encode()])


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """Answer every request with these bytes; with none, never."""

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
                if not answer:
                    await reader.read()
                    return
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def subscribe_and_publish(box: Outbox, url: str, subscriptions: int, events: int) -> list[UUID]:
    """Add subscriptions, and large events that are pending for each of them."""
    await box.connection.execute("UPDATE clients SET hook_secret = $1", b"")
    names = [fresh_id() for _ in range(subscriptions)]
    present = now()
    rows = [
        (
            *(name, box.client, f"{url}/{number}", ["*"], "standard", "none", 10),
            *(secrets.encrypt_secrets(_ENCRYPTOR, name, [SECRET]), present, present),
        )
        for number, name in enumerate(names)
    ]
    columns = ["id", "client", "url", "events", "format", "ordering", "max_in_flight", "secrets"]
    await box.connection.copy_records_to_table(
        "subscriptions", records=rows, columns=[*columns, "created_at", "updated_at"]
    )
    subjects = [fresh_id() for _ in range(events)]
    await box.connection.execute(
        "INSERT INTO events (subject, sequence, client, tx, at, type, body)"
        " SELECT subject, 1, $2, 1, now(), 'task.processing', convert_to(repeat(md5(subject::text), $3), 'UTF8')"
        " FROM unnest($1::uuid[]) subject",
        *(subjects, box.client, EVENT_BYTES // 32),
    )
    await box.connection.execute(
        "INSERT INTO pending_deliveries (subject, sequence, subscription, shard, attempt, due_at)"
        " SELECT subject, 1, s, get_byte(uuid_send(s), 15), 0, now()"
        " FROM unnest($1::uuid[]) subject, unnest($2::uuid[]) s",
        *(subjects, names),
    )
    return names


async def peak(process: Process, while_: "asyncio.Future[None]") -> float:
    """Return the most memory in MiB that the process has until the future is done."""
    most = 0.0
    while not while_.done():
        most = max(most, psutil.Process(process.pid).memory_info().rss / MIB)
        await asyncio.wait({while_}, timeout=0.02)
    while_.result()
    return most


async def attempted(connection: asyncpg.Connection, subscriptions: int, each: int) -> None:
    """Wait until as many subscriptions as that were attempted `each` times."""
    query = "SELECT count(*) >= $2 FROM (SELECT FROM attempts GROUP BY subscription HAVING count(*) >= $1) broken"
    await eventually(lambda: connection.fetchval(query, each, subscriptions), 120)


@pytest.mark.long
@pytest.mark.parametrize(("subscriptions", "events"), [(150, 250), (1500, 25)])
async def test_failing_subscriptions_with_large_events_hold_bounded_memory(
    database: str, tmp_path: Path, figure: Figure, subscriptions: int, events: int
) -> None:
    async with outbox(database) as box, answering(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n") as url:
        part = Part(role="worker", database=database, provider="http://127.0.0.1:9", log=tmp_path / "log")
        async with started(part) as process:
            before = psutil.Process(process.pid).memory_info().rss / MIB
            await subscribe_and_publish(box, url, subscriptions, events)
            most = await peak(process, asyncio.ensure_future(attempted(box.connection, subscriptions, 5)))
        figure(
            f"{subscriptions:,} failing subscriptions with {events} events of 14 KB:"
            f" {before:.0f} MiB before, {most:.0f} MiB at most"
        )
        assert most - before < 100


@pytest.mark.long
async def test_hanging_subscriptions_with_large_events_hold_bounded_memory(
    database: str, tmp_path: Path, figure: Figure
) -> None:
    async with outbox(database) as box, answering(b"") as url:
        settings = {"delivery_timeout": "2s", "delivery_memory": "16MiB"}
        part = Part(
            role="worker", database=database, provider="http://127.0.0.1:9", settings=settings, log=tmp_path / "log"
        )
        async with started(part) as process:
            before = psutil.Process(process.pid).memory_info().rss / MIB
            await subscribe_and_publish(box, url, 150, 250)
            most = await peak(process, asyncio.ensure_future(attempted(box.connection, 15, 1)))
        figure(f"150 hanging subscriptions, 16 MiB of events allowed: {before:.0f} MiB before, {most:.0f} MiB at most")
        assert most - before < 60
