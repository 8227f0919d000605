"""Due submissions: claimed in batches to be sent or to be asked about, postponed, and given up.

A claim lasts for a while; if its process dies, the submissions come due again. What a submission is, and how its
sender claims and settles it, is in `submissions.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from kling_relay.core.ids import lower_bound
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Statement, columns_of
from kling_relay.store.tasks.slots import SMALL

_MINUTE = timedelta(minutes=1)

_SQL = load_sql(__name__)
_FIND_DUE = Statement(_SQL["find_due"])
_CLAIM = Statement(_SQL["claim"])
_CLAIM_OVERDUE = Statement(_SQL["claim_overdue"])
_POSTPONE = Statement(_SQL["postpone"])
_POLL_NOW = Statement(_SQL["poll_now"])
_NOTE_INCOMPLETE = Statement(_SQL["note_incomplete"])
_ASK_FOR_RESULT = Statement(_SQL["ask_for_result"])


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSubmission:
    """A submission that is due, with what acting on it needs.

    `incomplete` counts the times that the provider said success and named no file. `payload_bytes` is the size of the
    payload, and `payload` is None if that is large: it is read when it is sent.
    """

    task: UUID
    client: UUID
    state: str
    claim_id: UUID | None
    kind: str
    attempt: int
    incomplete: int
    provider_task_id: str | None
    payload_bytes: int | None
    payload: bytes | None
    status: str
    created_at: datetime
    updated_at: datetime
    trace: str | None


async def find_due(database: Database, states: Sequence[str], recorded_before: datetime) -> set[str]:
    """Return the states with due submissions, and "recorded" also if an order was recorded before then."""
    rows = await _FIND_DUE.rows(database.pool, states=list(states), bound=lower_bound(recorded_before))
    return {row["state"] for row in rows}


async def claim(database: Database, state: str, limit: int, due_in: float) -> list[DueSubmission]:
    """Take up to `limit` due submissions of one state for `due_in` seconds, in which nobody else takes them."""
    rows = await _CLAIM.rows(database.pool, state=state, limit=limit, due_in=timedelta(seconds=due_in), small=SMALL)
    return [DueSubmission(**dict(row.items())) for row in rows]


async def claim_overdue(database: Database, recorded_before: datetime, limit: int, claim_id: UUID) -> list[UUID]:
    """Mark up to `limit` submissions that were recorded before then and never sent, so that nobody sends them."""
    bound = lower_bound(recorded_before)
    rows = await _CLAIM_OVERDUE.rows(database.pool, bound=bound, limit=limit, claim_id=claim_id, due_in=_MINUTE)
    return [row["task"] for row in rows]


async def postpone(database: Database, later: Sequence[tuple[UUID, float, int]]) -> None:
    """Look at tasks again later: each is given with seconds, and with the number of polls so far without news."""
    rows = [(task, timedelta(seconds=due_in), attempt) for task, due_in, attempt in sorted(later)]
    await _POSTPONE.run(database.pool, **columns_of("later", ["task", "due_in", "attempt"], rows))


async def poll_now(database: Database, task: UUID) -> None:
    """Make the sweep ask the provider about this task now, if the provider may have it."""
    await _POLL_NOW.run(database.pool, task=task)


async def note_incomplete(database: Database, task: UUID, reason: str) -> None:
    """Note that a callback said success without a file. The task is polled now, unless that was noted before."""
    await _NOTE_INCOMPLETE.run(database.pool, task=task, reason=reason)


async def ask_for_result(database: Database, task: UUID, due_in: float, incomplete: int, reason: str) -> None:
    """Poll a task again in `due_in` seconds. The provider has said success without a file `incomplete` times."""
    span = timedelta(seconds=due_in)
    await _ASK_FOR_RESULT.run(database.pool, task=task, due_in=span, incomplete=incomplete, reason=reason)
