"""Which subscriptions can have deliveries on a page: the client's own, and the hooks of the orders in question.

A client may have as many hooks as orders, so they are found through its tasks, unless the status is pending or
exhausted.
"""

from dataclasses import dataclass
from uuid import UUID

from kling_relay.core.ids import MIN_ID
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Statement

WINDOW = 2000
"""A page that is not limited to a task, a subscription, or pending or exhausted deliveries looks at the hooks of at
most this many tasks."""

_SQL = load_sql(__name__)
_GET = Statement(_SQL["get_subscription"])
_ALL = Statement(_SQL["list_all"])
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
    database: Database, client: UUID, delivery_filter: DeliveryFilter, newest_subject: UUID, *, window: int = WINDOW
) -> tuple[list[UUID], UUID, bool]:
    """Return the subscriptions to look at, the oldest subject to look at, and whether nothing lies below that."""
    if delivery_filter.subscription is not None:
        rows = await _GET.rows(database.pool, client=client, id=delivery_filter.subscription)
        return [row[0] for row in rows], delivery_filter.subject or MIN_ID, True
    if delivery_filter.subject is not None:
        rows = await _WITH_HOOK_OF.rows(database.pool, client=client, subject=delivery_filter.subject)
        return [row[0] for row in rows], delivery_filter.subject, True
    if delivery_filter.status in {"pending", "exhausted"}:
        rows = await _ALL.rows(database.pool, client=client)
        return [row[0] for row in rows], MIN_ID, True
    rows = await _WITH_RECENT_HOOKS.rows(database.pool, client=client, subject=newest_subject, window=window)
    end: UUID | None = await _WINDOW_END.scalar(database.pool, client=client, subject=newest_subject, window=window)
    return [row[0] for row in rows], end or MIN_ID, end is None
