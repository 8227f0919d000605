"""Subscriptions as rows: made, read, changed, paused, rotated and deleted by the client whose they are.

Secrets and headers come and go encrypted: secrets as a JSON list, newest first, the older ones good until
`old_secrets_until`. A hook (an order's own `notify_hook`) is a row too, named by client and URL, shared by all orders
with it, without secrets of its own: what goes to it is signed with the client's hook secret.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    LargeBinary,
    SmallInteger,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    null,
    select,
    update,
)
from sqlalchemy.dialects import postgresql

from kling_relay.core.event import BodyFormat
from kling_relay.core.ids import hook_id
from kling_relay.core.subscription import DEFAULT_IN_FLIGHT, Ordering, SubscriptionOptions
from kling_relay.store.access import headers
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Columns, Row, Runner, Statement
from kling_relay.store.tables import Time, subscriptions

MAX_PER_CLIENT = 1000
"""Subscriptions that a client may have, hooks not counted; each costs something on every event of the client's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription as it is kept; `headers` and `secrets` are encrypted, and a hook has no secrets."""

    id: UUID
    client: UUID
    hook: bool = False
    wish: SubscriptionOptions
    headers: bytes = field(default=b"", repr=False)
    secrets: bytes = field(repr=False)
    old_secrets_until: datetime | None = None
    failing_since: datetime | None = None
    paused_at: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionUpdate:
    """What is to be different about a subscription; None is left as it is. `headers` is encrypted."""

    url: str | None = None
    events: tuple[str, ...] | None = None
    description: str | None = None
    headers: bytes | None = field(default=None, repr=False)
    format: BodyFormat | None = None
    ordering: Ordering | None = None
    max_in_flight: int | None = None


_WISH: Columns = {
    "url": Text,
    "events": ARRAY(Text),
    "description": Text,
    "format": Text,
    "ordering": Text,
    "max_in_flight": SmallInteger,
}
_ALL = (
    *(column for column in subscriptions.c if column.name not in {"headers", "encrypted_headers"}),
    headers.STORED.label("headers"),
)
_ROW = select(*_ALL)
_ID, _CLIENT, _NOW = bindparam("of", type_=Uuid), bindparam("client", type_=Uuid), bindparam("now", type_=Time)
_OWN = and_(subscriptions.c.id == _ID, subscriptions.c.client == _CLIENT)


def _create() -> Statement:
    new: Columns = {
        "id": Uuid,
        "client": Uuid,
        "hook": Boolean,
        **_WISH,
        "encrypted_headers": LargeBinary,
        "secrets": LargeBinary,
        "created_at": Time,
        "updated_at": Time,
    }
    already = select(func.count()).where(subscriptions.c.client == _CLIENT, ~subscriptions.c.hook).scalar_subquery()
    values = select(*(cast(bindparam(name, type_=kind), kind) for name, kind in new.items()))
    return Statement(
        insert(subscriptions)
        .from_select(list(new), values.where(already < bindparam("limit", type_=BigInteger)))
        .returning(subscriptions.c.id)
    )


def _change() -> Statement:
    fresh: dict[str, ColumnElement[Any]] = {
        name: func.coalesce(bindparam(f"new_{name}", type_=kind), subscriptions.c[name]) for name, kind in _WISH.items()
    }
    ciphertext = bindparam("new_headers", type_=LargeBinary)
    fresh["encrypted_headers"] = func.coalesce(ciphertext, subscriptions.c.encrypted_headers)
    fresh["headers"] = case((ciphertext.is_(None), subscriptions.c.headers), else_=headers.NO_PLAINTEXT)
    return Statement(update(subscriptions).values(updated_at=_NOW, **fresh).where(_OWN).returning(*_ALL))


def _hook() -> Statement:
    values: dict[str, Any] = {
        "id": bindparam("id", type_=Uuid),
        "client": _CLIENT,
        "hook": True,
        "url": bindparam("url", type_=Text),
        "events": bindparam("events", type_=ARRAY(Text)),
        "format": BodyFormat.KLING.value,
        "ordering": Ordering.NONE.value,
        "max_in_flight": DEFAULT_IN_FLIGHT,
        "secrets": b"",
        "created_at": _NOW,
        "updated_at": _NOW,
    }
    made = postgresql.insert(subscriptions).values(**values)
    return Statement(
        made.on_conflict_do_update(
            index_elements=[subscriptions.c.id],
            set_={"disabled_at": null(), "disabled_reason": null(), "failing_since": null(), "updated_at": _NOW},
            where=subscriptions.c.disabled_at.is_not(None),
        )
    )


_CREATE = _create()
_CHANGE = _change()
_HOOK = _hook()
_GET = Statement(_ROW.where(_OWN))
_LIST = Statement(
    _ROW.where(
        subscriptions.c.client == _CLIENT, ~subscriptions.c.hook, subscriptions.c.id < bindparam("before", type_=Uuid)
    )
    .order_by(subscriptions.c.id.desc())
    .limit(bindparam("limit", type_=BigInteger))
)
_ROTATE = Statement(
    update(subscriptions)
    .values(
        secrets=bindparam("new_secrets"),
        old_secrets_until=bindparam("until", type_=Time),
        updated_at=_NOW,
    )
    .where(_OWN, ~subscriptions.c.hook, subscriptions.c.secrets == bindparam("old_secrets"))
)
_PAUSE = Statement(
    update(subscriptions)
    .values(paused_at=func.coalesce(subscriptions.c.paused_at, _NOW), updated_at=_NOW)
    .where(_OWN)
    .returning(*_ALL)
)
_RESUME = Statement(
    update(subscriptions)
    .values(paused_at=null(), disabled_at=null(), disabled_reason=null(), failing_since=null(), updated_at=_NOW)
    .where(_OWN)
    .returning(*_ALL)
)


async def create(database: Database, new: Subscription) -> bool:
    """Write a subscription; False where the client has `MAX_PER_CLIENT` already."""
    made = await _CREATE.scalar(
        database.pool,
        id=new.id,
        client=new.client,
        hook=new.hook,
        encrypted_headers=new.headers,
        secrets=new.secrets,
        created_at=new.created_at,
        updated_at=new.updated_at,
        limit=MAX_PER_CLIENT,
        **_columns(new.wish),
    )
    return made is not None


async def get(database: Database, client: UUID, identifier: UUID) -> Subscription | None:
    """Return the client's subscription or hook of this id, or None."""
    return _maybe(await _GET.row(database.pool, of=identifier, client=client))


async def page(database: Database, client: UUID, before: UUID | None, limit: int) -> list[Subscription]:
    """Return up to `limit` of the client's subscriptions, newest first, older than `before`; hooks are left out."""
    last = before or UUID(int=(1 << 128) - 1)
    return [_read(row) for row in await _LIST.rows(database.pool, client=client, before=last, limit=limit)]


async def change(
    database: Database, client: UUID, identifier: UUID, wanted: SubscriptionUpdate, now: datetime
) -> Subscription | None:
    """Change what `wanted` names and return the subscription as it is then; None where there is none."""
    new = {f"new_{name}": value for name, value in _columns(wanted).items()}
    new["new_headers"] = wanted.headers
    return _maybe(await _CHANGE.row(database.pool, of=identifier, client=client, now=now, **new))


async def set_secrets(
    database: Database, old: Subscription, ciphertext: bytes, old_until: datetime | None, now: datetime
) -> bool:
    """Replace the secrets of a subscription as it was read; False where somebody else was quicker."""
    touched = await _ROTATE.run(
        database.pool,
        of=old.id,
        client=old.client,
        new_secrets=ciphertext,
        old_secrets=old.secrets,
        until=old_until,
        now=now,
    )
    return touched == 1


async def pause(database: Database, client: UUID, identifier: UUID, now: datetime) -> Subscription | None:
    """Let its deliveries wait; they gather, and none is lost."""
    return _maybe(await _PAUSE.row(database.pool, of=identifier, client=client, now=now))


async def resume(database: Database, client: UUID, identifier: UUID, now: datetime) -> Subscription | None:
    """Deliver again, also where it had been disabled; its health begins anew."""
    return _maybe(await _RESUME.row(database.pool, of=identifier, client=client, now=now))


async def ensure_hook(runner: Runner, client: UUID, url: str, now: datetime) -> UUID:
    """Make sure that the client has a hook for `url`, enabled again where it was disabled, and return its id."""
    identifier = hook_id(client, url)
    await _HOOK.run(runner, id=identifier, client=client, url=url, events=["task.*"], now=now)
    return identifier


def _columns(wish: SubscriptionOptions | SubscriptionUpdate) -> dict[str, Any]:
    return {
        "url": wish.url,
        "events": None if wish.events is None else list(wish.events),
        "description": wish.description,
        "format": wish.format,
        "ordering": wish.ordering,
        "max_in_flight": wish.max_in_flight,
    }


def _maybe(row: Row | None) -> Subscription | None:
    return None if row is None else _read(row)


def _read(row: Row) -> Subscription:
    rest = {name: value for name, value in row.items() if name not in _WISH}
    wish = SubscriptionOptions(
        url=row["url"],
        events=tuple(row["events"]),
        description=row["description"],
        format=BodyFormat(row["format"]),
        ordering=Ordering(row["ordering"]),
        max_in_flight=row["max_in_flight"],
    )
    return Subscription(wish=wish, **rest)
