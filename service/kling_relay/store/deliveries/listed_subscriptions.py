"""Which subscriptions can have deliveries on a page: the client's own, and the hooks of the orders in question.

A client may have as many hooks as orders, so they are found by way of its tasks where no status narrows the page.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import BigInteger, Uuid, bindparam, literal_column, select, union_all

from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Statement
from kling_relay.store.tables import subscriptions, tasks

WINDOW = 2000
"""A page without a status looks at the hooks of so many tasks at most."""
_FIRST = UUID(int=0)
_CLIENT = bindparam("client", type_=Uuid)
_SUBJECT = bindparam("subject", type_=Uuid)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries a list shows."""

    subscription: UUID | None = None
    status: str | None = None
    subject: UUID | None = None
    sequence: int | None = None


_OWN = select(subscriptions.c.id).where(subscriptions.c.client == _CLIENT)
_ONE = Statement(_OWN.where(subscriptions.c.id == bindparam("of", type_=Uuid)))
_ALL = Statement(_OWN)
_NEAR = (
    select(tasks.c.id, tasks.c.hook)
    .where(tasks.c.client == _CLIENT, tasks.c.id <= _SUBJECT)
    .order_by(tasks.c.id.desc())
    .limit(bindparam("window", type_=BigInteger))
    .subquery("near")
)
_LATELY = Statement(
    union_all(
        _OWN.where(~subscriptions.c.hook),
        select(_NEAR.c.hook).where(_NEAR.c.hook.is_not(None)).distinct(),
    )
)
_ABOUT = Statement(
    union_all(
        _OWN.where(~subscriptions.c.hook),
        select(tasks.c.hook).where(tasks.c.id == _SUBJECT, tasks.c.client == _CLIENT, tasks.c.hook.is_not(None)),
    )
)
_WINDOW_END = Statement(
    select(tasks.c.id)
    .where(tasks.c.client == _CLIENT, tasks.c.id <= _SUBJECT)
    .order_by(tasks.c.id.desc())
    .offset(bindparam("window", type_=BigInteger))
    .limit(literal_column("1"))
)


async def subscriptions_to_list(
    database: Database, client: UUID, wanted: DeliveryFilter, high: UUID
) -> tuple[list[UUID], UUID, bool]:
    """Return the subscriptions to look at, the oldest subject to look at, and whether nothing lies below that."""
    if wanted.subscription is not None:
        rows = await _ONE.rows(database.pool, client=client, of=wanted.subscription)
        return [row[0] for row in rows], wanted.subject or _FIRST, True
    if wanted.subject is not None:
        rows = await _ABOUT.rows(database.pool, client=client, subject=wanted.subject)
        return [row[0] for row in rows], wanted.subject, True
    if wanted.status in {"pending", "exhausted"}:
        rows = await _ALL.rows(database.pool, client=client)
        return [row[0] for row in rows], _FIRST, True
    rows = await _LATELY.rows(database.pool, client=client, subject=high, window=WINDOW)
    end: UUID | None = await _WINDOW_END.scalar(database.pool, client=client, subject=high, window=WINDOW - 1)
    return [row[0] for row in rows], end or _FIRST, end is None
