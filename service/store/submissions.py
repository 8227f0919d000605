"""Submissions: one thin row per task that is not final, saying what the provider was told and when to look again.

recorded: not sent, to be sent when due (its `payload` is here until then). sending: marked before the POST leaves, so
that a recorded row without the mark was surely not sent. accepted: the provider has it. unknown: nobody knows, never
sent again. Every change is a compare-and-set on the state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ARRAY, Interval, SmallInteger, Text, Uuid, any_, bindparam, func, null, select, update

from service.store.database import Database
from service.store.schema import submissions, tasks
from service.store.statement import Columns, Row, Statement, columns_of, unnested

_ids = bindparam("ids", type_=ARRAY(Uuid))
_due_in = bindparam("due_in", type_=Interval)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A submission that is due, with what acting on it needs."""

    task: UUID
    client: UUID
    state: str
    kind: str
    attempt: int
    provider_task_id: str | None
    payload: bytes | None
    status: str
    created_at: datetime
    updated_at: datetime


_MARK = Statement(
    update(submissions)
    .values(state="sending", due_at=func.now() + _due_in)
    .where(submissions.c.task == any_(_ids), submissions.c.state == "recorded")
    .returning(submissions.c.task)
)


async def mark_sending(database: Database, ids: Sequence[UUID], due_in: float) -> set[UUID]:
    """Mark these recorded submissions as being sent; return those that are now the caller's alone to send."""
    rows = await _MARK.rows(database.ingest, ids=sorted(ids), due_in=timedelta(seconds=due_in))
    return {row["task"] for row in rows}


_UNKNOWN = Statement(
    update(submissions)
    .values(state="unknown", reason=bindparam("reason"), due_at=func.now() + _due_in, payload=null())
    .where(submissions.c.task == bindparam("task", type_=Uuid), submissions.c.state == "sending")
)


async def set_unknown(database: Database, task: UUID, reason: str, due_in: float) -> bool:
    """Note that nobody knows what became of this submission; it is looked after again in `due_in` seconds."""
    return bool(await _UNKNOWN.run(database.pool, task=task, reason=reason, due_in=timedelta(seconds=due_in)))


_WAIT = Statement(
    update(submissions)
    .values(
        state="recorded", reason=bindparam("reason"), attempt=submissions.c.attempt + 1, due_at=func.now() + _due_in
    )
    .where(submissions.c.task == bindparam("task", type_=Uuid), submissions.c.state == "sending")
)


async def set_waiting(database: Database, task: UUID, reason: str, due_in: float) -> bool:
    """Put a submission that surely was not taken back, to be sent again in `due_in` seconds."""
    return bool(await _WAIT.run(database.pool, task=task, reason=reason, due_in=timedelta(seconds=due_in)))


_picked = (
    select(submissions.c.task)
    .where(submissions.c.state == bindparam("state", type_=Text), submissions.c.due_at <= func.now())
    .order_by(submissions.c.due_at)
    .limit(bindparam("most", type_=SmallInteger))
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
        submissions.c.kind,
        submissions.c.attempt,
        submissions.c.provider_task_id,
        submissions.c.payload,
    )
    .cte("claimed")
)
_CLAIM = Statement(
    select(_claimed, tasks.c.status, tasks.c.created_at, tasks.c.updated_at).join(tasks, tasks.c.id == _claimed.c.task)
)


async def claim_due(database: Database, state: str, most: int, due_in: float) -> list[Submission]:
    """Take up to `most` due submissions of one state for `due_in` seconds, in which nobody else takes them."""
    rows = await _CLAIM.rows(database.pool, state=state, most=most, due_in=timedelta(seconds=due_in))
    return [_read(row) for row in rows]


def _read(row: Row) -> Submission:
    return Submission(**dict(row.items()))


_POSTPONE: Columns = {"task": Uuid, "due_in": Interval, "attempt": SmallInteger}
_postponed = unnested("postpone", **_POSTPONE)
_LATER = Statement(
    update(submissions)
    .values(due_at=func.now() + _postponed.c.due_in, attempt=_postponed.c.attempt)
    .where(submissions.c.task == _postponed.c.task)
)


async def postpone(database: Database, later: Sequence[tuple[UUID, float, int]]) -> None:
    """Look after these tasks again in so many seconds, with so many questions asked in vain."""
    rows = [(task, timedelta(seconds=due_in), attempt) for task, due_in, attempt in sorted(later)]
    await _LATER.run(database.pool, **columns_of("postpone", list(_POSTPONE), rows))


_HURRY = Statement(
    update(submissions).values(due_at=func.now()).where(submissions.c.task == bindparam("task", type_=Uuid))
)


async def hurry(database: Database, task: UUID) -> None:
    """Have the sweep look after this task now."""
    await _HURRY.run(database.pool, task=task)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a submission's row says of a task: its state, why it waits, when it is looked after again."""

    state: str
    attempt: int
    due_at: datetime
    provider_task_id: str | None
    reason: str | None


_ONE = Statement(
    select(
        submissions.c.state,
        submissions.c.attempt,
        submissions.c.due_at,
        submissions.c.provider_task_id,
        submissions.c.reason,
    ).where(submissions.c.task == bindparam("task", type_=Uuid))
)


async def find(database: Database, task: UUID) -> Standing | None:
    """Return how the submission of a task stands; None once the task is final."""
    row = await _ONE.row(database.pool, task=task)
    return Standing(**dict(row.items())) if row else None
