"""A client's delivery attempts over a window of time: by bin, by subscription and by error, with their latencies.

Of each subscription the newest MAX_PER_SUBSCRIPTION attempts are read.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from kling_relay.core.ids import lower_bound
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Statement
from kling_relay.store.stats.tasks import NOT_ENDED, SampleStats, Window, WindowStats, read_stats, window_arguments

MAX_PER_SUBSCRIPTION = 1000
MAX_SUBSCRIPTIONS = 200
MAX_TASKS = 2000
"""Tasks of the client, the newest ones, whose hooks are included."""

_SQL = load_sql(__name__)
_SUBSCRIPTIONS_OF = Statement(_SQL["subscriptions_of"])
_SUBSCRIPTION_OF = Statement(_SQL["subscription_of"])
_ATTEMPT_STATS = Statement(_SQL["attempt_stats"])
_DELIVERY_SPANS = Statement(_SQL["delivery_spans"])


async def subscriptions_of(database: Database, client: UUID, only: UUID | None = None) -> list[UUID]:
    """Return the ids of the client's subscriptions and of its newest tasks' hooks; with `only` at most that one."""
    if only is None:
        rows = await _SUBSCRIPTIONS_OF.rows(database.reports, client=client, limit=MAX_SUBSCRIPTIONS, tasks=MAX_TASKS)
    else:
        rows = await _SUBSCRIPTION_OF.rows(database.reports, client=client, subscription=only)
    return [row["id"] for row in rows]


async def attempt_stats(database: Database, subscriptions: Sequence[UUID], window: Window) -> WindowStats:
    """Return statistics of the newest attempts of these subscriptions, for events of the window's tasks."""
    arguments: dict[str, Any] = {
        "subscriptions": list(subscriptions),
        "limit": MAX_PER_SUBSCRIPTION,
        "low": lower_bound(window.since),
        **window_arguments(window),
    }
    rows = await _ATTEMPT_STATS.rows(database.reports, **arguments)
    spans = await _DELIVERY_SPANS.rows(database.reports, **arguments, not_ended=NOT_ENDED)
    return WindowStats(
        overall=next((read_stats(row) for row in rows if row["level"] == 7), SampleStats()),
        bins={row["began"]: read_stats(row) for row in rows if row["level"] == 3},
        subscriptions={row["subscription"]: read_stats(row) for row in rows if row["level"] == 5},
        errors={row["code"]: row["total"] for row in rows if row["level"] == 6 and row["code"] is not None},
        spans={(row["began"], row["ended"]): row["total"] for row in spans},
    )
