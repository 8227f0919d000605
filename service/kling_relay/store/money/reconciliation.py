"""What reconciling reads: our books task by task, and what the provider said of each as it came."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Integer, Text, Uuid, any_, bindparam, func, literal_column, select, true

from kling_relay.core.discrepancy import TaskAccount
from kling_relay.core.ids import lower_bound
from kling_relay.core.task import Status
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Row, Statement, unnested
from kling_relay.store.tables import callbacks, clients, ledger, submissions, tasks

PAGE = 200
MAX_KEPT = 20
"""Of a task's callbacks so many are read, newest first."""

_booked = (
    select(
        func.coalesce(func.sum(ledger.c.reserved), literal_column("0")).label("reserved"),
        func.coalesce(func.sum(ledger.c.charged), literal_column("0")).label("charged"),
        func.coalesce(func.array_agg(ledger.c.entry), literal_column("'{}'::text[]")).label("entries"),
    )
    .where(ledger.c.task == tasks.c.id)
    .lateral("booked")
)
_PAGE = Statement(
    select(
        tasks.c.id,
        clients.c.name,
        tasks.c.kind,
        tasks.c.status,
        tasks.c.quote,
        _booked.c.reserved,
        _booked.c.charged,
        _booked.c.entries,
        submissions.c.state,
        submissions.c.provider_task_id,
    )
    .select_from(
        tasks.join(_booked, true())
        .outerjoin(clients, clients.c.id == tasks.c.client)
        .outerjoin(submissions, submissions.c.task == tasks.c.id)
    )
    .where(
        tasks.c.id >= bindparam("lowest", type_=Uuid),
        tasks.c.id < bindparam("bound", type_=Uuid),
        tasks.c.id > bindparam("after", type_=Uuid),
    )
    .order_by(tasks.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_BELIEVED: ColumnElement[Any] = literal_column("'{moved,stale}'::text[]", ARRAY(Text))
_wanted = unnested("wanted", task=Uuid)
_newest = (
    select(callbacks.c.task, callbacks.c.body, callbacks.c.received_at)
    .where(
        callbacks.c.task == _wanted.c.task,
        callbacks.c.outcome == any_(_BELIEVED),
    )
    .order_by(callbacks.c.received_at.desc())
    .limit(literal_column(str(MAX_KEPT)))
    .lateral("newest")
)
_KEPT = Statement(
    select(_newest.c.task, _newest.c.body).select_from(_wanted.join(_newest, true())).order_by(_newest.c.received_at)
)
_TOTAL = Statement(
    select(func.coalesce(func.sum(ledger.c.reserved + ledger.c.charged), literal_column("0"))).where(
        ledger.c.currency == bindparam("currency", type_=Text)
    )
)


async def books(database: Database, since: datetime, until: datetime) -> AsyncIterator[list[TaskAccount]]:
    """Yield our books of all tasks recorded in [since, until), a page at a time, oldest first."""
    after = UUID(int=0)
    while True:
        rows = await _PAGE.rows(
            database.pool, lowest=lower_bound(since), bound=lower_bound(until), after=after, limit=PAGE
        )
        if not rows:
            return
        yield [_read(row) for row in rows]
        after = rows[-1]["id"]


async def said(database: Database, ids: Sequence[UUID]) -> dict[UUID, list[bytes]]:
    """Return what the provider brought by callbacks that could be believed, per task, oldest first."""
    found: dict[UUID, list[bytes]] = {}
    for row in await _KEPT.rows(database.pool, wanted_task=list(ids)):
        found.setdefault(row["task"], []).append(row["body"])
    return found


async def total(database: Database, currency: str) -> Decimal:
    """Return what all clients together have charged and reserved, ever."""
    found: Decimal = await _TOTAL.scalar(database.pool, currency=currency)
    return found


def _read(row: Row) -> TaskAccount:
    return TaskAccount(
        task=row["id"],
        client=row["name"] or "",
        kind=row["kind"],
        status=Status(row["status"]),
        quote=row["quote"],
        reserved=row["reserved"],
        charged=row["charged"],
        entries=tuple(row["entries"]),
        is_unknown=row["state"] in {"unknown", "sending"},
        provider_task_id=row["provider_task_id"],
    )
