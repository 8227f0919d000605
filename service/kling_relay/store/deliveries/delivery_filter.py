"""Which subscriptions can have deliveries on a page: the client's own, and the hooks of the orders in question.

A client may have as many hooks as orders. A list of pending or exhausted deliveries looks at all hooks if they are few;
if not, it finds them among the newest pending deliveries. Other lists find them through the client's tasks.
"""

from dataclasses import dataclass
from uuid import UUID

from kling_relay.core.ids import MIN_ID
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Runner, Statement

WINDOW = 2000
"""A page that is not limited to a task, a subscription, or pending or exhausted deliveries looks at the hooks of at
most this many tasks."""

MAX_HOOKS = 1000
"""Hooks whose deliveries are looked for one by one."""
PENDING_WINDOW = 20_000
"""Pending deliveries of all clients that one page looks at for a client with more hooks. It has to be more than one
subject can have."""

_SQL = load_sql(__name__)
_GET = Statement(_SQL["get_subscription"])
_ALL = Statement(_SQL["list_all"])
_WITH_PENDING_HOOKS = Statement(_SQL["list_with_pending_hooks"])
_WITH_RECENT_HOOKS = Statement(_SQL["list_with_recent_hooks"])
_WITH_HOOK_OF = Statement(_SQL["list_with_hook_of"])
_WINDOW_END = Statement(_SQL["find_window_end"])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries a list shows."""

    subscription: UUID | None = None
    status: str | None = None
    subject: UUID | None = None
    sequence: int | None = None


async def subscriptions_to_list(
    runner: Runner,
    client: UUID,
    delivery_filter: DeliveryFilter,
    newest_subject: UUID,
    *,
    window: int = WINDOW,
    pending_window: int = PENDING_WINDOW,
) -> tuple[list[UUID], UUID, bool]:
    """Return the subscriptions to look at, the oldest subject to look at, and whether nothing lies below that."""
    if delivery_filter.subscription is not None:
        rows = await _GET.rows(runner, client=client, id=delivery_filter.subscription)
        return [row[0] for row in rows], delivery_filter.subject or MIN_ID, True
    if delivery_filter.subject is not None:
        rows = await _WITH_HOOK_OF.rows(runner, client=client, subject=delivery_filter.subject)
        return [row[0] for row in rows], delivery_filter.subject, True
    if delivery_filter.status in {"pending", "exhausted"}:
        return await _with_pending(runner, client, newest_subject, pending_window)
    rows = await _WITH_RECENT_HOOKS.rows(runner, client=client, subject=newest_subject, window=window)
    end: UUID | None = await _WINDOW_END.scalar(runner, client=client, subject=newest_subject, window=window)
    return [row[0] for row in rows], end or MIN_ID, end is None


async def _with_pending(
    runner: Runner, client: UUID, newest_subject: UUID, window: int
) -> tuple[list[UUID], UUID, bool]:
    rows = await _ALL.rows(runner, client=client, limit=MAX_HOOKS + 1)
    if sum(row["is_hook"] for row in rows) <= MAX_HOOKS:
        return [row["id"] for row in rows], MIN_ID, True
    rows = await _WITH_PENDING_HOOKS.rows(runner, client=client, subject=newest_subject, window=window)
    ids = [row["id"] for row in rows if row["id"] is not None]
    if len(ids) == len(rows):
        return ids, MIN_ID, True
    # the window may end amid the deliveries of its oldest subject, so the next page has that one
    return ids, UUID(int=rows[-1]["oldest"].int + 1), False
