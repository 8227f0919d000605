"""One task's history: its events, and what the provider sent about it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from kling_relay.store.events.log import COLUMNS, LoggedEvent, event_from_row
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Statement

_SQL = load_sql(__name__, event=COLUMNS)
_EVENTS = Statement(_SQL["list_events"])
_CALLBACKS = Statement(_SQL["list_callbacks"])


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCallback:
    """What the provider sent about a task, unchanged."""

    received_at: datetime
    source: str
    outcome: str
    body: bytes


async def events_of(database: Database, client: UUID, task: UUID) -> list[LoggedEvent]:
    """Return every event of the client's task, in order; none if the task is another client's."""
    return [event_from_row(row) for row in await _EVENTS.rows(database.pool, client=client, task=task)]


async def callbacks_of(database: Database, client: UUID, task: UUID, limit: int) -> list[StoredCallback]:
    """Return what the provider sent about the client's task, oldest first."""
    rows = await _CALLBACKS.rows(database.reports, client=client, task=task, limit=limit)
    return [StoredCallback(**row) for row in rows]
