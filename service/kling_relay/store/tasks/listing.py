"""Lists of tasks, newest first: by a cursor (a task's id) with filters, and by numbered pages as Kling has them.

The ids of a page are chosen first, by the index on client and id; their last events are joined on after.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Text,
    Uuid,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
    true,
)

from kling_relay.core.ids import lower_bound
from kling_relay.core.task import CLIENT_STATUS, Status
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Statement
from kling_relay.store.tables import events, tasks
from kling_relay.store.tasks.lookup import LEAN, TaskView, task_view

WINDOW = 20_000
"""A filtered page looks at so many tasks at most, so that no filter, however rare its hits, holds a connection."""
_FIRST = UUID(int=0)
_LAST = UUID(int=(1 << 128) - 1)
_CLIENT = bindparam("client", type_=Uuid)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks a list shows; all of it None is every task. `text` is looked for in ids, models and orders."""

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
    """Some tasks, newest first; `after` is where the next page begins, None where there is none."""

    tasks: list[TaskView]
    after: UUID | None


def statuses_of(word: str) -> list[Status]:
    """Return our statuses that clients see as `word`."""
    return [status for status, seen in CLIENT_STATUS.items() if seen == word]


def _list(*, windowed: bool, paged: bool) -> Statement:
    """Return a list's statement: the ids chosen first, their events joined on after."""
    seen = select(*LEAN, *((tasks.c.model, tasks.c.fields) if windowed else ())).where(
        tasks.c.client == _CLIENT,
        tasks.c.id >= bindparam("since", type_=Uuid),
        tasks.c.id < bindparam("before", type_=Uuid),
    )
    seen = seen.order_by(tasks.c.id.desc())
    if windowed:
        near = seen.limit(bindparam("window", type_=BigInteger)).subquery("near")
        seen = select(*(near.c[column.name] for column in LEAN)).where(*_matches(near.c)).order_by(near.c.id.desc())
    elif paged:
        seen = seen.where(tasks.c.kind == any_(bindparam("kinds", type_=ARRAY(Text))))
        seen = seen.offset(bindparam("offset", type_=BigInteger))
    hits = seen.limit(bindparam("limit", type_=BigInteger)).subquery("hits")
    last = (
        select(events.c.body).where(events.c.subject == hits.c.id, events.c.sequence == hits.c.sequence).lateral("last")
    )
    return Statement(select(hits, last.c.body).outerjoin(last, true()).order_by(hits.c.id.desc()))


def _matches(near: Any) -> list[ColumnElement[bool]]:
    statuses, kinds = bindparam("statuses", type_=ARRAY(Text)), bindparam("kinds", type_=ARRAY(Text))
    text = bindparam("text", type_=Text)
    wanted = func.concat("%", text, "%")
    return [
        or_(statuses.is_(None), near.status == any_(statuses)),
        or_(kinds.is_(None), near.kind == any_(kinds)),
        or_(
            text.is_(None),
            near.fields.ilike(wanted),
            near.external_task_id.ilike(wanted),
            near.model.ilike(wanted),
            cast(near.id, Text).ilike(wanted),
        ),
    ]


_PLAIN_LIST = _list(windowed=False, paged=False)
_FILTERED_LIST = _list(windowed=True, paged=False)
_NUMBERED_PAGE = _list(windowed=False, paged=True)
_WINDOW_END = Statement(
    select(tasks.c.id)
    .where(tasks.c.client == _CLIENT, tasks.c.id >= bindparam("since", type_=Uuid), tasks.c.id < bindparam("before"))
    .order_by(tasks.c.id.desc())
    .offset(bindparam("window", type_=BigInteger))
    .limit(literal_column("1"))
)


async def page(database: Database, client: UUID, wanted: TaskFilter, after: UUID | None, limit: int) -> TaskListing:
    """Return up to `limit` tasks, newest first, older than `after`.

    A filter that finds little gives a short page, even an empty one, whose `after` says where to go on.
    """
    since = lower_bound(wanted.since) if wanted.since else _FIRST
    before = min(after or _LAST, lower_bound(wanted.until) if wanted.until else _LAST)
    if not wanted.is_selective:
        rows = await _PLAIN_LIST.rows(database.pool, client=client, since=since, before=before, limit=limit + 1)
    else:
        rows = await _FILTERED_LIST.rows(
            database.pool,
            client=client,
            since=since,
            before=before,
            limit=limit + 1,
            window=WINDOW,
            statuses=wanted.statuses,
            kinds=wanted.kinds,
            text=_escaped(wanted.text),
        )
    found = [task_view(row) for row in rows[:limit]]
    if len(rows) > limit:
        return TaskListing(found, found[-1].id)
    if not wanted.is_selective:
        return TaskListing(found, None)
    end: UUID | None = await _WINDOW_END.scalar(
        database.pool, client=client, since=since, before=before, window=WINDOW - 1
    )
    # tasks that came meanwhile move the window's end up; nothing is shown twice for that
    return TaskListing(found, min(end, found[-1].id) if end and found else end)


async def numbered_page(
    database: Database, client: UUID, kinds: Sequence[str], number: int, size: int
) -> list[TaskView]:
    """Return the `number`-th page (from 1) of `size` tasks of these kinds, newest first, as Kling counts pages."""
    rows = await _NUMBERED_PAGE.rows(
        database.pool,
        client=client,
        since=_FIRST,
        before=_LAST,
        kinds=kinds,
        offset=(number - 1) * size,
        limit=size,
    )
    return [task_view(row) for row in rows]


def _escaped(text: str | None) -> str | None:
    """Return `text` for LIKE, standing for itself alone."""
    return text and text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
