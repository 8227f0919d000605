"""Submissions: one thin row per task that is not final, saying what the provider was told and when to look again.

recorded: not sent, to be sent when due (its `payload` is here until then). sending: marked before the POST leaves, so
that a recorded row without the mark was surely not sent. accepted: the provider has it. unknown: nobody knows, never
sent again. Every change is a compare-and-set on the state, and on whose mark it is (`claim_id`, new with each marking):
who comes late with an outcome, or repeats a write whose answer was lost, changes nothing of another's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Interval,
    SmallInteger,
    Uuid,
    any_,
    bindparam,
    func,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.sql.dml import Update

from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Statement
from kling_relay.store.tables import submissions

_ids = bindparam("ids", type_=ARRAY(Uuid))
_due_in = bindparam("due_in", type_=Interval)
_task = bindparam("of", type_=Uuid)
_claim_id = bindparam("by", type_=Uuid)


_MARK = Statement(
    update(submissions)
    .values(state="sending", claim_id=_claim_id, due_at=func.now() + _due_in)
    .where(submissions.c.task == any_(_ids), submissions.c.state == "recorded")
    .returning(submissions.c.task, submissions.c.attempt)
)


async def claim_for_sending(database: Database, ids: Sequence[UUID], due_in: float, claim_id: UUID) -> dict[UUID, int]:
    """Mark these recorded submissions as being sent, each once; return the caller's own, with their attempts so far.

    `claim_id` names this marking. Where the answer is lost, `release_claim` undoes it: the caller has sent nothing yet.
    """
    rows = await _MARK.rows(database.ingest, ids=sorted(ids), due_in=timedelta(seconds=due_in), by=claim_id)
    return {row["task"]: row["attempt"] for row in rows}


_GIVE_BACK = Statement(
    update(submissions)
    .values(state="recorded", claim_id=null(), due_at=func.now())
    .where(submissions.c.state == "sending", submissions.c.claim_id == _claim_id)
)


async def release_claim(database: Database, claim_id: UUID) -> int:
    """Let others send what this marking had marked; how many there were. Only where nothing of it was sent."""
    return await _GIVE_BACK.run(database.pool, by=claim_id)


def _unknown(*, keeps_payload: bool) -> Update:
    to = {"state": "unknown", "reason": bindparam("why"), "attempt": 0, "due_at": func.now() + _due_in}
    return (
        update(submissions)
        .values(**to, **({} if keeps_payload else {"payload": null()}))
        .where(submissions.c.task == _task, submissions.c.state == "sending", submissions.c.claim_id == _claim_id)
    )


_UNKNOWN = Statement(_unknown(keeps_payload=False))
_ABANDONED = Statement(_unknown(keeps_payload=True))


async def set_unknown(database: Database, task: UUID, claim_id: UUID, reason: str, due_in: float) -> bool:
    """Note that nobody knows what became of this submission; it is looked after again in `due_in` seconds."""
    span = timedelta(seconds=due_in)
    return bool(await _UNKNOWN.run(database.pool, of=task, by=claim_id, why=reason, due_in=span))


async def set_abandoned(database: Database, task: UUID, claim_id: UUID, reason: str) -> bool:
    """Note that who marked it has not said in time what came of it; asked about at once.

    Its payload stays: should its sender after all know that it was not taken, it can be sent again.
    """
    return bool(await _ABANDONED.run(database.pool, of=task, by=claim_id, why=reason, due_in=timedelta()))


_WAIT = Statement(
    update(submissions)
    .values(
        state="recorded",
        claim_id=null(),
        reason=bindparam("why"),
        attempt=bindparam("tried", type_=SmallInteger),
        due_at=func.now() + _due_in,
    )
    .where(
        submissions.c.task == _task,
        submissions.c.state.in_([literal_column("'sending'"), literal_column("'unknown'")]),
        submissions.c.claim_id == _claim_id,
        submissions.c.payload.is_not(None),
    )
)


async def set_waiting(database: Database, task: UUID, claim_id: UUID, attempt: int, reason: str, due_in: float) -> bool:
    """Put a submission that surely was not taken back, to be sent again in `due_in` seconds.

    `attempt` counts the times it was put back. Only its own sender may: nobody else knows that it was not taken.
    """
    span = timedelta(seconds=due_in)
    return bool(await _WAIT.run(database.pool, of=task, by=claim_id, tried=attempt, why=reason, due_in=span))


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionState:
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


async def find(database: Database, task: UUID) -> SubmissionState | None:
    """Return how the submission of a task stands; None once the task is final."""
    row = await _ONE.row(database.pool, task=task)
    return SubmissionState(**dict(row.items())) if row else None
