"""Rows that a benchmark starts from, written as the service would have written them, only faster."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from bench.environment import SIGNING
from kling_relay.core import callback_token
from kling_relay.core.event import Event, TaskIdentity, make_task_event
from kling_relay.core.ids import RANDOM_BITS, new_id
from kling_relay.core.signature import new_secret
from kling_relay.core.task import Signal, SignalKind, Status, Task
from kling_relay.store.access import secrets
from kling_relay.store.access.encryption import Sealer
from kling_relay.store.postgres.statement import Connection

SECRET = new_secret(b"bench-secret-of-32-bytes-0123456")
_SEALER = Sealer([SIGNING.encode()])
_PRESENT = datetime.now(UTC) - timedelta(minutes=1)
RESULT = {
    "videos": [{"id": "v-1", "url": "https://cdn.example.com/results/2026/11/0123456789abcdef.mp4", "duration": "5.1"}]
}
CALLBACK = json.dumps(
    {
        "task_id": "p-0123456789abcdef",
        "task_status": "succeed",
        "task_status_msg": "",
        "created_at": 1_700_000_000_000,
        "updated_at": 1_700_000_060_000,
        "final_unit_deduction": "1",
        "task_info": {},
        "task_result": RESULT,
    }
)
"""What a provider sends when a video is done."""
_TASK_COLUMNS = [
    *("id", "client", "key", "status", "sequence", "created_at", "updated_at", "kind", "model", "mode", "duration"),
    *("units", "quote", "currency", "prices", "fields"),
]


def ids(count: int) -> list[UUID]:
    """Return so many ids of the present, in order."""
    return sorted(new_id(_PRESENT, random.getrandbits(RANDOM_BITS)) for _ in range(count))


def hooks(tasks: Sequence[UUID]) -> list[str]:
    """Return the paths that the provider would call for these tasks."""
    keys = [SIGNING.encode()]
    return [f"/callbacks/{task}/{callback_token.make(keys, task)}" for task in tasks]


def event_of(task: UUID, client: UUID) -> Event:
    """Return the event of a video's success, as ingest makes it."""
    facts = TaskIdentity(id=task, client=client, kind="text2video", external_task_id=None, created_at=_PRESENT)
    done = Task(id=task, status=Status.SUCCEED, sequence=1, updated_at=_PRESENT)
    return make_task_event(facts, done, Signal(kind=SignalKind.SUCCEED, result=RESULT))


async def add_clients(connection: Connection, count: int) -> list[UUID]:
    """Add so many clients, each with a secret for its hooks."""
    made = ids(count)
    rows = [(each, f"bench-{each}", secrets.seal_hook_secret(_SEALER, each, SECRET), _PRESENT) for each in made]
    await connection.copy_records_to_table("clients", records=rows, columns=["id", "name", "hook_secret", "created_at"])
    return made


@dataclass(frozen=True, slots=True)
class Wanted:
    """A subscription to be added: whose, where, and how many attempts at once."""

    client: UUID
    url: str
    at_once: int = 100


async def subscribe(connection: Connection, wanted: Sequence[Wanted]) -> list[UUID]:
    """Add subscriptions to everything."""
    made = ids(len(wanted))
    columns = [
        "id",
        "client",
        "url",
        "events",
        "format",
        "ordering",
        "max_in_flight",
        "secrets",
        "created_at",
        "updated_at",
    ]
    rows = [
        (
            name,
            each.client,
            each.url,
            ["*"],
            "standard",
            "none",
            each.at_once,
            secrets.seal_list(_SEALER, name, [SECRET]),
            _PRESENT,
            _PRESENT,
        )
        for name, each in zip(made, wanted, strict=True)
    ]
    await connection.copy_records_to_table("subscriptions", records=rows, columns=columns)
    return made


async def add_tasks(
    connection: Connection, clients: Sequence[UUID], count: int, *, finished: bool = False
) -> list[UUID]:
    """Add tasks, client after client in turn: submitted and waiting for their callback, or `finished` with event."""
    made = ids(count)
    status = "succeed" if finished else "submitted"
    facts = ("text2video", "kling-v1", "std", "5", 1, 1, "unit", "bench", "{}")
    rows = [
        (task, clients[number % len(clients)], None, status, 1, _PRESENT, _PRESENT, *facts)
        for number, task in enumerate(made)
    ]
    await connection.copy_records_to_table("tasks", records=rows, columns=_TASK_COLUMNS)
    if finished:
        await add_events(connection, [(task, clients[number % len(clients)]) for number, task in enumerate(made)])
    else:
        later = datetime.now(UTC) + timedelta(hours=1)
        await connection.copy_records_to_table(
            "submissions",
            records=[(row[0], row[1], "accepted", 1, later, "text2video", f"p-{row[0].hex}") for row in rows],
            columns=["task", "client", "state", "units", "due_at", "kind", "provider_task_id"],
        )
    return made


async def add_events(connection: Connection, tasks: Sequence[tuple[UUID, UUID]]) -> None:
    """Add the first event of each (task, client)."""
    rows = (
        (event.subject, event.sequence, event.client, 1, event.at, event.type, event.body)
        for event in (event_of(task, client) for task, client in tasks)
    )
    columns = ["subject", "sequence", "client", "tx", "at", "type", "body"]
    await connection.copy_records_to_table("events", records=rows, columns=columns)


async def add_backlog(connection: Connection, client: UUID, subscriptions: Sequence[UUID], events: int) -> list[UUID]:
    """Add finished tasks whose events are still to be delivered to each of these subscriptions."""
    made = await add_tasks(connection, [client], events, finished=True)
    await connection.execute(
        "INSERT INTO pending_deliveries (subject, sequence, subscription, shard, attempt, due_at)"
        " SELECT task, 1, subscription, get_byte(uuid_send(subscription), 15), 0,"
        " now() - interval '1 minute' + place * interval '1 microsecond'"
        " FROM unnest($1::uuid[]) WITH ORDINALITY AS tasks (task, place), unnest($2::uuid[]) subscription",
        made,
        list(subscriptions),
        timeout=600,
    )
    return made


async def bootstrap(connection: Connection) -> UUID:
    """Return the client whose key every relay here starts with; made by the first start."""
    client: UUID = await connection.fetchval("SELECT client FROM keys WHERE name = 'bootstrap'")
    return client


async def opened(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    """Return a connection for a benchmark's own statements."""
    return await asyncpg.connect(url)
