"""Deliveries as their client sees them: what is pending, and from the attempts what was delivered; newest first.

A list first names the subscriptions that can have something on the page, then reads each one's newest by its index,
so that another subscription's million rows are never in the way.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Select,
    SmallInteger,
    Uuid,
    and_,
    bindparam,
    case,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union_all,
)

from kling_relay.core.delivery import Delivery
from kling_relay.store.deliveries.listed_subscriptions import DeliveryFilter, subscriptions_to_list
from kling_relay.store.deliveries.outbox import INFINITY
from kling_relay.store.deliveries.shards import shard_of
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Row, Statement, unnested
from kling_relay.store.tables import attempts, events, pending_deliveries

_MAX_SEQUENCE = 2**15 - 1
_LAST = UUID(int=(1 << 128) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDelivery:
    """A delivery with its last attempt; `status` is pending, delivered or exhausted, `attempt` counts the attempts."""

    subject: UUID
    sequence: int
    subscription: UUID
    status: str
    attempt: int
    due_at: datetime | None
    type: str | None
    last_at: datetime | None
    last_status: int | None
    last_error: str | None

    @property
    def key(self) -> Delivery:
        return Delivery(
            subject=self.subject, sequence=self.sequence, subscription=self.subscription, attempt=self.attempt
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One attempt, from the log; `latency` in seconds."""

    attempt: int
    at: datetime
    latency: float
    status: int | None
    outcome: str
    error: str | None
    answer: bytes | None


@dataclass(frozen=True, slots=True)
class DeliveryListing:
    """Some deliveries; `after` is where the next page begins, None where there is none."""

    deliveries: list[ListedDelivery]
    after: Delivery | None


_SUBJECT = bindparam("subject", type_=Uuid)


def _within(table: Any, mine: ColumnElement[UUID]) -> list[ColumnElement[bool]]:
    """Return the page's bounds on a table's deliveries of one subscription; the first two are for the index."""
    high = (bindparam("subject", type_=Uuid), bindparam("sequence", type_=SmallInteger))
    only = bindparam("only", type_=SmallInteger)
    return [
        table.c.subject >= bindparam("low", type_=Uuid),
        tuple_(table.c.subject, table.c.sequence) <= tuple_(*high),
        tuple_(table.c.subject, table.c.sequence, mine) < tuple_(*high, bindparam("before", type_=Uuid)),
        or_(only.is_(None), table.c.sequence == only),
    ]


def _newest(chosen: Select[Any], table: Any, mine: Any, name: str) -> Select[Any]:
    """Return each subscription's newest, so many of each."""
    limit = bindparam("limit", type_=BigInteger)
    each = chosen.order_by(table.c.subject.desc(), table.c.sequence.desc()).limit(limit).lateral(name)
    return select(mine.c.id.label("subscription"), *each.c).select_from(mine.join(each, true()))


def _waiting() -> Select[Any]:
    mine = unnested("mine", id=Uuid)
    is_exhausted = pending_deliveries.c.due_at == INFINITY
    chosen = select(
        pending_deliveries.c.subject,
        pending_deliveries.c.sequence,
        pending_deliveries.c.attempt,
        case((is_exhausted, literal_column("'exhausted'")), else_=literal_column("'pending'")).label("status"),
        case((is_exhausted, None), else_=pending_deliveries.c.due_at).label("due_at"),
    ).where(
        pending_deliveries.c.shard == shard_of(mine.c.id),
        pending_deliveries.c.subscription == mine.c.id,
        or_(
            and_(bindparam("pending", type_=Boolean), ~is_exhausted),
            and_(bindparam("exhausted", type_=Boolean), is_exhausted),
        ),
        *_within(pending_deliveries, mine.c.id),
    )
    return _newest(chosen, pending_deliveries, mine, "waiting")


def _ended() -> Select[Any]:
    mine = unnested("mine", id=Uuid)
    later, still = attempts.alias("later"), pending_deliveries.alias("still")
    chosen = select(
        attempts.c.subject,
        attempts.c.sequence,
        attempts.c.attempt,
        literal_column("'delivered'").label("status"),
        literal_column("NULL::timestamptz").label("due_at"),
    ).where(
        bindparam("delivered", type_=Boolean),
        attempts.c.subscription == mine.c.id,
        attempts.c.outcome == literal_column("'delivered'"),
        *_within(attempts, mine.c.id),
        ~select(literal_column("1")).where(_same(still, attempts)).exists(),
        ~select(literal_column("1")).where(_same(later, attempts), later.c.attempt > attempts.c.attempt).exists(),
    )
    return _newest(chosen, attempts, mine, "ended")


def _rows() -> Statement:
    both = union_all(_waiting(), _ended()).subquery("both")
    page = (
        select(both)
        .order_by(both.c.subject.desc(), both.c.sequence.desc(), both.c.subscription.desc())
        .limit(bindparam("limit", type_=BigInteger))
        .subquery("page")
    )
    last = (
        select(attempts.c.at, attempts.c.status.label("http"), attempts.c.error)
        .where(
            attempts.c.subscription == page.c.subscription,
            attempts.c.subject == page.c.subject,
            attempts.c.sequence == page.c.sequence,
            attempts.c.attempt == page.c.attempt,
        )
        .lateral("last")
    )
    chosen = select(page, last.c.at.label("last_at"), last.c.http, last.c.error, events.c.type).select_from(
        page.outerjoin(last, true()).outerjoin(
            events, and_(events.c.subject == page.c.subject, events.c.sequence == page.c.sequence)
        )
    )
    return Statement(
        chosen.order_by(page.c.subject.desc(), page.c.sequence.desc(), page.c.subscription.desc()),
    )


def _same(one: Any, other: Any) -> ColumnElement[bool]:
    return and_(
        one.c.subscription == other.c.subscription,
        one.c.subject == other.c.subject,
        one.c.sequence == other.c.sequence,
    )


_ROWS = _rows()
_TRIED = Statement(
    select(
        attempts.c.attempt,
        attempts.c.at,
        attempts.c.latency,
        attempts.c.status,
        attempts.c.outcome,
        attempts.c.error,
        attempts.c.answer,
    )
    .where(
        attempts.c.subscription == bindparam("of", type_=Uuid),
        attempts.c.subject == _SUBJECT,
        attempts.c.sequence == bindparam("sequence", type_=SmallInteger),
    )
    .order_by(attempts.c.attempt)
)


async def page(
    database: Database, client: UUID, wanted: DeliveryFilter, before: Delivery | None, limit: int
) -> DeliveryListing:
    """Return up to `limit` of the client's deliveries, newest task first, before the one named.

    A page may be short, even empty, where little is found; its `after` says where to go on.
    """
    high = before or Delivery(subject=wanted.subject or _LAST, sequence=_MAX_SEQUENCE, subscription=_LAST, attempt=0)
    ids, low, is_end = await subscriptions_to_list(database, client, wanted, high.subject)
    rows = await _ROWS.rows(
        database.pool,
        mine_id=ids,
        subject=high.subject,
        sequence=high.sequence,
        before=high.subscription,
        low=low,
        only=wanted.sequence,
        pending=wanted.status in {None, "pending"},
        exhausted=wanted.status in {None, "exhausted"},
        delivered=wanted.status in {None, "delivered"},
        limit=limit + 1,
    )
    found = [_listed(row) for row in rows[:limit]]
    if len(rows) > limit:
        return DeliveryListing(found, found[-1].key)
    # below the window's edge nothing was looked at: the next page begins with that task
    edge = (
        None
        if is_end
        else Delivery(subject=UUID(int=low.int - 1), sequence=_MAX_SEQUENCE, subscription=_LAST, attempt=0)
    )
    return DeliveryListing(found, edge)


async def tried(database: Database, key: Delivery) -> list[AttemptRow]:
    """Return the attempts of a delivery, oldest first; whose it is must have been seen."""
    rows = await _TRIED.rows(database.pool, of=key.subscription, subject=key.subject, sequence=key.sequence)
    return [AttemptRow(**dict(row.items())) for row in rows]


async def one(database: Database, client: UUID, key: Delivery) -> ListedDelivery | None:
    """Return the client's delivery of this id, or None."""
    wanted = DeliveryFilter(subscription=key.subscription, subject=key.subject, sequence=key.sequence)
    found = await page(database, client, wanted, None, 1)
    return found.deliveries[0] if found.deliveries else None


def _listed(row: Row) -> ListedDelivery:
    return ListedDelivery(
        subject=row["subject"],
        sequence=row["sequence"],
        subscription=row["subscription"],
        status=row["status"],
        attempt=row["attempt"],
        due_at=row["due_at"],
        type=row["type"],
        last_at=row["last_at"],
        last_status=row["http"],
        last_error=row["error"],
    )
