"""Look-ups of tasks: one statement each, by index, touching one partition if an id is given.

A task's result and reason are in the body of its last event. A task that was only recorded has no event.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from kling_relay.core.event import TaskIdentity, task_json
from kling_relay.core.task import Status, Task
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Row, Statement, first_of

LEAN = (
    "tasks.id, tasks.client, tasks.kind, tasks.external_task_id, tasks.created_at, "
    "CASE WHEN tasks.result_missing THEN 'result_missing' ELSE tasks.status END AS status, "
    "tasks.sequence, tasks.updated_at"
)
"""The columns that `task_view` needs beside the body of the task's last event."""
_SQL = load_sql(__name__, lean=LEAN)
_BY_ID = Statement(_SQL["get_task"])
_BY_IDS = Statement(_SQL["get_tasks"])
_BY_EXTERNAL_ID = Statement(_SQL["get_task_by_external_id"])
_DETAILS = Statement(_SQL["get_task_details"])


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """A task as clients see it (`core.event.task_json`); `status` is ours, `client` whose it is."""

    id: UUID
    client: UUID
    status: Status
    shown: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDetails:
    """A task with all that is known about it; `state` is its submission's, None once the task is final."""

    view: TaskView
    key: UUID | None
    model: str
    mode: str | None
    duration: str | None
    units: int
    quote: Decimal
    charged: Decimal
    note: str | None
    currency: str
    prices: str
    trace: str | None
    fields: dict[str, Any]
    state: str | None
    state_reason: str | None
    provider_task_id: str | None
    next_look_at: datetime | None


async def by_id(database: Database, client: UUID, identifier: UUID) -> TaskView | None:
    """Return the client's task of this id, or None."""
    row = await _BY_ID.row(database.pool, id=identifier, client=client)
    return None if row is None else task_view(row)


async def by_ids(database: Database, ids: Sequence[UUID], clients: Sequence[UUID]) -> list[Row | None]:
    """Return the rows of these tasks for `task_view`, in the order of `ids`.

    A row is None if the task does not exist or belongs to another client than the one at the same place in `clients`.
    """
    batch: list[Row | None] = [None] * len(ids)
    rows = await _BY_IDS.rows(
        database.pool, task_place=range(len(ids)), task_id=ids, task_client=clients, **first_of(ids)
    )
    for row in rows:
        batch[row["place"]] = row
    return batch


async def by_external_id(database: Database, client: UUID, name: str) -> TaskView | None:
    """Return the client's task of this external_task_id, or None."""
    row = await _BY_EXTERNAL_ID.row(database.pool, client=client, key=f"e:{name}")
    return None if row is None else task_view(row)


async def details(database: Database, client: UUID, identifier: UUID) -> TaskDetails | None:
    """Return the client's task of this id with its price, submission and order, or None."""
    row = await _DETAILS.row(database.pool, id=identifier, client=client)
    if row is None:
        return None
    return TaskDetails(
        view=task_view(row),
        key=row["key"],
        model=row["model"],
        mode=row["mode"],
        duration=row["duration"],
        units=row["units"],
        quote=row["quote"],
        charged=row["charged"],
        note=row["note"],
        currency=row["currency"],
        prices=row["prices"],
        trace=row["trace"],
        fields=orjson.loads(row["fields"]),
        state=row["state"],
        state_reason=row["reason"],
        provider_task_id=row["provider_task_id"],
        next_look_at=row["due_at"],
    )


def task_view(row: Row) -> TaskView:
    """Return the task of a row that has the columns `LEAN` and `body`, its last event's."""
    status = Status(row["status"])
    body: bytes | None = row["body"]
    if body is not None:
        client_view = orjson.loads(body)["data"]
    else:
        identity = TaskIdentity(
            id=row["id"],
            client=row["client"],
            kind=row["kind"],
            external_task_id=row["external_task_id"],
            created_at=row["created_at"],
        )
        client_view = task_json(
            identity, Task(id=row["id"], status=status, sequence=row["sequence"], updated_at=row["updated_at"])
        )
    return TaskView(id=row["id"], client=row["client"], status=status, shown=client_view)
