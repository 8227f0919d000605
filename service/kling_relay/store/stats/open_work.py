"""One client's work that is open now: tasks that are not final, slots they hold, deliveries still to be made.

Only the client's newest MAX_TASKS tasks are read, and every count has a limit.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from kling_relay.core.ids import creation_time, lower_bound
from kling_relay.core.subscription import shard_of
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Statement, columns_of

MAX_TASKS = 20_000
MAX_DELIVERIES = 10_000
"""Deliveries of a subscription that are counted."""
MAX_REASONS = 20
_MAX_FAILED = 300
_MAX_REASON_LENGTH = 160

_SQL = load_sql(__name__)
_OPEN_TASKS = Statement(_SQL["open_tasks"])
_FINAL_EVENTS_OF_FAILED = Statement(_SQL["final_events_of_failed"])
_PENDING_COUNTS = Statement(_SQL["pending_counts"])
_UNATTEMPTED = Statement(_SQL["unattempted"])


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTasks:
    """Tasks that are not final, the provider's slots they hold, and the one longest without an update."""

    count: int
    slots: int
    stalest: UUID | None
    stalest_at: datetime | None
    """When `stalest` was last updated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCounts:
    """Deliveries of one subscription: still to be made, and exhausted; `next_at` is when the next attempt is due."""

    pending: int
    exhausted: int
    next_at: datetime | None


async def open_tasks(database: Database, client: UUID) -> OpenTasks:
    """Return what is not final among the client's newest tasks."""
    rows = await _OPEN_TASKS.rows(database.reports, client=client, window=MAX_TASKS)
    if not rows:
        return OpenTasks(count=0, slots=0, stalest=None, stalest_at=None)
    slots = sum(row["units"] or 0 for row in rows)
    return OpenTasks(count=len(rows), slots=slots, stalest=rows[0]["id"], stalest_at=rows[0]["updated_at"])


async def pending_counts(database: Database, subscriptions: Sequence[UUID]) -> dict[UUID, PendingCounts]:
    """Return the counts of deliveries of each of these subscriptions."""
    rows = await _PENDING_COUNTS.rows(database.reports, limit=MAX_DELIVERIES, **_with_shards(subscriptions))
    return {
        row["id"]: PendingCounts(pending=row["pending"], exhausted=row["exhausted"], next_at=row["next_at"])
        for row in rows
    }


async def unattempted_since(database: Database, subscriptions: Sequence[UUID]) -> list[datetime]:
    """Return when the tasks were ordered whose events these subscriptions were not offered yet, one per delivery."""
    rows = await _UNATTEMPTED.rows(database.reports, limit=MAX_DELIVERIES, **_with_shards(subscriptions))
    return [creation_time(row["subject"]) for row in rows]


async def failure_reasons(database: Database, client: UUID, since: datetime) -> list[tuple[str, int]]:
    """Return why the client's newest failed tasks ordered since then failed, with counts, the most frequent first."""
    rows = await _FINAL_EVENTS_OF_FAILED.rows(
        database.reports, client=client, low=lower_bound(since), window=MAX_TASKS, limit=_MAX_FAILED
    )
    reasons = (json.loads(row["body"])["data"]["task_status_msg"] or "" for row in rows)
    return Counter(reason[:_MAX_REASON_LENGTH] for reason in reasons).most_common(MAX_REASONS)


def _with_shards(subscriptions: Sequence[UUID]) -> dict[str, list[Any]]:
    rows = [(subscription, shard_of(subscription.int)) for subscription in subscriptions]
    return columns_of("subscription", ["id", "shard"], rows)
