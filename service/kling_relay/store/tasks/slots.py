"""Slots: how many tasks are in flight at the provider, counted exactly by whoever holds the one lock on the count.

A submission holds its units from the mark `sending` until its row goes away with the final step. Orders wait as
`recorded`; the next in line is the oldest of the client that has the fewest in flight and in line before it, and of
several such clients of the one that was served longest ago.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Integer,
    Interval,
    Uuid,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    update,
)

from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Row, Statement, transaction
from kling_relay.store.tables import clients, submissions, tasks

_LOCK = Statement(select(func.pg_advisory_xact_lock(literal_column("7307498"))))
_USED = Statement(
    select(func.coalesce(func.sum(submissions.c.units), 0)).where(
        submissions.c.state.in_(
            [literal_column("'sending'"), literal_column("'accepted'"), literal_column("'unknown'")]
        )
    )
)
_in_flight = (
    select(submissions.c.client, func.count().label("tasks"))
    .where(submissions.c.state != literal_column("'recorded'"))
    .group_by(submissions.c.client)
    .subquery("in_flight")
)
_line = (
    select(
        submissions.c.task,
        submissions.c.client,
        submissions.c.units,
        func.row_number().over(partition_by=submissions.c.client, order_by=submissions.c.task).label("place"),
    )
    .where(submissions.c.state == literal_column("'recorded'"), submissions.c.due_at <= func.now())
    .subquery("line")
)
_turn = cast(_line.c.place, BigInteger) + func.coalesce(_in_flight.c.tasks, 0)
_NEXT = Statement(
    select(_line.c.task, _line.c.units, _line.c.client)
    .join(_in_flight, _in_flight.c.client == _line.c.client, isouter=True)
    .join(clients, clients.c.id == _line.c.client, isouter=True)
    .order_by(_turn, clients.c.served_at.asc().nulls_first(), _line.c.task)
    .limit(bindparam("limit", type_=Integer))
)
_MARK = Statement(
    update(submissions)
    .values(
        state="sending",
        claim_id=bindparam("by", type_=Uuid),
        due_at=func.now() + bindparam("due_in", type_=Interval),
    )
    .where(
        submissions.c.task == any_(bindparam("ids", type_=ARRAY(Uuid))),
        submissions.c.state == literal_column("'recorded'"),
    )
    .returning(
        submissions.c.task,
        submissions.c.kind,
        submissions.c.attempt,
        submissions.c.payload,
        select(tasks.c.trace).where(tasks.c.id == submissions.c.task).scalar_subquery().label("trace"),
    )
)
_SERVED = Statement(
    update(clients)
    .values(served_at=func.clock_timestamp())
    .where(clients.c.id == any_(bindparam("served", type_=ARRAY(Uuid))))
)
MAX_AT_ONCE = 50
"""Submissions admitted in one go."""


async def admit(database: Database, slots: int, due_in: float, claim_id: UUID) -> Sequence[Row]:
    """Mark as being sent what fits into the free slots, in turn; return task, kind, attempt and payload of each.

    The caller sends them; whoever dies before is found out after `due_in` seconds. An order larger than all slots
    together counts as all of them. The first that does not fit ends it, so that none is overtaken for ever.
    """
    async with transaction(database.pool) as connection:
        await _LOCK.run(connection)
        free = slots - await _USED.scalar(connection)
        chosen, served = [], set()
        for row in await _NEXT.rows(connection, limit=min(free, MAX_AT_ONCE)) if free > 0 else []:
            units = min(row["units"], slots)
            if units > free:
                break
            free -= units
            chosen.append(row["task"])
            served.add(row["client"])
        if not chosen:
            return []
        await _SERVED.run(connection, served=sorted(served))
        return await _MARK.rows(connection, ids=chosen, due_in=timedelta(seconds=due_in), by=claim_id)


async def used(database: Database) -> int:
    """Return how many slots are held now."""
    return int(await _USED.scalar(database.pool))
