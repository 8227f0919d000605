"""Orders being recorded: task, submission and reservation in one statement, before anything is sent."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from kling_relay.core.ledger import on_record
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Runner, Statement, columns_of

_SQL = load_sql(__name__)
_RECORD = Statement(_SQL["record"])
_COUNT_RECORDED = Statement(_SQL["count_recorded"])


class NewTask(NamedTuple):
    """A checked and priced order, ready to be recorded as a task; its members are the columns of the batch."""

    id: UUID
    client: UUID
    key: UUID
    created_at: datetime
    kind: str
    model: str
    mode: str | None
    duration: str | None
    units: int
    quote: Decimal
    currency: str
    prices: str
    external_task_id: str | None
    hook: UUID | None
    trace: str | None
    fields: str
    payload: bytes


_ENTRY = ("entry", "reserved", "charged")
_COLUMNS = (*NewTask._fields, *_ENTRY)


async def record(database: Database, tasks: Sequence[NewTask], due_in: float) -> None:
    """Record these tasks in one transaction. Their sender has `due_in` seconds before another process sends them."""
    await record_on(database.ingest, tasks, due_in)  # one statement is a transaction


async def record_on(runner: Runner, tasks: Sequence[NewTask], due_in: float) -> None:
    """Record these tasks in the transaction that `runner` is in."""
    rows = [(*task, *on_record(task.quote)[: len(_ENTRY)]) for task in tasks]
    await _RECORD.run(runner, due_in=timedelta(seconds=due_in), **columns_of("new", _COLUMNS, rows))


async def are_recorded(database: Database, ids: Sequence[UUID]) -> bool:
    """Return whether all of these tasks exist."""
    return bool(await _COUNT_RECORDED.scalar(database.ingest, task_id=list(ids)) == len(ids))
