"""Pending deliveries in a database, and workers that make them over a stand-in for the network."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from kling_relay.core.delivery import SubscriberResponse
from kling_relay.core.ids import RANDOM_BITS, new_id
from kling_relay.core.schedule import Schedule
from kling_relay.flows.deliver import Deliver
from kling_relay.flows.event_memory import EventMemory
from kling_relay.flows.fetch import Fetch, FetchTunables
from kling_relay.flows.wakeup import Wakeup
from kling_relay.store.deliveries.recipients import Recipient
from kling_relay.store.postgres.database import Database, connect

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
GOOD = SubscriberResponse(status=200, error=None, retry_after=None, body=b"", latency=0.001)
BAD = SubscriberResponse(status=500, error=None, retry_after=None, body=b"no", latency=0.001)
GONE = SubscriberResponse(status=410, error=None, retry_after=None, body=b"", latency=0.001)


def now() -> datetime:
    return datetime.now(UTC)


def fresh_id() -> UUID:
    return new_id(now(), random.getrandbits(RANDOM_BITS))


@dataclass(slots=True)
class Network:
    """Records every POST as (url, webhook-id) and its signature; `answers` decides by URL what comes back."""

    posts: list[tuple[str, str]] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)
    answers: dict[str, Callable[[str], Awaitable[SubscriberResponse]]] = field(default_factory=dict)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, now: datetime) -> SubscriberResponse:
        name = headers["webhook-id"]
        self.posts.append((url, name))
        self.signatures.append(headers["webhook-signature"])
        answer = self.answers.get(url)
        return await answer(name) if answer else GOOD

    def to(self, url: str) -> list[str]:
        """Return the webhook-ids of the deliveries to `url`, in order."""
        return [name for at, name in self.posts if at == url]


@dataclass(slots=True)
class Outbox:
    """A database, with rows as steps would have written them."""

    database: Database
    connection: "asyncpg.Connection[asyncpg.Record]"
    client: UUID

    async def subscribe(self, url: str, **members: Any) -> UUID:
        """Add a subscription and return its id; its secret is SECRET."""
        row = {
            "id": fresh_id(),
            "client": self.client,
            "url": url,
            "events": ["*"],
            "format": "standard",
            "ordering": "none",
            "max_in_flight": 10,
            "secrets": SECRET.encode(),
            "created_at": now(),
            "updated_at": now(),
            **members,
        }
        await self.connection.copy_records_to_table("subscriptions", records=[tuple(row.values())], columns=list(row))
        return UUID(str(row["id"]))

    async def step(self, subject: UUID, sequence: int, *subscriptions: UUID, late_by: float = 0.0) -> None:
        """Add an event with a delivery to each subscription, due since `late_by` seconds."""
        async with self.connection.transaction():
            await self.connection.execute(
                "INSERT INTO events (subject, sequence, client, tx, at, type, body)"
                " VALUES ($1, $2, $3, 1, now(), 'task.processing', '{}')",
                *(subject, sequence, self.client),
            )
            await self.due(subject, sequence, *subscriptions, late_by=late_by)

    async def due(self, subject: UUID, sequence: int, *subscriptions: UUID, late_by: float = 0.0) -> None:
        await self.connection.execute(
            "INSERT INTO pending_deliveries (subject, sequence, subscription, shard, attempt, due_at)"
            " SELECT $1, $2, s, get_byte(uuid_send(s), 15), 0, now() - $4 * interval '1 second'"
            " FROM unnest($3::uuid[]) s",
            *(subject, sequence, list(subscriptions), late_by),
        )

    async def events(self, count: int, *subscriptions: UUID) -> list[UUID]:
        """Add `count` subjects, each with one event that is pending for every subscription."""
        subjects = [fresh_id() for _ in range(count)]
        for subject in subjects:
            await self.step(subject, 1, *subscriptions)
        return subjects

    async def pending(self) -> int:
        return int(await self.connection.fetchval("SELECT count(*) FROM pending_deliveries"))

    async def is_done(self) -> bool:
        return await self.pending() == 0


@asynccontextmanager
async def outbox(url: str) -> AsyncIterator[Outbox]:
    """Yield an outbox with one client in a migrated database."""
    async with connect(url, max_wait=20) as database:
        connection = await asyncpg.connect(url)
        client = fresh_id()
        await connection.execute(
            "INSERT INTO clients (id, name, hook_secret, created_at) VALUES ($1, 'c', '', now())", client
        )
        try:
            yield Outbox(database, connection, client)
        finally:
            await connection.close()


@dataclass(slots=True, kw_only=True)
class RunningWorker:
    """A worker: what delivers, and what fills its queues."""

    deliver: Deliver
    fetch: Fetch
    wakeup: Wakeup
    tasks: list["asyncio.Task[None]"]

    async def stop(self) -> None:
        """Stop cleanly: finish the attempts, settle them, release the shards."""
        self.fetch.stop()
        self.deliver.stop()
        self.tasks[1].cancel()
        await asyncio.wait(self.tasks)
        await self.fetch.leave()

    async def die(self) -> None:
        """Stop as a killed process does: nothing is settled, no shard is released."""
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)


@asynccontextmanager
async def worker(
    database: Database,
    network: Network,
    *,
    waits: tuple[float, ...] = (0.05,) * 8,
    concurrency: int = 50,
    memory: int = 64 * 2**20,
    tunables: FetchTunables = FetchTunables(),
) -> AsyncIterator[RunningWorker]:
    """Run a worker until the end of the block."""
    deliver = Deliver(
        database,
        network,
        schedule=Schedule(waits),
        now=now,
        random_fraction=lambda: 0.5,
        source="https://relay.example.com",
        concurrency=concurrency,
        memory=EventMemory(memory),
    )
    wakeup = Wakeup()
    fetch = Fetch(
        database,
        deliver,
        worker=fresh_id(),
        wakeup=wakeup,
        now=now,
        new_id=lambda _: fresh_id(),
        decrypt=_decrypt,
        tunables=tunables,
    )
    tasks = [asyncio.create_task(deliver.run()), asyncio.create_task(fetch.run())]
    hand = RunningWorker(deliver=deliver, fetch=fetch, wakeup=wakeup, tasks=tasks)
    try:
        yield hand
    finally:
        if not all(task.done() for task in tasks):
            with suppress(asyncio.CancelledError):
                await hand.stop()


def _decrypt(recipient: Recipient) -> tuple[tuple[str, ...], dict[str, str]]:
    return tuple(recipient.secrets.decode().split()), {}
