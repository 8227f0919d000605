"""Submissions: one thin row per task that is not final, with what the provider was sent and when to look again.

- recorded: not sent; to be sent when due. Its `payload` is kept until then.
- sending: written before the POST leaves, so a submission that is still recorded was certainly not sent.
- accepted: the provider has it.
- unknown: nobody knows whether the provider has it. It is never sent again.

Every change is a compare-and-set on the state and on `claim_id`, which is new with each claim. So a process that is
late with an outcome, or repeats a write whose answer was lost, changes nothing that another process has claimed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Statement

_SQL = load_sql(__name__)
_CLAIM = Statement(_SQL["claim_for_sending"])
_RELEASE_CLAIMS = Statement(_SQL["release_claims"])
_SET_UNKNOWN = Statement(_SQL["set_unknown"])
_SET_ABANDONED = Statement(_SQL["set_abandoned"])
_CLOSE_UNKNOWN = Statement(_SQL["close_unknown"])
_SET_WAITING = Statement(_SQL["set_waiting"])
_FIND = Statement(_SQL["find"])
_READ_PAYLOAD = Statement(_SQL["read_payload"])


async def claim_for_sending(database: Database, ids: Sequence[UUID], due_in: float, claim_id: UUID) -> dict[UUID, int]:
    """Mark these recorded submissions as being sent; return those that were marked, with their attempts so far.

    If the answer is lost, `release_claims` undoes it: the caller has sent nothing yet.
    """
    rows = await _CLAIM.rows(database.ingest, ids=sorted(ids), due_in=timedelta(seconds=due_in), claim_id=claim_id)
    return {row["task"]: row["attempt"] for row in rows}


async def read_payload(database: Database, task: UUID) -> bytes | None:
    """Return what a submission sends to the provider; None if it needs to be sent no more."""
    payload: bytes | None = await _READ_PAYLOAD.scalar(database.pool, task=task)
    return payload


async def release_claims(database: Database, claim_ids: Sequence[UUID]) -> int:
    """Let others send what was claimed, and return how many that is. Nothing of it may have been sent."""
    return await _RELEASE_CLAIMS.run(database.pool, claim_ids=claim_ids)


async def set_unknown(database: Database, task: UUID, claim_id: UUID, reason: str, due_in: float) -> bool:
    """Note that nobody knows what became of this submission; the provider is asked in `due_in` seconds."""
    span = timedelta(seconds=due_in)
    return bool(await _SET_UNKNOWN.run(database.pool, task=task, claim_id=claim_id, reason=reason, due_in=span))


async def set_abandoned(database: Database, task: UUID, claim_id: UUID, reason: str) -> bool:
    """Note that the process that claimed it has not said in time what became of it; the provider is asked at once.

    The payload stays: should that process after all know that the provider did not take it, it can be sent again.
    """
    return bool(await _SET_ABANDONED.run(database.pool, task=task, claim_id=claim_id, reason=reason))


async def close_unknown(database: Database, task: UUID, claim_id: UUID | None) -> bool:
    """Let nobody send this submission any more, so that its task can end; return whether it is still unknown.

    It is not if it was put back or accepted since it was read.
    """
    return bool(await _CLOSE_UNKNOWN.run(database.pool, task=task, claim_id=claim_id))


async def set_waiting(database: Database, task: UUID, claim_id: UUID, attempt: int, reason: str, due_in: float) -> bool:
    """Put back a submission that the provider certainly did not accept, to be sent again in `due_in` seconds.

    `attempt` counts how often it was put back. Only the process that claimed it knows that it was not taken.
    """
    return bool(
        await _SET_WAITING.run(
            database.pool,
            task=task,
            claim_id=claim_id,
            attempt=attempt,
            reason=reason,
            due_in=timedelta(seconds=due_in),
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionState:
    """A submission's state, why it waits, and when it is looked at again."""

    state: str
    attempt: int
    due_at: datetime
    provider_task_id: str | None
    reason: str | None


async def find(database: Database, task: UUID) -> SubmissionState | None:
    """Return the state of a task's submission; None once the task is final."""
    row = await _FIND.row(database.pool, task=task)
    return SubmissionState(**dict(row.items())) if row else None
