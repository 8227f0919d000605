"""Submissions that are due: claimed in batches to be sent or asked about, postponed, hurried, given up.

Who claims some has them for a while; a dead one's come due again. What a submission is, and how it is marked and
settled by who sends it, is in `submissions.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Interval,
    SmallInteger,
    Text,
    Uuid,
    any_,
    bindparam,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import array

from kling_relay.core.ids import lower_bound
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Columns, Row, Statement, columns_of, unnested
from kling_relay.store.tables import submissions, tasks

_due_in = bindparam("due_in", type_=Interval)
_claim_id = bindparam("by", type_=Uuid)
_ASKED_ABOUT = ("accepted", "unknown")
"""States in which the provider is asked; no other is hurried or postponed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSubmission:
    """A submission that is due, with what acting on it needs."""

    task: UUID
    client: UUID
    state: str
    claim_id: UUID | None
    kind: str
    attempt: int
    provider_task_id: str | None
    payload: bytes | None
    status: str
    created_at: datetime
    updated_at: datetime
    trace: str | None


_picked = (
    select(submissions.c.task)
    .where(submissions.c.state == bindparam("state", type_=Text), submissions.c.due_at <= func.now())
    .order_by(submissions.c.due_at)
    .limit(bindparam("limit", type_=SmallInteger))
    .with_for_update(skip_locked=True)
    .cte("picked")
    .prefix_with("MATERIALIZED", dialect="postgresql")
)
_claimed = (
    update(submissions)
    .values(due_at=func.now() + _due_in)
    .where(submissions.c.task == _picked.c.task, submissions.c.state == bindparam("state", type_=Text))
    .returning(
        submissions.c.task,
        submissions.c.client,
        submissions.c.state,
        submissions.c.claim_id,
        submissions.c.kind,
        submissions.c.attempt,
        submissions.c.provider_task_id,
        submissions.c.payload,
    )
    .cte("claimed")
)
_CLAIM = Statement(
    select(_claimed, tasks.c.status, tasks.c.created_at, tasks.c.updated_at, tasks.c.trace).join(
        tasks, tasks.c.id == _claimed.c.task
    )
)


async def claim(database: Database, state: str, limit: int, due_in: float) -> list[DueSubmission]:
    """Take up to `limit` due submissions of one state for `due_in` seconds, in which nobody else takes them."""
    rows = await _CLAIM.rows(database.pool, state=state, limit=limit, due_in=timedelta(seconds=due_in))
    return [_read(row) for row in rows]


def _read(row: Row) -> DueSubmission:
    return DueSubmission(**dict(row.items()))


_late = (
    select(submissions.c.task)
    .where(submissions.c.state == literal_column("'recorded'"), submissions.c.task < bindparam("bound", type_=Uuid))
    .order_by(submissions.c.task)
    .limit(bindparam("limit", type_=SmallInteger))
    .with_for_update(skip_locked=True)
    .cte("late")
    .prefix_with("MATERIALIZED", dialect="postgresql")
)
_TAKE_OVERDUE = Statement(
    update(submissions)
    .values(state="sending", claim_id=_claim_id, due_at=func.now() + _due_in)
    .where(submissions.c.task == _late.c.task, submissions.c.state == literal_column("'recorded'"))
    .returning(submissions.c.task)
)
_MINUTE = timedelta(minutes=1)


async def claim_overdue(database: Database, made_before: datetime, limit: int, claim_id: UUID) -> list[UUID]:
    """Mark up to `limit` submissions that were made before then and never sent, so that nobody sends them any more."""
    rows = await _TAKE_OVERDUE.rows(
        database.pool, bound=lower_bound(made_before), limit=limit, by=claim_id, due_in=_MINUTE
    )
    return [row["task"] for row in rows]


_POSTPONE: Columns = {"task": Uuid, "due_in": Interval, "attempt": SmallInteger}
_postponed = unnested("postpone", **_POSTPONE)
_ASKED: ColumnElement[Any] = array([literal_column(f"'{state}'") for state in _ASKED_ABOUT])
_LATER = Statement(
    update(submissions)
    .values(due_at=func.now() + _postponed.c.due_in, attempt=_postponed.c.attempt)
    .where(submissions.c.task == _postponed.c.task, submissions.c.state == any_(_ASKED))
)


async def postpone(database: Database, later: Sequence[tuple[UUID, float, int]]) -> None:
    """Look after these tasks again in so many seconds, with so many questions asked in vain."""
    rows = [(task, timedelta(seconds=due_in), attempt) for task, due_in, attempt in sorted(later)]
    await _LATER.run(database.pool, **columns_of("postpone", list(_POSTPONE), rows))


_HURRY = Statement(
    update(submissions)
    .values(due_at=func.now(), attempt=func.greatest(submissions.c.attempt, literal_column("1")))
    .where(submissions.c.task == bindparam("task", type_=Uuid), submissions.c.state == any_(_ASKED))
)


async def poll_now(database: Database, task: UUID) -> None:
    """Have the sweep ask about this task now, where the provider may have it."""
    await _HURRY.run(database.pool, task=task)
