"""Submissions: one thin row per task that is not final, saying what the provider was told and when to look again.

recorded: not sent, to be sent when due (its `payload` is here until then). sending: marked before the POST leaves, so
that a recorded row without the mark was surely not sent. accepted: the provider has it. unknown: nobody knows, never
sent again. Every change is a compare-and-set on the state, and on whose mark it is (`sender`, new with each marking):
who comes late with an outcome, or repeats a write whose answer was lost, changes nothing of another's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Interval,
    SmallInteger,
    Text,
    Uuid,
    any_,
    bindparam,
    func,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.sql.dml import Update

from service.core.ids import lower_bound
from service.store.database import Database
from service.store.schema import submissions, tasks
from service.store.statement import Columns, Row, Statement, columns_of, unnested

_ids = bindparam("ids", type_=ARRAY(Uuid))
_due_in = bindparam("due_in", type_=Interval)
_task = bindparam("of", type_=Uuid)
_sender = bindparam("by", type_=Uuid)
_ASKED_ABOUT = ("accepted", "unknown")
"""States in which the provider is asked; no other is hurried or postponed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A submission that is due, with what acting on it needs."""

    task: UUID
    client: UUID
    state: str
    sender: UUID | None
    kind: str
    attempt: int
    provider_task_id: str | None
    payload: bytes | None
    status: str
    created_at: datetime
    updated_at: datetime
    trace: str | None


_MARK = Statement(
    update(submissions)
    .values(state="sending", sender=_sender, due_at=func.now() + _due_in)
    .where(submissions.c.task == any_(_ids), submissions.c.state == "recorded")
    .returning(submissions.c.task, submissions.c.attempt)
)


async def mark_sending(database: Database, ids: Sequence[UUID], due_in: float, sender: UUID) -> dict[UUID, int]:
    """Mark these recorded submissions as being sent, each once; return the caller's own, with their attempts so far.

    `sender` names this marking. Where the answer is lost, `give_back` undoes it: the caller has sent nothing yet.
    """
    rows = await _MARK.rows(database.ingest, ids=sorted(ids), due_in=timedelta(seconds=due_in), by=sender)
    return {row["task"]: row["attempt"] for row in rows}


_GIVE_BACK = Statement(
    update(submissions)
    .values(state="recorded", sender=null(), due_at=func.now())
    .where(submissions.c.state == "sending", submissions.c.sender == _sender)
)


async def give_back(database: Database, sender: UUID) -> int:
    """Let others send what this marking had marked; how many there were. Only where nothing of it was sent."""
    return await _GIVE_BACK.run(database.pool, by=sender)


def _unknown(*, keeps_payload: bool) -> Update:
    to = {"state": "unknown", "reason": bindparam("why"), "attempt": 0, "due_at": func.now() + _due_in}
    return (
        update(submissions)
        .values(**to, **({} if keeps_payload else {"payload": null()}))
        .where(submissions.c.task == _task, submissions.c.state == "sending", submissions.c.sender == _sender)
    )


_UNKNOWN = Statement(_unknown(keeps_payload=False))
_ABANDONED = Statement(_unknown(keeps_payload=True))


async def set_unknown(database: Database, task: UUID, sender: UUID, reason: str, due_in: float) -> bool:
    """Note that nobody knows what became of this submission; it is looked after again in `due_in` seconds."""
    span = timedelta(seconds=due_in)
    return bool(await _UNKNOWN.run(database.pool, of=task, by=sender, why=reason, due_in=span))


async def set_abandoned(database: Database, task: UUID, sender: UUID, reason: str) -> bool:
    """Note that who marked it has not said in time what came of it; asked about at once.

    Its payload stays: should its sender after all know that it was not taken, it can be sent again.
    """
    return bool(await _ABANDONED.run(database.pool, of=task, by=sender, why=reason, due_in=timedelta()))


_WAIT = Statement(
    update(submissions)
    .values(
        state="recorded",
        sender=null(),
        reason=bindparam("why"),
        attempt=bindparam("tried", type_=SmallInteger),
        due_at=func.now() + _due_in,
    )
    .where(
        submissions.c.task == _task,
        submissions.c.state.in_([literal_column("'sending'"), literal_column("'unknown'")]),
        submissions.c.sender == _sender,
        submissions.c.payload.is_not(None),
    )
)


async def set_waiting(database: Database, task: UUID, sender: UUID, attempt: int, reason: str, due_in: float) -> bool:
    """Put a submission that surely was not taken back, to be sent again in `due_in` seconds.

    `attempt` counts the times it was put back. Only its own sender may: nobody else knows that it was not taken.
    """
    span = timedelta(seconds=due_in)
    return bool(await _WAIT.run(database.pool, of=task, by=sender, tried=attempt, why=reason, due_in=span))


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
        submissions.c.sender,
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


async def claim_due(database: Database, state: str, most: int, due_in: float) -> list[Submission]:
    """Take up to `most` due submissions of one state for `due_in` seconds, in which nobody else takes them."""
    rows = await _CLAIM.rows(database.pool, state=state, most=most, due_in=timedelta(seconds=due_in))
    return [_read(row) for row in rows]


def _read(row: Row) -> Submission:
    return Submission(**dict(row.items()))


_late = (
    select(submissions.c.task)
    .where(submissions.c.state == literal_column("'recorded'"), submissions.c.task < bindparam("bound", type_=Uuid))
    .order_by(submissions.c.task)
    .limit(bindparam("most", type_=SmallInteger))
    .with_for_update(skip_locked=True)
    .cte("late")
    .prefix_with("MATERIALIZED", dialect="postgresql")
)
_TAKE_OVERDUE = Statement(
    update(submissions)
    .values(state="sending", sender=_sender, due_at=func.now() + _due_in)
    .where(submissions.c.task == _late.c.task, submissions.c.state == literal_column("'recorded'"))
    .returning(submissions.c.task)
)
_MINUTE = timedelta(minutes=1)


async def take_overdue(database: Database, made_before: datetime, most: int, sender: UUID) -> list[UUID]:
    """Mark up to `most` submissions that were made before then and never sent, so that nobody sends them any more."""
    rows = await _TAKE_OVERDUE.rows(database.pool, bound=lower_bound(made_before), most=most, by=sender, due_in=_MINUTE)
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


async def hurry(database: Database, task: UUID) -> None:
    """Have the sweep ask about this task now, where the provider may have it."""
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
