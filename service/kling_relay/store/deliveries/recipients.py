"""Recipients: what delivering to a subscription needs to know, and the two facts that delivering finds out about it.

A subscription is marked as failing at its first failure, and as healthy at its next success. When one is disabled, the
same statement sends its client's other subscriptions an event.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from kling_relay.core.event import Event
from kling_relay.store.access import subscription_headers
from kling_relay.store.deliveries.fan_out import FAN_OUT, recipients_select
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Statement

_SQL = load_sql(
    __name__,
    stored_headers=str(subscription_headers.STORED),
    fan_out=FAN_OUT,
    recipients=recipients_select("subscription"),
)
_READ = Statement(_SQL["read_recipients"])
_SET_FAILING = Statement(_SQL["set_failing"])
_DISABLE = Statement(_SQL["disable"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A subscription as delivering needs it. Headers and secrets are encrypted.

    A hook has no `secrets`: what it gets is signed with `hook_secret`, its client's.
    """

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
    probe_at: datetime | None = field(compare=False)
    paused_at: datetime | None
    disabled_at: datetime | None

    @property
    def is_open(self) -> bool:
        return self.paused_at is None and self.disabled_at is None


async def read(database: Database, ids: Sequence[UUID]) -> dict[UUID, Recipient]:
    """Return these subscriptions; a deleted one is missing."""
    rows = await _READ.rows(database.settle, ids=list(ids))
    return {row["id"]: Recipient(**dict(row.items())) for row in rows}


async def set_failing(
    database: Database, subscription: UUID, since: datetime | None, probe_at: datetime | None
) -> None:
    """Note since when every attempt for a subscription has failed (None: it is healthy), and when it is probed next.

    Without a `probe_at` it is not broken, and its deliveries are made when they are due.
    """
    await _SET_FAILING.run(database.settle, id=subscription, since=since, probe_at=probe_at)


async def disable(database: Database, subscription: UUID, reason: str, event: Event) -> bool:
    """Disable a subscription and send `event` to the client's others; False if it was disabled already."""
    disabled = await _DISABLE.scalar(
        database.pool,
        id=subscription,
        at=event.at,
        reason=reason,
        subject=event.subject,
        type=event.type,
        body=event.body,
        tx_offset=database.tx_offset,
    )
    return disabled is not None
