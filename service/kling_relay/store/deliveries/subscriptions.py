"""Subscriptions as rows: created, read, changed, paused, rotated and deleted by their client.

Secrets and headers are encrypted here: secrets as a JSON list, newest first, the older ones valid until
`old_secrets_until`. A hook (an order's own `notify_hook`) is a row too. It is named by client and URL, shared by all
orders with that URL, and has no secrets: its client's hook secret signs what it gets. It is removed when no partition
can have an order that named it (`unsubscribe.remove_unused_hooks`).
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from kling_relay.core.event import BodyFormat
from kling_relay.core.ids import MAX_ID, hook_id
from kling_relay.core.subscription import DEFAULT_IN_FLIGHT, Ordering, SubscriptionOptions
from kling_relay.store.access import subscription_headers
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Row, Runner, Statement

MAX_PER_CLIENT = 1000
"""Subscriptions that a client may have, hooks not counted; each costs something on every event of the client's."""

HOOK_USE_NOTED_EVERY = timedelta(days=1)
"""An order writes to its hook only if `last_used_at` is older than this."""

_OPTIONS = ("url", "events", "description", "format", "ordering", "max_in_flight")
_REST = (
    "id, client, hook, secrets, old_secrets_until, failing_since, paused_at, disabled_at, disabled_reason, "
    "expired_deliveries, created_at, updated_at"
)
_SQL = load_sql(
    __name__,
    columns=f"{', '.join(_OPTIONS)}, {_REST}, {subscription_headers.STORED} AS headers",
    stored_headers=str(subscription_headers.STORED),
)
_CREATE = Statement(_SQL["create"])
_GET = Statement(_SQL["get"])
_LIST = Statement(_SQL["list"])
_UPDATE = Statement(_SQL["update"])
_SET_SECRETS = Statement(_SQL["set_secrets"])
_PAUSE = Statement(_SQL["pause"])
_RESUME = Statement(_SQL["resume"])
_ENSURE_HOOK = Statement(_SQL["ensure_hook"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription as it is stored. `headers` and `secrets` are encrypted; a hook has no secrets."""

    id: UUID
    client: UUID
    hook: bool = False
    options: SubscriptionOptions
    headers: bytes = field(default=b"", repr=False)
    secrets: bytes = field(repr=False)
    old_secrets_until: datetime | None = None
    failing_since: datetime | None = None
    paused_at: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    expired_deliveries: int = 0
    """Deliveries that were given up because RELAY_RETENTION ended before they could be made."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionUpdate:
    """Changes to a subscription; None leaves a member as it is. `headers` is encrypted."""

    url: str | None = None
    events: tuple[str, ...] | None = None
    description: str | None = None
    headers: bytes | None = field(default=None, repr=False)
    format: BodyFormat | None = None
    ordering: Ordering | None = None
    max_in_flight: int | None = None


async def create(database: Database, subscription: Subscription) -> bool:
    """Write a subscription; False if the client has `MAX_PER_CLIENT` already."""
    identifier = await _CREATE.scalar(
        database.pool,
        id=subscription.id,
        client=subscription.client,
        hook=subscription.hook,
        encrypted_headers=subscription.headers,
        secrets=subscription.secrets,
        created_at=subscription.created_at,
        updated_at=subscription.updated_at,
        limit=MAX_PER_CLIENT,
        **_options(subscription.options),
    )
    return identifier is not None


async def get(database: Database, client: UUID, identifier: UUID) -> Subscription | None:
    """Return the client's subscription or hook of this id, or None."""
    return _subscription(await _GET.row(database.pool, id=identifier, client=client))


async def page(database: Database, client: UUID, before: UUID | None, limit: int) -> list[Subscription]:
    """Return up to `limit` of the client's subscriptions, newest first, older than `before`; hooks are left out."""
    rows = await _LIST.rows(database.reports, client=client, before=before or MAX_ID, limit=limit)
    return [_from_row(row) for row in rows]


async def update(
    database: Database, subscription: Subscription, changes: SubscriptionUpdate, now: datetime
) -> Subscription | None:
    """Make the changes to a subscription as it was read, and return it as it is then.

    None if its URL or headers were changed meanwhile, so that headers never meet a URL that they were not given for.
    """
    row = await _UPDATE.row(
        database.pool,
        id=subscription.id,
        client=subscription.client,
        old_url=subscription.options.url,
        old_headers=subscription.headers,
        now=now,
        headers=changes.headers,
        **_options(changes),
    )
    return _subscription(row)


async def set_secrets(
    database: Database, subscription: Subscription, secrets: bytes, old_until: datetime | None, now: datetime
) -> bool:
    """Replace the secrets of a subscription as it was read; False if they were replaced meanwhile."""
    count = await _SET_SECRETS.run(
        database.pool,
        id=subscription.id,
        client=subscription.client,
        new_secrets=secrets,
        old_secrets=subscription.secrets,
        old_secrets_until=old_until,
        now=now,
    )
    return count == 1


async def pause(database: Database, client: UUID, identifier: UUID, now: datetime) -> Subscription | None:
    """Let its deliveries wait; none is lost."""
    return _subscription(await _PAUSE.row(database.pool, id=identifier, client=client, now=now))


async def resume(database: Database, client: UUID, identifier: UUID, now: datetime) -> Subscription | None:
    """Deliver again, even if it was disabled, from a clean record."""
    return _subscription(await _RESUME.row(database.pool, id=identifier, client=client, now=now))


async def ensure_hook(runner: Runner, client: UUID, url: str, now: datetime) -> UUID:
    """Make sure that the client has an enabled hook for `url`, note that it is used, and return its id."""
    identifier = hook_id(client, url)
    await _ENSURE_HOOK.run(
        runner,
        id=identifier,
        client=client,
        url=url,
        events=["task.*"],
        format=BodyFormat.KLING,
        ordering=Ordering.NONE,
        max_in_flight=DEFAULT_IN_FLIGHT,
        now=now,
        used_every=HOOK_USE_NOTED_EVERY,
    )
    return identifier


def _options(options: SubscriptionOptions | SubscriptionUpdate) -> dict[str, Any]:
    return {
        "url": options.url,
        "events": None if options.events is None else list(options.events),
        "description": options.description,
        "format": options.format,
        "ordering": options.ordering,
        "max_in_flight": options.max_in_flight,
    }


def _subscription(row: Row | None) -> Subscription | None:
    return None if row is None else _from_row(row)


def _from_row(row: Row) -> Subscription:
    rest = {name: value for name, value in row.items() if name not in _OPTIONS}
    options = SubscriptionOptions(
        url=row["url"],
        events=tuple(row["events"]),
        description=row["description"],
        format=BodyFormat(row["format"]),
        ordering=Ordering(row["ordering"]),
        max_in_flight=row["max_in_flight"],
    )
    return Subscription(options=options, **rest)
