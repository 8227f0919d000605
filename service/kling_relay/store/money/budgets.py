"""Budgets: the limits of clients and keys, their rows locked while an order is checked, and thresholds announced.

Only a row that has a limit is ever locked. A threshold is announced in the transaction of whoever saw it reached
first; its row in `budget_alerts` lets nobody announce it again in the same window.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    LargeBinary,
    Numeric,
    Select,
    SmallInteger,
    Table,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    cast,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import array, insert

from kling_relay.core.budget import LIMIT_NAMES, Limits
from kling_relay.core.event import Event, EventType
from kling_relay.store.deliveries.shards import shard_of
from kling_relay.store.money.balances import Spender
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Columns, Connection, Row, Runner, Statement, columns_of, unnested
from kling_relay.store.tables import Time, budget_alerts, clients, events, keys, pending_deliveries, subscriptions

_client = bindparam("client", type_=Uuid)
_key = bindparam("key", type_=Uuid)


def _limits(table: Table) -> list[ColumnElement[Any]]:
    return [table.c[f"limit_{name}"] for name in LIMIT_NAMES]


def _limited(table: Table) -> ColumnElement[bool]:
    return or_(*(column.is_not(None) for column in _limits(table)))


def _of_client() -> Select[Any]:
    return select(clients.c.id.label("client"), null().label("key"), clients.c.name, *_limits(clients))


def _of_key() -> Select[Any]:
    return select(keys.c.client, keys.c.id.label("key"), keys.c.name, *_limits(keys))


_IS_LIMITED = Statement(
    select(
        or_(
            exists(select(clients.c.id).where(clients.c.id == _client, _limited(clients))),
            exists(select(keys.c.id).where(keys.c.id == _key, _limited(keys))),
        )
    )
)
_LOCK_CLIENT = Statement(_of_client().where(clients.c.id == _client, _limited(clients)).with_for_update(key_share=True))
_LOCK_KEYS = Statement(
    _of_key()
    .where(keys.c.id == any_(bindparam("keys", type_=ARRAY(Uuid))), _limited(keys))
    .order_by(keys.c.id)
    .with_for_update(key_share=True)
)
_CLIENT = Statement(_of_client().where(clients.c.id == _client))
_KEY = Statement(_of_key().where(keys.c.id == _key))
_LIMITED_CLIENTS = Statement(_of_client().where(_limited(clients)).order_by(clients.c.name))
_LIMITED_KEYS = Statement(_of_key().where(_limited(keys), keys.c.revoked_at.is_(None)).order_by(keys.c.name))


async def is_limited(database: Database, client: UUID, key: UUID) -> bool:
    """Return whether this client or this key has a limit."""
    return bool(await _IS_LIMITED.scalar(database.pool, client=client, key=key))


async def locked(connection: Connection, client: UUID, own: Iterable[UUID]) -> list[Spender]:
    """Lock the rows of the client and of these keys of it that have limits, until the transaction ends; return them.

    Always the client first and the keys in order, so that no two wait for one another.
    """
    found = [*await _LOCK_CLIENT.rows(connection, client=client), *await _LOCK_KEYS.rows(connection, keys=[*own])]
    return [_spender(row) for row in found]


async def spenders(runner: Runner, client: UUID, key: UUID) -> list[Spender]:
    """Return the client and the key as spenders, with limits or without."""
    rows = (await _CLIENT.row(runner, client=client), await _KEY.row(runner, key=key))
    return [_spender(row) for row in rows if row is not None]


async def limited(database: Database) -> list[Spender]:
    """Return every client and every key in force that has a limit."""
    rows = [*await _LIMITED_CLIENTS.rows(database.pool), *await _LIMITED_KEYS.rows(database.pool)]
    return [_spender(row) for row in rows]


def _set(table: Table) -> Statement:
    column = table.c.id if table is clients else table.c.client
    return Statement(
        update(table)
        .values({f"limit_{name}": bindparam(f"most_{name}", type_=Numeric) for name in LIMIT_NAMES})
        .where(or_(table.c.name == bindparam("named", type_=Text), table.c.id == bindparam("of", type_=Uuid)))
        .returning(column.label("client"), table.c.id)
    )


_SET_CLIENT = _set(clients)
_SET_KEY = _set(keys)


async def set_limits(database: Database, name: str, limits: Limits, *, of_key: bool) -> int:
    """Set the limits of the client, or of the keys, of this name or id; return how many there were."""
    try:
        identifier = UUID(name)
    except ValueError:
        identifier = None
    limit = {f"most_{each}": getattr(limits, each) for each in LIMIT_NAMES}
    found = await (_SET_KEY if of_key else _SET_CLIENT).rows(database.pool, named=name, of=identifier, **limit)
    return len(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """A threshold to be announced once per spender, limit, window, limit's size and percentage."""

    spender: UUID
    limit_name: str
    window_start: datetime
    allowed: Decimal
    percent: int
    event: Event

    @property
    def identity(self) -> tuple[object, ...]:
        return self.spender, self.limit_name, self.window_start, self.allowed, self.percent


_NEWS: Columns = {
    "spender": Uuid,
    "limit_name": Text,
    "window_start": Time,
    "allowed": Numeric,
    "percent": SmallInteger,
    "at": Time,
    "subject": Uuid,
    "client": Uuid,
    "body": LargeBinary,
}
_CROSSING = ("spender", "limit_name", "window_start", "allowed", "percent")


def _announce() -> Statement:
    news = unnested("news", **_NEWS)
    noted = (
        insert(budget_alerts)
        .from_select([*_CROSSING, "at"], select(*(news.c[name] for name in (*_CROSSING, "at"))))
        .on_conflict_do_nothing()
        .returning(*(budget_alerts.c[name] for name in _CROSSING))
        .cte("noted")
    )
    fresh = (
        select(news.c.subject, news.c.client, news.c.at, news.c.body)
        .select_from(noted)
        .join(news, and_(*(news.c[name] == noted.c[name] for name in _CROSSING)))
        .cte("fresh")
    )
    one: ColumnElement[int] = literal_column("1")
    tx = cast(cast(func.pg_current_xact_id(), Text), BigInteger) + bindparam("tx_offset", type_=BigInteger)
    kind: ColumnElement[str] = literal_column(f"'{EventType.BUDGET_THRESHOLD}'")
    told = (
        insert(events)
        .from_select(
            ["subject", "sequence", "client", "tx", "at", "type", "body"],
            select(fresh.c.subject, one, fresh.c.client, tx, fresh.c.at, kind, fresh.c.body),
        )
        .cte("told")
    )
    patterns: ColumnElement[Any] = array([literal_column("'*'"), literal_column("'budget.*'"), kind])
    wanted = and_(
        subscriptions.c.client == fresh.c.client,
        ~subscriptions.c.hook,
        subscriptions.c.disabled_at.is_(None),
        subscriptions.c.events.op("&&")(patterns),
    )
    due = (
        insert(pending_deliveries)
        .from_select(
            ["subject", "sequence", "subscription", "shard", "attempt", "due_at"],
            select(
                fresh.c.subject,
                one,
                subscriptions.c.id,
                shard_of(subscriptions.c.id),
                literal_column("0"),
                func.now(),
            )
            .select_from(fresh)
            .join(subscriptions, wanted),
        )
        .cte("due")
    )
    return Statement(select(fresh.c.subject).add_cte(told, due))


_ANNOUNCE = _announce()


async def announce(connection: Connection, tx_offset: int, reached: Sequence[Announced]) -> int:
    """Announce what was not announced before, in the transaction that `connection` is in; return how many."""
    rows = [
        (*(getattr(each, name) for name in _CROSSING), each.event.at, each.event.subject, each.event.client,
         each.event.body)
        for each in reached
    ]  # fmt: skip
    found = await _ANNOUNCE.rows(connection, tx_offset=tx_offset, **columns_of("news", list(_NEWS), rows))
    return len(found)


def _spender(row: Row) -> Spender:
    written = dict(row.items())
    limits = Limits(**{name: written[f"limit_{name}"] for name in LIMIT_NAMES})
    return Spender(client=written["client"], key=written["key"], name=written["name"], limits=limits)
