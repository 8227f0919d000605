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


async def record(database: Database, tasks: Sequence[NewTask], due_in: float) -> None:
    """Record these tasks in one transaction. Their sender has `due_in` seconds before another process sends them."""
    await record_on(database.ingest, tasks, due_in)  # one statement is a transaction


async def record_on(runner: Runner, tasks: Sequence[NewTask], due_in: float) -> None:
    """Record these tasks in the transaction that `runner` is in."""
    entries = [on_record(task.quote) for task in tasks]
    arguments = columns_of("new", NewTask._fields, tasks)
    arguments["new_quote"] = [str(task.quote) for task in tasks]
    arguments["new_entry"] = [entry.entry for entry in entries]
    arguments["new_reserved"] = [str(entry.reserved) for entry in entries]
    arguments["new_charged"] = [str(entry.charged) for entry in entries]
    await _RECORD.run(runner, due_in=timedelta(seconds=due_in), **arguments)


async def are_recorded(database: Database, ids: Sequence[UUID]) -> bool:
    """Return whether all of these tasks exist."""
    return bool(await _COUNT_RECORDED.scalar(database.ingest, task_id=list(ids)) == len(ids))
