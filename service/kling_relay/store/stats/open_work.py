"""How one client's work stands at this moment: tasks that are not final, slots they hold, deliveries still to be made.

Everything is looked for in the client's newest `WINDOW` tasks, and counted to a bound.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    SmallInteger,
    Uuid,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.sql.selectable import LateralFromClause

from kling_relay.core.ids import creation_time, lower_bound
from kling_relay.core.subscription import shard_of
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Statement, columns_of, unnested
from kling_relay.store.tables import INFINITY, events, pending_deliveries, submissions, tasks

WINDOW = 20_000
MAX_COUNTED = 10_000
"""Beyond this many pending deliveries of a subscription, counting stops."""
MAX_REASONS = 20
_MAX_FAILED = 300
_MAX_REASON = 160

_CLIENT = bindparam("client", type_=Uuid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Tasks that are not final, the slots they hold at the provider, and the one that was silent for longest."""

    count: int
    held: int
    silent: UUID | None
    silent_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What is still to be delivered to one subscription, and what was given up; `next_at` is the next attempt."""

    pending: int
    exhausted: int
    next_at: datetime | None


_near = (
    select(tasks.c.id, tasks.c.status, tasks.c.sequence, tasks.c.updated_at)
    .where(tasks.c.client == _CLIENT, tasks.c.id >= bindparam("low", type_=Uuid))
    .order_by(tasks.c.id.desc())
    .limit(bindparam("window", type_=BigInteger))
    .subquery("near")
)
_open = (
    select(_near.c.id, _near.c.updated_at)
    .where(_near.c.status.in_([literal_column(f"'{word}'") for word in ("recorded", "submitted", "processing")]))
    .subquery("open")
)
_holding = submissions.c.state.in_([literal_column(f"'{word}'") for word in ("sending", "accepted", "unknown")])
_OPEN = Statement(
    select(_open.c.id, _open.c.updated_at, submissions.c.units)
    .select_from(_open)
    .outerjoin(submissions, and_(submissions.c.task == _open.c.id, _holding))
    .order_by(_open.c.updated_at)
)
_failed = (
    select(_near.c.id, _near.c.sequence)
    .where(_near.c.status.in_([literal_column("'failed'"), literal_column("'expired'")]))
    .order_by(_near.c.id.desc())
    .limit(literal_column(str(_MAX_FAILED)))
    .subquery("failed")
)
_FAILED = Statement(
    select(events.c.body)
    .select_from(_failed)
    .join(events, and_(events.c.subject == _failed.c.id, events.c.sequence == _failed.c.sequence))
)


def _waiting() -> Statement:
    mine = unnested("mine", id=Uuid, shard=SmallInteger)
    own = and_(pending_deliveries.c.shard == mine.c.shard, pending_deliveries.c.subscription == mine.c.id)
    limit: ColumnElement[int] = literal_column(str(MAX_COUNTED))

    def counted(name: str, due: ColumnElement[bool]) -> LateralFromClause:
        some = select(pending_deliveries.c.sequence).where(own, due).limit(limit).correlate(mine)
        return select(func.count().label("count")).select_from(some.lateral(f"some_{name}")).lateral(name)

    due, given_up = (
        counted("due", pending_deliveries.c.due_at < INFINITY),
        counted("given_up", pending_deliveries.c.due_at == INFINITY),
    )
    first = (
        select(pending_deliveries.c.due_at)
        .where(own, pending_deliveries.c.due_at < INFINITY)
        .order_by(pending_deliveries.c.due_at)
        .limit(literal_column("1"))
        .lateral("first")
    )
    joined = mine.join(due, true()).join(given_up, true()).outerjoin(first, true())
    counts = (due.c.count.label("pending"), given_up.c.count.label("exhausted"))
    return Statement(select(mine.c.id, *counts, first.c.due_at.label("next_at")).select_from(joined))


def _untried() -> Statement:
    """Return the tasks of which something waits for its first attempt: a backlog, or a subscription that is paused."""
    mine = unnested("mine", id=Uuid, shard=SmallInteger)
    some = (
        select(pending_deliveries.c.subject)
        .where(
            pending_deliveries.c.shard == mine.c.shard,
            pending_deliveries.c.subscription == mine.c.id,
            pending_deliveries.c.attempt == literal_column("0"),
            pending_deliveries.c.due_at < INFINITY,
        )
        .order_by(pending_deliveries.c.due_at)
        .limit(literal_column(str(MAX_COUNTED)))
        .lateral("some")
    )
    return Statement(
        select(some.c.subject).select_from(mine.join(some, true())).limit(literal_column(str(MAX_COUNTED)))
    )


_WAITING = _waiting()
_UNTRIED = _untried()


async def open_tasks(database: Database, client: UUID) -> Open:
    """Return what is not final among the client's newest tasks."""
    rows = await _OPEN.rows(database.pool, client=client, low=UUID(int=0), window=WINDOW)
    held = sum(row["units"] or 0 for row in rows)
    if not rows:
        return Open(count=0, held=0, silent=None, silent_since=None)
    return Open(count=len(rows), held=held, silent=rows[0]["id"], silent_since=rows[0]["updated_at"])


async def waiting(database: Database, of: Sequence[UUID]) -> dict[UUID, Waiting]:
    """Return what is still to be delivered to each of these subscriptions."""
    mine = columns_of("mine", ["id", "shard"], [(each, shard_of(each.int)) for each in of])
    return {
        row["id"]: Waiting(pending=row["pending"], exhausted=row["exhausted"], next_at=row["next_at"])
        for row in await _WAITING.rows(database.pool, **mine)
    }


async def untried(database: Database, of: Sequence[UUID]) -> list[datetime]:
    """Return when the tasks were ordered of which these subscriptions have not been offered something yet."""
    mine = columns_of("mine", ["id", "shard"], [(each, shard_of(each.int)) for each in of])
    return [creation_time(row["subject"]) for row in await _UNTRIED.rows(database.pool, **mine)]


async def reasons(database: Database, client: UUID, since: datetime) -> list[tuple[str, int]]:
    """Return why the client's newest failed tasks ordered since then failed, the most frequent first."""
    rows = await _FAILED.rows(database.pool, client=client, low=lower_bound(since), window=WINDOW)
    told = (json.loads(row["body"])["data"]["task_status_msg"] or "" for row in rows)
    return Counter(text[:_MAX_REASON] for text in told).most_common(MAX_REASONS)
