"""Look-ups of tasks: one statement each, by way of the indexes there are, touching one partition where an id is given.

A task's result and reason are in the body of its last event, which is joined on; one that was only recorded has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import (
    ColumnElement,
    Select,
    SmallInteger,
    Text,
    Uuid,
    and_,
    bindparam,
    func,
    literal_column,
    select,
)

from kling_relay.core.event import TaskIdentity, task_json
from kling_relay.core.task import Status, Task
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Row, Statement, first_of, not_before, unnested
from kling_relay.store.tables import events, idempotency_keys, ledger, submissions, tasks

LEAN = (
    tasks.c.id,
    tasks.c.client,
    tasks.c.kind,
    tasks.c.external_task_id,
    tasks.c.created_at,
    tasks.c.status,
    tasks.c.sequence,
    tasks.c.updated_at,
)
"""What a task's facts and its standing are made of; `steps.read` takes them in this order."""
_RICH = (
    *LEAN,
    tasks.c.key,
    tasks.c.model,
    tasks.c.mode,
    tasks.c.duration,
    tasks.c.units,
    tasks.c.quote,
    tasks.c.currency,
    tasks.c.prices,
    tasks.c.trace,
    tasks.c.fields,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """A task as clients see it (`core.event.task_json`); `status` is ours, `client` whose it is."""

    id: UUID
    client: UUID
    status: Status
    shown: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDetails:
    """A task with all that we know of it; `state` is its submission's, None once it is final."""

    found: TaskView
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


def _with_event(chosen: Select[Any], task: ColumnElement[UUID], *bounds: ColumnElement[bool]) -> Select[Any]:
    """Join the last event; `task` is the id as it was given, so that the events' partition is pruned by it too."""
    return chosen.add_columns(events.c.body).outerjoin(
        events, and_(events.c.subject == task, events.c.sequence == tasks.c.sequence, *bounds)
    )


_ID = bindparam("id", type_=Uuid)
_CLIENT = bindparam("client", type_=Uuid)
_BY_ID = Statement(
    _with_event(select(*LEAN).select_from(tasks), _ID).where(tasks.c.id == _ID, tasks.c.client == _CLIENT)
)
# joined, since a partition is found for each id of a join but not for an array of them
_asked = unnested("asked", place=SmallInteger, id=Uuid, client=Uuid)
_BY_IDS = Statement(
    _with_event(
        select(*LEAN, _asked.c.place).select_from(
            _asked.join(
                tasks, and_(tasks.c.id == _asked.c.id, tasks.c.client == _asked.c.client, not_before(tasks.c.id))
            )
        ),
        _asked.c.id,
        not_before(events.c.subject),
    )
)
# the id as a subquery of its own is known before any partition is opened; a join would let the planner walk them all
_NAMED = (
    select(idempotency_keys.c.task)
    .where(idempotency_keys.c.client == _CLIENT, idempotency_keys.c.key == bindparam("key", type_=Text))
    .scalar_subquery()
)
_BY_EXTERNAL_ID = Statement(
    _with_event(select(*LEAN).select_from(tasks), _NAMED).where(tasks.c.id == _NAMED, tasks.c.client == _CLIENT)
)


def _detail() -> Statement:
    charged = select(func.coalesce(func.sum(ledger.c.charged), literal_column("0"))).where(ledger.c.task == _ID)
    note = select(func.max(ledger.c.note)).where(ledger.c.task == _ID)
    chosen = select(
        *_RICH,
        charged.scalar_subquery().label("charged"),
        note.scalar_subquery().label("note"),
        submissions.c.state,
        submissions.c.reason,
        submissions.c.provider_task_id,
        submissions.c.due_at,
    )
    joined = chosen.select_from(tasks).outerjoin(submissions, submissions.c.task == _ID)
    return Statement(_with_event(joined, _ID).where(tasks.c.id == _ID, tasks.c.client == _CLIENT))


_DETAIL = _detail()


async def by_id(database: Database, client: UUID, identifier: UUID) -> TaskView | None:
    """Return the client's task of this id, or None."""
    row = await _BY_ID.row(database.pool, id=identifier, client=client)
    return None if row is None else task_view(row)


async def by_ids(database: Database, ids: Sequence[UUID], clients: Sequence[UUID]) -> list[Row | None]:
    """Return the rows of these tasks (see `task_view`), each None where there is none or it is not that client's."""
    found: list[Row | None] = [None] * len(ids)
    asked = {"asked_place": range(len(ids)), "asked_id": ids, "asked_client": clients, **first_of(ids)}
    for row in await _BY_IDS.rows(database.pool, **asked):
        found[row["place"]] = row
    return found


async def by_external_id(database: Database, client: UUID, name: str) -> TaskView | None:
    """Return the client's task of this external_task_id, or None."""
    row = await _BY_EXTERNAL_ID.row(database.pool, client=client, key=f"e:{name}")
    return None if row is None else task_view(row)


async def detail(database: Database, client: UUID, identifier: UUID) -> TaskDetails | None:
    """Return the client's task of this id with its price, submission and order, or None."""
    row = await _DETAIL.row(database.pool, id=identifier, client=client)
    if row is None:
        return None
    return TaskDetails(
        found=task_view(row),
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
    status = Status(row["status"])
    body: bytes | None = row["body"]
    if body is not None:
        seen = orjson.loads(body)["data"]
    else:
        identity = TaskIdentity(
            id=row["id"],
            client=row["client"],
            kind=row["kind"],
            external_task_id=row["external_task_id"],
            created_at=row["created_at"],
        )
        seen = task_json(
            identity, Task(id=row["id"], status=status, sequence=row["sequence"], updated_at=row["updated_at"])
        )
    return TaskView(id=row["id"], client=row["client"], status=status, shown=seen)
