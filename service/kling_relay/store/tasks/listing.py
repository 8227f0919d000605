"""Lists of tasks, newest first: with filters, by a cursor (a task's id), and in numbered pages as Kling has them.

The tasks of a page are chosen first, by the index on client and id; their last events are joined to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from kling_relay.core.ids import MAX_ID, MIN_ID, lower_bound
from kling_relay.core.task import CLIENT_STATUS, Status
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Statement
from kling_relay.store.tasks.lookup import LEAN, TaskView, task_view

WINDOW = 20_000
"""Tasks that a filtered page looks at, so that a filter with rare hits does not hold a connection."""

_NEAR = "id, client, kind, external_task_id, created_at, status, sequence, updated_at"
_SQL = load_sql(__name__, lean=LEAN, near=_NEAR)
_LIST = Statement(_SQL["list_tasks"])
_LIST_MATCHING = Statement(_SQL["list_matching_tasks"])
_NUMBERED_PAGE = Statement(_SQL["list_numbered_page"])
_WINDOW_END = Statement(_SQL["find_window_end"])


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks a list shows; None is all. `text` is looked for in ids, models and the fields of orders."""

    statuses: Sequence[Status] | None = None
    kinds: Sequence[str] | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None

    @property
    def is_selective(self) -> bool:
        return bool(self.statuses or self.kinds or self.text)


@dataclass(frozen=True, slots=True)
class TaskListing:
    """Some tasks, newest first; `after` is where the next page begins, None on the last."""

    tasks: list[TaskView]
    after: UUID | None


def statuses_of(client_status: str) -> list[Status]:
    """Return our statuses that clients see as this one."""
    return [status for status, shown in CLIENT_STATUS.items() if shown == client_status]


async def list_tasks(
    database: Database, client: UUID, task_filter: TaskFilter, after: UUID | None, limit: int, *, window: int = WINDOW
) -> TaskListing:
    """Return up to `limit` tasks, newest first, older than `after`.

    A filter looks at `window` tasks. If few match, a page may be short or even empty; its `after` says where to go on.
    """
    since = lower_bound(task_filter.since) if task_filter.since else MIN_ID
    before = min(after or MAX_ID, lower_bound(task_filter.until) if task_filter.until else MAX_ID)
    if not task_filter.is_selective:
        rows = await _LIST.rows(database.reports, client=client, since=since, before=before, limit=limit + 1)
    else:
        rows = await _LIST_MATCHING.rows(
            database.reports,
            client=client,
            since=since,
            before=before,
            limit=limit + 1,
            window=window,
            statuses=task_filter.statuses,
            kinds=task_filter.kinds,
            text=_escaped(task_filter.text),
        )
    tasks = [task_view(row) for row in rows[:limit]]
    if len(rows) > limit:
        return TaskListing(tasks, tasks[-1].id)
    if not task_filter.is_selective:
        return TaskListing(tasks, None)
    end: UUID | None = await _WINDOW_END.scalar(
        database.reports, client=client, since=since, before=before, window=window
    )
    # tasks that came meanwhile move the end of the window up; the last task of the page is the limit
    return TaskListing(tasks, min(end, tasks[-1].id) if end and tasks else end)


async def numbered_page(
    database: Database, client: UUID, kinds: Sequence[str], number: int, size: int
) -> list[TaskView]:
    """Return the `number`-th page (from 1) of `size` tasks of these kinds, newest first, as Kling counts pages."""
    rows = await _NUMBERED_PAGE.rows(
        database.reports, client=client, kinds=kinds, offset=(number - 1) * size, limit=size
    )
    return [task_view(row) for row in rows]


def _escaped(text: str | None) -> str | None:
    """Return `text` for LIKE, without wildcards."""
    return text and text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
