"""One task's history: its events, and what the provider said of it, as it came."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Uuid, bindparam, select

from kling_relay.store.events.log import COLUMNS, LoggedEvent, event_from_row
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Statement
from kling_relay.store.tables import callbacks, events, tasks

_CLIENT = bindparam("client", type_=Uuid)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCallback:
    """What the provider said of a task, as it came."""

    received_at: datetime
    source: str
    outcome: str
    body: bytes


_HISTORY = Statement(
    select(*COLUMNS)
    .where(events.c.subject == bindparam("task", type_=Uuid), events.c.client == _CLIENT)
    .order_by(events.c.sequence)
)
_CALLBACKS = Statement(
    select(callbacks.c.received_at, callbacks.c.source, callbacks.c.outcome, callbacks.c.body)
    .select_from(tasks)
    .join(callbacks, callbacks.c.task == bindparam("task", type_=Uuid))
    .where(tasks.c.id == bindparam("task", type_=Uuid), tasks.c.client == _CLIENT)
    .order_by(callbacks.c.received_at)
    .limit(bindparam("limit", type_=BigInteger))
)


async def events_of(database: Database, client: UUID, task: UUID) -> list[LoggedEvent]:
    """Return every event of the client's task, in order; of another's, none."""
    return [event_from_row(row) for row in await _HISTORY.rows(database.pool, client=client, task=task)]


async def callbacks_of(database: Database, client: UUID, task: UUID, limit: int) -> list[StoredCallback]:
    """Return what the provider said of the client's task, oldest first."""
    return [
        StoredCallback(**row) for row in await _CALLBACKS.rows(database.pool, client=client, task=task, limit=limit)
    ]
