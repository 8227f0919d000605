"""Steps: the one statement by which tasks move, and with it everything that must never be seen apart.

The task, its event, the event's deliveries, the ledger's entry, the submission's end and the provider's raw callbacks
are written together, for a whole batch. The write is a compare-and-set on the task's sequence: a caller that read an
older task moves nothing and reads again. So each step of a task is written by a younger transaction than the step
before, which is what lets readers follow the event log in order of transactions.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from operator import itemgetter
from typing import NamedTuple
from uuid import UUID

from kling_relay.core.event import Event, TaskIdentity
from kling_relay.core.ledger import Entry
from kling_relay.core.task import Status, Step, Task
from kling_relay.store.deliveries.fan_out import FAN_OUT, recipients_select
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Statement, columns_of, first_of

MAX_STORED_CALLBACK = 65_536
"""Bytes of a raw callback that are stored; the rest is cut off."""

_SQL = load_sql(__name__, fan_out=FAN_OUT, recipients=recipients_select("task"))
_READ = Statement(_SQL["read_tasks"])
_WRITE = Statement(_SQL["write_steps"])


class TaskState(NamedTuple):
    """A task as it stands in the database, with what a step of it needs to know."""

    identity: TaskIdentity
    task: Task
    quote: Decimal
    currency: str
    trace: str | None = None


class Move(NamedTuple):
    """A step to be written, as a row of its batch; the task must still have the sequence `expected`."""

    id: UUID
    expected: int
    status: Status
    at: datetime
    type: str
    body: bytes
    final: bool
    entry: str | None
    reserved: str | None
    charged: str | None
    note: str | None


def move(before: Task, step: Step, event: Event, entry: Entry | None) -> Move:
    """Return the row of a step from `before`, with its event and its entry in the ledger."""
    after = step.task
    return Move(
        after.id,
        before.sequence,
        after.status,
        after.updated_at,
        event.type,
        event.body,
        step.is_final,
        *((entry.entry, str(entry.reserved), str(entry.charged), entry.note or None) if entry else _NO_ENTRY),
    )


_NO_ENTRY = (None,) * 4


class RawCallback(NamedTuple):
    """What the provider sent about a task, unchanged, as a row of its batch.

    `outcome` is moved, stale, incomplete, unreadable, unsigned or unconfirmed. `body` has at most
    `MAX_STORED_CALLBACK` bytes.
    """

    task: UUID
    received_at: datetime
    source: str
    outcome: str
    body: bytes


class Acceptance(NamedTuple):
    """The provider has the task, under this id, as a row of its batch.

    `is_own_id`: the id is from the provider's answer to the order. A callback's may be that of a service in between.
    """

    task: UUID
    provider_task_id: str | None
    is_own_id: bool


_STATUS = {status.value: status for status in Status}  # a quarter of the time of Status(…)


async def read(database: Database, ids: Sequence[UUID]) -> dict[UUID, TaskState]:
    """Return the tasks of these ids; a task that does not exist is missing."""
    rows = await _READ.rows(database.ingest, task_id=ids, **first_of(ids))
    return {
        task: TaskState(
            TaskIdentity(task, client, kind, name, created_at),
            Task(task, _STATUS[status], sequence, updated_at),
            Decimal(quote),
            currency,
            trace,
        )
        for task, client, kind, name, created_at, status, sequence, updated_at, quote, currency, trace in rows
    }


async def write(
    database: Database,
    moves: Sequence[Move],
    callbacks: Sequence[RawCallback] = (),
    acceptances: Sequence[Acceptance] = (),
    *,
    ask_in: float,
) -> set[UUID]:
    """Write everything in one transaction and return the tasks that moved; the others had moved meanwhile.

    There may be one move and one acceptance per task. The provider is asked about accepted tasks in `ask_in` seconds.
    """
    rows = await _WRITE.rows(
        database.ingest,
        tx_offset=database.tx_offset,
        ask_in=timedelta(seconds=ask_in),
        **first_of([move.id for move in moves]),
        **columns_of("move", Move._fields, sorted(moves, key=itemgetter(0))),  # two batches lock in one order
        **columns_of("callback", RawCallback._fields, callbacks),
        **columns_of("acceptance", Acceptance._fields, acceptances),
    )
    return {row[0] for row in rows}
