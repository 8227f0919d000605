"""The statements of steps: how tasks are read, and the one by which they move (`store.steps` says what it promises).

Each part is a CTE fed by `moved`, so that nothing is written for a move that was lost.
"""

from sqlalchemy import (
    CTE,
    BigInteger,
    Boolean,
    Interval,
    LargeBinary,
    Numeric,
    SmallInteger,
    TableValuedAlias,
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

from kling_relay.store.deliveries.shards import shard_of
from kling_relay.store.postgres.statement import Columns, Statement, not_before, unnested
from kling_relay.store.tables import (
    Time,
    callbacks,
    events,
    ledger,
    pending_deliveries,
    submissions,
    subscriptions,
    tasks,
)
from kling_relay.store.tasks.lookup import LEAN

MOVE: Columns = {
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
HEARD: Columns = {"task": Uuid, "received_at": Time, "source": Text, "outcome": Text, "body": LargeBinary}
TAKEN: Columns = {"task": Uuid, "provider_task_id": Text, "is_own_id": Boolean}

# joined, since a partition is found for each id of a join but not for an array of them
_asked = unnested("asked", id=Uuid)
READ = Statement(
    select(
        *LEAN,
        cast(tasks.c.quote, Text).label("quote"),  # read as text at a third of the driver's time
        tasks.c.currency,
        tasks.c.trace,
    ).select_from(_asked.join(tasks, and_(tasks.c.id == _asked.c.id, not_before(tasks.c.id))))
)


def _moved(move: TableValuedAlias) -> CTE:
    """Move the tasks that still have the sequence they were read with."""
    return (
        update(tasks)
        .values(status=move.c.status, sequence=move.c.expected + 1, updated_at=move.c.at)
        .where(
            tasks.c.id == move.c.id,
            tasks.c.sequence == move.c.expected,
            not_before(tasks.c.id),
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


def _told(moved: CTE) -> CTE:
    """Write the event of each move, under the number of this transaction."""
    tx = cast(cast(func.pg_current_xact_id(), Text), BigInteger) + bindparam("tx_offset", type_=BigInteger)
    return (
        insert(events)
        .from_select(
            ["subject", "sequence", "client", "tx", "at", "type", "body", "trace"],
            select(
                moved.c.id, moved.c.sequence, moved.c.client, tx, moved.c.at, moved.c.type, moved.c.body, moved.c.trace
            ),
        )
        .cte("told")
    )


def _due(moved: CTE) -> CTE:
    """Write a delivery for every subscription that wants the event, and for the hook of the order."""
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
    return (
        insert(pending_deliveries)
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


def _booked(moved: CTE) -> CTE:
    """Write what each move does to the money."""
    return (
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


def _noted(taken: TableValuedAlias) -> CTE:
    """Note that the provider has these tasks, and when to look after them again."""
    return (
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


def _write() -> Statement:
    move, heard, taken = unnested("move", **MOVE), unnested("heard", **HEARD), unnested("taken", **TAKEN)
    moved = _moved(move)
    ended = delete(submissions).where(submissions.c.task == moved.c.id, moved.c.final).cte("ended")
    kept = insert(callbacks).from_select(list(HEARD), select(*(heard.c[key] for key in HEARD))).cte("kept")
    parts = (_told(moved), _due(moved), _booked(moved), ended, _noted(taken), kept)
    return Statement(select(moved.c.id).add_cte(*parts))


WRITE = _write()
