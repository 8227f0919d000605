"""The rows that a benchmark starts from, as the service would have written them, but by COPY."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from bench.programs import SIGNING
from kling_relay.core import callback_token
from kling_relay.core.event import Event, TaskIdentity, make_task_event
from kling_relay.core.ids import RANDOM_BITS, new_id
from kling_relay.core.key import Scope, digest, make_key
from kling_relay.core.signature import new_secret
from kling_relay.core.task import Signal, SignalKind, Status, Task
from kling_relay.store.access import client_keys, secrets
from kling_relay.store.access.client_keys import NewKey
from kling_relay.store.access.encryption import Encryptor
from kling_relay.store.postgres.database import connect as open_pools
from kling_relay.store.postgres.statement import Connection

SECRET = new_secret(b"bench-secret-of-32-bytes-0123456")
_ENCRYPTOR = Encryptor([SIGNING.encode()])
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
    """Return `count` ids of the present, in order."""
    return sorted(new_id(_PRESENT, random.getrandbits(RANDOM_BITS)) for _ in range(count))


def callback_paths(tasks: Sequence[UUID]) -> list[str]:
    """Return the paths of these tasks' callbacks."""
    keys = [SIGNING.encode()]
    return [f"/callbacks/{task}/{callback_token.make(keys, task)}" for task in tasks]


def success_event(task: UUID, client: UUID) -> Event:
    """Return the event of a video that succeeded, as ingest makes it."""
    identity = TaskIdentity(id=task, client=client, kind="text2video", external_task_id=None, created_at=_PRESENT)
    done = Task(id=task, status=Status.SUCCEED, sequence=1, updated_at=_PRESENT)
    return make_task_event(identity, done, Signal(kind=SignalKind.SUCCEED, result=RESULT))


async def add_clients(connection: Connection, count: int) -> list[UUID]:
    """Add `count` clients, each with a secret for its hooks."""
    clients = ids(count)
    rows = [
        (client, f"bench-{client}", secrets.encrypt_hook_secret(_ENCRYPTOR, client, SECRET), _PRESENT)
        for client in clients
    ]
    await connection.copy_records_to_table("clients", records=rows, columns=["id", "name", "hook_secret", "created_at"])
    return clients


async def add_key(url: str, name: str) -> str:
    """Add a client of this name with a key that may only read, and return the key."""
    client, key_id = ids(2)
    text = make_key(key_id, random.getrandbits(256))
    new = NewKey(
        id=key_id,
        name=name,
        digest=digest(text),
        secret=secrets.encrypt_key(_ENCRYPTOR, key_id, text),
        scopes=frozenset({Scope.READ}),
        created_at=_PRESENT,
        client_id=client,
        client_name=name,
        hook_secret=secrets.encrypt_hook_secret(_ENCRYPTOR, client, SECRET),
    )
    async with open_pools(url) as database:
        await client_keys.create(database, new)
    return text


async def add_entries(connection: Connection, name: str, count: int) -> None:
    """Add entries of the last days to the ledger of the client of this name."""
    await connection.execute(
        "INSERT INTO ledger (task, entry, client, key, at, reserved, charged, currency, kind, model, mode)"
        " SELECT gen_random_uuid(), entry, keys.client, keys.id, now() - number * interval '1 second',"
        " 1, 0, 'unit', 'text2video', 'kling-v1', 'std'"
        " FROM keys, generate_series(1, $2::int) AS number, unnest(ARRAY['reserve', 'settle']) AS entry"
        " WHERE keys.name = $1",
        name,
        count // 2,
        timeout=600,
    )


@dataclass(frozen=True, slots=True)
class NewSubscription:
    """A subscription to add; `max_in_flight` bounds its concurrent attempts."""

    client: UUID
    url: str
    max_in_flight: int = 100


async def subscribe(connection: Connection, subscriptions: Sequence[NewSubscription]) -> list[UUID]:
    """Add subscriptions to all events."""
    subscription_ids = ids(len(subscriptions))
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
            subscription_id,
            subscription.client,
            subscription.url,
            ["*"],
            "standard",
            "none",
            subscription.max_in_flight,
            secrets.encrypt_secrets(_ENCRYPTOR, subscription_id, [SECRET]),
            _PRESENT,
            _PRESENT,
        )
        for subscription_id, subscription in zip(subscription_ids, subscriptions, strict=True)
    ]
    await connection.copy_records_to_table("subscriptions", records=rows, columns=columns)
    return subscription_ids


async def add_tasks(
    connection: Connection, clients: Sequence[UUID], count: int, *, finished: bool = False
) -> list[UUID]:
    """Add tasks of each client in turn: submitted and waiting for a callback, or `finished` with their event."""
    tasks = ids(count)
    status = "succeed" if finished else "submitted"
    order = ("text2video", "kling-v1", "std", "5", 1, 1, "unit", "bench", "{}")
    rows = [
        (task, clients[number % len(clients)], None, status, 1, _PRESENT, _PRESENT, *order)
        for number, task in enumerate(tasks)
    ]
    await connection.copy_records_to_table("tasks", records=rows, columns=_TASK_COLUMNS)
    if finished:
        await add_events(connection, [(task, clients[number % len(clients)]) for number, task in enumerate(tasks)])
    else:
        later = datetime.now(UTC) + timedelta(hours=1)
        await connection.copy_records_to_table(
            "submissions",
            records=[(row[0], row[1], "accepted", 1, later, "text2video", f"p-{row[0].hex}") for row in rows],
            columns=["task", "client", "state", "units", "due_at", "kind", "provider_task_id"],
        )
    return tasks


async def add_events(connection: Connection, tasks: Sequence[tuple[UUID, UUID]]) -> None:
    """Add the first event of each (task, client)."""
    rows = (
        (event.subject, event.sequence, event.client, 1, event.at, event.type, event.body)
        for event in (success_event(task, client) for task, client in tasks)
    )
    columns = ["subject", "sequence", "client", "tx", "at", "type", "body"]
    await connection.copy_records_to_table("events", records=rows, columns=columns)


async def add_backlog(connection: Connection, client: UUID, subscriptions: Sequence[UUID], events: int) -> list[UUID]:
    """Add finished tasks whose events are pending for each of these subscriptions."""
    tasks = await add_tasks(connection, [client], events, finished=True)
    await connection.execute(
        "INSERT INTO pending_deliveries (subject, sequence, subscription, shard, attempt, due_at)"
        " SELECT task, 1, subscription, get_byte(uuid_send(subscription), 15), 0,"
        " now() - interval '1 minute' + place * interval '1 microsecond'"
        " FROM unnest($1::uuid[]) WITH ORDINALITY AS tasks (task, place), unnest($2::uuid[]) subscription",
        tasks,
        list(subscriptions),
        timeout=600,
    )
    return tasks


async def bootstrap(connection: Connection) -> UUID:
    """Return the client of the bootstrap key, which the service creates when it first starts."""
    client: UUID = await connection.fetchval("SELECT client FROM keys WHERE name = 'bootstrap'")
    return client


async def connect(url: str) -> "asyncpg.Connection[asyncpg.Record]":
    """Open a connection for a benchmark's own statements."""
    return await asyncpg.connect(url)
