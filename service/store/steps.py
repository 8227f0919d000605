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

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Interval,
    LargeBinary,
    Numeric,
    SmallInteger,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import array

from service.core.event import Event, Facts
from service.core.ledger import Entry
from service.core.task import Status, Step, Task
from service.store.database import Database
from service.store.schema import Time, callbacks, events, ledger, outstanding, submissions, subscriptions, tasks
from service.store.statement import Columns, Statement, columns_of, unnested

CALLBACK_KEPT = 65_536
"""Bytes of a raw callback that are kept."""


class Standing(NamedTuple):
    """A task as it stands in the database, with what a step of it needs to know."""

    facts: Facts
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


class Heard(NamedTuple):
    """What the provider said of a task, as it came, as a row of its batch.

    `outcome` is moved, stale, unreadable or unconfirmed; of `body` at most `CALLBACK_KEPT` bytes.
    """

    task: UUID
    received_at: datetime
    source: str
    outcome: str
    body: bytes


class Taken(NamedTuple):
    """The provider has the task, under this id, as a row of its batch.

    `is_own_id`: there is one, from the provider's answer to the order; a callback's may be of somebody in between.
    """

    task: UUID
    provider_task_id: str | None
    is_own_id: bool


# joined, since a partition is found for each id of a join but not for an array of them
_asked = unnested("asked", id=Uuid)
_READ = Statement(
    select(
        tasks.c.id,
        tasks.c.client,
        tasks.c.kind,
        tasks.c.external_task_id,
        tasks.c.created_at,
        tasks.c.status,
        tasks.c.sequence,
        tasks.c.updated_at,
        cast(tasks.c.quote, Text).label("quote"),  # read as text at a third of the driver's time
        tasks.c.currency,
        tasks.c.trace,
    ).select_from(_asked.join(tasks, tasks.c.id == _asked.c.id))
)


_STATUS = {status.value: status for status in Status}  # a quarter of the time of Status(…)


async def read(database: Database, ids: Sequence[UUID]) -> dict[UUID, Standing]:
    """Return the tasks of these ids as they stand; who is not there is missing."""
    rows = await _READ.rows(database.ingest, asked_id=ids)
    return {
        task: Standing(
            Facts(task, client, kind, name, created_at),
            Task(task, _STATUS[status], sequence, updated_at),
            Decimal(quote),
            currency,
            trace,
        )
        for task, client, kind, name, created_at, status, sequence, updated_at, quote, currency, trace in rows
    }


_MOVE: Columns = {
    "id": Uuid,
    "expected": SmallInteger,
    "status": Text,
    "at": Time,
    "type": Text,
    "body": LargeBinary,
    "final": Boolean,
    "entry": Text,
    "reserved": Text,
    "charged": Text,
    "note": Text,
}
_HEARD: Columns = {"task": Uuid, "received_at": Time, "source": Text, "outcome": Text, "body": LargeBinary}
_TAKEN: Columns = {"task": Uuid, "provider_task_id": Text, "is_own_id": Boolean}


def _statement() -> Statement:
    """Return the one statement; each part is a CTE fed by `moved`, so nothing is written for a move that was lost."""
    move, heard, taken = unnested("move", **_MOVE), unnested("heard", **_HEARD), unnested("taken", **_TAKEN)
    moved = (
        update(tasks)
        .values(status=move.c.status, sequence=move.c.expected + 1, updated_at=move.c.at)
        .where(
            tasks.c.id == move.c.id,
            tasks.c.sequence == move.c.expected,
        )
        .returning(
            tasks.c.id,
            tasks.c.client,
            tasks.c.key,
            tasks.c.sequence,
            tasks.c.hook,
            tasks.c.currency,
            tasks.c.trace,
            move.c.at,
            move.c.type,
            move.c.body,
            move.c.final,
            move.c.entry,
            move.c.reserved,
            move.c.charged,
            move.c.note,
        )
        .cte("moved")
    )
    tx = cast(cast(func.pg_current_xact_id(), Text), BigInteger) + bindparam("tx_offset", type_=BigInteger)
    told = (
        insert(events)
        .from_select(
            ["subject", "sequence", "client", "tx", "at", "type", "body", "trace"],
            select(
                moved.c.id, moved.c.sequence, moved.c.client, tx, moved.c.at, moved.c.type, moved.c.body, moved.c.trace
            ),
        )
        .cte("told")
    )
    wanted = (
        select(moved.c.id, moved.c.sequence, subscriptions.c.id.label("subscription"))
        .select_from(moved)
        .join(
            subscriptions,
            and_(
                subscriptions.c.client == moved.c.client,
                ~subscriptions.c.hook,
                subscriptions.c.disabled_at.is_(None),
                subscriptions.c.events.op("&&")(
                    array([literal_column("'*'"), literal_column("'task.*'"), moved.c.type])
                ),
            ),
        )
    )
    hooked = select(moved.c.id, moved.c.sequence, moved.c.hook).where(moved.c.hook.is_not(None))
    wants = union_all(wanted, hooked).subquery("wants")
    due = (
        insert(outstanding)
        .from_select(
            ["subject", "sequence", "subscription", "shard", "attempt", "due_at"],
            select(
                wants.c.id,
                wants.c.sequence,
                wants.c.subscription,
                shard_of(wants.c.subscription),
                literal_column("0"),
                func.now(),
            ),
        )
        .cte("due")
    )
    booked = (
        insert(ledger)
        .from_select(
            ["task", "entry", "client", "key", "at", "reserved", "charged", "currency", "note"],
            select(
                moved.c.id,
                moved.c.entry,
                moved.c.client,
                moved.c.key,
                moved.c.at,
                cast(moved.c.reserved, Numeric),
                cast(moved.c.charged, Numeric),
                moved.c.currency,
                moved.c.note,
            ).where(moved.c.entry.is_not(None)),
        )
        .cte("booked")
    )
    ended = delete(submissions).where(submissions.c.task == moved.c.id, moved.c.final).cte("ended")
    noted = (
        update(submissions)
        .values(
            state="accepted",
            provider_task_id=case(
                (taken.c.is_own_id, taken.c.provider_task_id),
                else_=func.coalesce(submissions.c.provider_task_id, taken.c.provider_task_id),
            ),
            payload=null(),
            reason=null(),
            attempt=0,
            due_at=func.now() + bindparam("ask_in", type_=Interval),
        )
        .where(
            submissions.c.task == taken.c.task,
            or_(
                submissions.c.state != "accepted",
                and_(taken.c.is_own_id, submissions.c.provider_task_id.is_distinct_from(taken.c.provider_task_id)),
            ),
        )
        .cte("noted")
    )
    kept = insert(callbacks).from_select(list(_HEARD), select(*(heard.c[key] for key in _HEARD))).cte("kept")
    return Statement(select(moved.c.id).add_cte(told, due, booked, ended, noted, kept))


def shard_of(subscription: ColumnElement[UUID]) -> ColumnElement[int]:
    """Return the shard of a subscription in SQL: the last byte of its id (`core.subscription.shard_of`)."""
    return func.get_byte(func.uuid_send(subscription), 15)


_WRITE = _statement()


async def write(
    database: Database,
    moves: Sequence[Move],
    heard: Sequence[Heard] = (),
    taken: Sequence[Taken] = (),
    *,
    ask_in: float,
) -> set[UUID]:
    """Write all of it in one transaction and return the tasks that moved; the others had moved meanwhile.

    At most one move, and one `taken`, per task; sorted by id, so that two batches lock in one order. What is taken
    is to be looked after again in `ask_in` seconds.
    """
    found = await _WRITE.rows(
        database.ingest,
        tx_offset=database.tx_offset,
        ask_in=timedelta(seconds=ask_in),
        **columns_of("move", Move._fields, sorted(moves, key=itemgetter(0))),
        **columns_of("heard", Heard._fields, heard),
        **columns_of("taken", Taken._fields, taken),
    )
    return {row[0] for row in found}
