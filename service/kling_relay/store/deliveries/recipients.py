"""Targets: what delivering to a subscription needs to know, and the two things that delivering finds out about it.

A subscription is marked as failing at its first failure and as healthy at its next success; it is disabled, and its
client's other subscriptions are told, in one statement.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    LargeBinary,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import array

from kling_relay.core.event import Event, EventType
from kling_relay.store.access import headers
from kling_relay.store.deliveries.shards import shard_of
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Statement
from kling_relay.store.tables import Time, clients, events, pending_deliveries, subscriptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A subscription as delivering sees it; `headers` and secrets are encrypted; without its own the client's signs."""

    id: UUID
    client: UUID
    hook: bool
    url: str
    headers: bytes = field(repr=False)
    format: str
    ordering: str
    max_in_flight: int
    secrets: bytes = field(repr=False)
    hook_secret: bytes = field(repr=False)
    old_secrets_until: datetime | None
    failing_since: datetime | None
    paused_at: datetime | None
    disabled_at: datetime | None

    @property
    def is_open(self) -> bool:
        return self.paused_at is None and self.disabled_at is None


_TARGETS = Statement(
    select(
        subscriptions.c.id,
        subscriptions.c.client,
        subscriptions.c.hook,
        subscriptions.c.url,
        headers.STORED.label("headers"),
        subscriptions.c.format,
        subscriptions.c.ordering,
        subscriptions.c.max_in_flight,
        subscriptions.c.secrets,
        clients.c.hook_secret,
        subscriptions.c.old_secrets_until,
        subscriptions.c.failing_since,
        subscriptions.c.paused_at,
        subscriptions.c.disabled_at,
    )
    .join(clients, clients.c.id == subscriptions.c.client)
    .where(subscriptions.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))))
)


async def read(database: Database, ids: Sequence[UUID]) -> dict[UUID, Recipient]:
    """Return these subscriptions; who was deleted is missing."""
    rows = await _TARGETS.rows(database.settle, ids=list(ids))
    return {row["id"]: Recipient(**dict(row.items())) for row in rows}


_FAILING = Statement(
    update(subscriptions)
    .values(failing_since=bindparam("since", type_=Time))
    .where(subscriptions.c.id == bindparam("of", type_=Uuid))
)


async def set_failing(database: Database, subscription: UUID, since: datetime | None) -> None:
    """Note since when a subscription has nothing but failures (None: it is healthy)."""
    await _FAILING.run(database.settle, of=subscription, since=since)


def _disable() -> Statement:
    closed = (
        update(subscriptions)
        .values(disabled_at=bindparam("at", type_=Time), disabled_reason=bindparam("reason", type_=Text))
        .where(subscriptions.c.id == bindparam("of", type_=Uuid), subscriptions.c.disabled_at.is_(None))
        .returning(subscriptions.c.id, subscriptions.c.client, subscriptions.c.hook)
        .cte("closed")
    )
    tx = cast(cast(func.pg_current_xact_id(), Text), BigInteger) + bindparam("tx_offset", type_=BigInteger)
    subject = bindparam("subject", type_=Uuid)
    told = (
        insert(events)
        .from_select(
            ["subject", "sequence", "client", "tx", "at", "type", "body"],
            select(
                subject,
                literal_column("1"),
                closed.c.client,
                tx,
                bindparam("at", type_=Time),
                literal_column(f"'{EventType.SUBSCRIPTION_DISABLED}'"),
                bindparam("body", type_=LargeBinary),
            ),
        )
        .cte("told")
    )
    others = subscriptions.alias("others")
    patterns: ColumnElement[Any] = array(
        [
            literal_column("'*'"),
            literal_column("'subscription.*'"),
            literal_column(f"'{EventType.SUBSCRIPTION_DISABLED}'"),
        ]
    )
    due = (
        insert(pending_deliveries)
        .from_select(
            ["subject", "sequence", "subscription", "shard", "attempt", "due_at"],
            select(subject, literal_column("1"), others.c.id, shard_of(others.c.id), literal_column("0"), func.now())
            .select_from(closed)
            .join(
                others,
                and_(
                    others.c.client == closed.c.client,
                    others.c.id != closed.c.id,
                    ~others.c.hook,
                    others.c.disabled_at.is_(None),
                    others.c.events.op("&&")(patterns),
                ),
            ),
        )
        .cte("due")
    )
    return Statement(select(closed.c.id).add_cte(told, due))


_DISABLE = _disable()


async def disable(database: Database, subscription: UUID, reason: str, event: Event) -> bool:
    """Disable a subscription and announce `event` to the client's others; False where it was disabled already."""
    found = await _DISABLE.scalar(
        database.pool,
        of=subscription,
        at=event.at,
        reason=reason,
        subject=event.subject,
        body=event.body,
        tx_offset=database.tx_offset,
    )
    return found is not None
