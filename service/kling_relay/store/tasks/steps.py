"""Steps: the one statement by which tasks move, and with it everything that must never be seen apart.

The task, its event, a delivery for every matching subscription, the ledger's entry, the submission's end and the
provider's raw words are written in one statement, for a whole batch. It is a compare-and-set on the task's sequence:
who read an older task moves nothing and reads again. A step is therefore always written by a transaction younger
than the one that wrote the step before, which is what lets the event log be read in order of transactions.
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
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import columns_of, first_of
from kling_relay.store.tasks.step_statements import READ, WRITE

CALLBACK_KEPT = 65_536
"""Bytes of a raw callback that are kept."""


class TaskState(NamedTuple):
    """A task as it stands in the database, with what a step of it needs to know."""

    identity: TaskIdentity
    task: Task
    quote: Decimal
    currency: str
    trace: str | None = None


class Move(NamedTuple):
    """A step to be written, as a row of its batch (`move`); the task must still have the sequence `expected`."""

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
    """Return the row of a step from `before`, with its event and what it moves of money."""
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
    """What the provider said of a task, as it came, as a row of its batch.

    `outcome` is moved, stale, unreadable or unconfirmed; of `body` at most `CALLBACK_KEPT` bytes.
    """

    task: UUID
    received_at: datetime
    source: str
    outcome: str
    body: bytes


class Acceptance(NamedTuple):
    """The provider has the task, under this id, as a row of its batch.

    `is_own_id`: there is one, from the provider's answer to the order; a callback's may be of somebody in between.
    """

    task: UUID
    provider_task_id: str | None
    is_own_id: bool


_STATUS = {status.value: status for status in Status}  # a quarter of the time of Status(…)


async def read(database: Database, ids: Sequence[UUID]) -> dict[UUID, TaskState]:
    """Return the tasks of these ids as they stand; who is not there is missing."""
    rows = await READ.rows(database.ingest, asked_id=ids, **first_of(ids))
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
    heard: Sequence[RawCallback] = (),
    taken: Sequence[Acceptance] = (),
    *,
    ask_in: float,
) -> set[UUID]:
    """Write all of it in one transaction and return the tasks that moved; the others had moved meanwhile.

    At most one move, and one `taken`, per task; sorted by id, so that two batches lock in one order. What is taken
    is to be looked after again in `ask_in` seconds.
    """
    found = await WRITE.rows(
        database.ingest,
        tx_offset=database.tx_offset,
        ask_in=timedelta(seconds=ask_in),
        **first_of([move.id for move in moves]),
        **columns_of("move", Move._fields, sorted(moves, key=itemgetter(0))),
        **columns_of("heard", RawCallback._fields, heard),
        **columns_of("taken", Acceptance._fields, taken),
    )
    return {row[0] for row in found}
