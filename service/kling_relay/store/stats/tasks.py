"""One client's tasks over a window of time, at a cost that is bounded whatever its traffic.

The window is cut into bins, and of each bin at most MAX_PER_BIN tasks are read. If a bin has more, its
total can be estimated from how much of the bin those cover (`SampleStats.last_at`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from kling_relay.core.ids import lower_bound
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Row, Statement, columns_of

MAX_PER_BIN = 400
NOT_ENDED = 1_000_000
"""The bin of the end of what has not ended."""

_SQL = load_sql(__name__)
_TASK_STATS = Statement(_SQL["task_stats"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A span of time, as `count` bins of equal width."""

    since: datetime
    width: timedelta
    count: int

    @property
    def until(self) -> datetime:
        return self.since + self.count * self.width


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleStats:
    """Counts of the tasks or attempts that were read, and percentiles, in seconds, of those that succeeded."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    p50: float | None = None
    p95: float | None = None
    last_at: datetime | None = None
    """When the last of them was created."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowStats:
    """Statistics in all, by bin, and by subscription; error codes with their counts.

    `spans` counts what began in one bin and ended in another, by both numbers.
    """

    overall: SampleStats
    bins: dict[int, SampleStats]
    subscriptions: dict[UUID, SampleStats]
    errors: dict[str, int]
    spans: dict[tuple[int, int], int]


async def task_stats(database: Database, client: UUID, window: Window) -> WindowStats:
    """Return statistics of the client's tasks ordered in the window."""
    edges = [window.since + number * window.width for number in range(window.count + 1)]
    bins = [(number, lower_bound(edges[number]), lower_bound(edges[number + 1])) for number in range(window.count)]
    rows = await _TASK_STATS.rows(
        database.reports,
        client=client,
        limit=MAX_PER_BIN,
        not_ended=NOT_ENDED,
        **window_arguments(window),
        **columns_of("bin", ["number", "low", "high"], bins),
    )
    return WindowStats(
        overall=next((read_stats(row) for row in rows if row["level"] == 3), SampleStats()),
        bins={row["began"]: read_stats(row) for row in rows if row["level"] == 1},
        subscriptions={},
        errors={},
        spans={(row["began"], row["ended"]): row["total"] for row in rows if row["level"] == 0},
    )


def window_arguments(window: Window) -> dict[str, Any]:
    """Return the arguments by which SQL computes the bin of a time."""
    return {"since": window.since, "width": window.width.total_seconds()}


def read_stats(row: Row) -> SampleStats:
    """Return the statistics in a row of `task_stats` or `attempt_stats`."""
    return SampleStats(
        total=row["total"],
        succeeded=row["succeeded"],
        failed=row["failed"],
        p50=row["p50"],
        p95=row["p95"],
        last_at=row.get("last_at"),
    )
