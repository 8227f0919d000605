"""A client's attempts over a span of time: by bin, by subscription and by what was wrong, and how long each lasted.

Of each subscription the newest `PER_SUBSCRIPTION` attempts are looked at.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
    true,
    tuple_,
    union_all,
)

from kling_relay.core.ids import lower_bound
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Statement, unnested
from kling_relay.store.stats.tasks import NEVER, SINCE, Counted, Figures, Window, bin_of, figures_of, read
from kling_relay.store.tables import attempts, subscriptions, tasks

PER_SUBSCRIPTION = 1000
MAX_SUBSCRIPTIONS = 200
HOOK_WINDOW = 2000
"""Hooks are found in so many of the client's newest tasks."""

_CLIENT = bindparam("client", type_=Uuid)
_LOW = bindparam("low", type_=Uuid)


def _attempts() -> Statement:
    mine = unnested("mine", id=Uuid)
    seen = (
        select(
            *(attempts.c[name] for name in ("subject", "sequence", "at", "latency", "status", "outcome", "error")),
        )
        .where(attempts.c.subscription == mine.c.id, attempts.c.subject >= _LOW)
        .order_by(attempts.c.subject.desc(), attempts.c.sequence.desc())
        .limit(bindparam("limit", type_=BigInteger))
        .lateral("seen")
    )
    delivered = seen.c.outcome == literal_column("'delivered'")
    word = func.split_part(func.coalesce(seen.c.error, literal_column("'?'")), literal_column("':'"), 1)
    rows = (
        select(
            mine.c.id.label("of"),
            bin_of(seen.c.at).label("began"),
            delivered.label("good"),
            (~delivered).label("bad"),
            case((~delivered, func.coalesce(cast(seen.c.status, Text), word))).label("code"),
            cast(seen.c.latency, Float).label("took"),
        )
        .select_from(mine.join(seen, true()))
        .where(seen.c.at >= SINCE)
        .subquery("rows")
    )
    sets = func.grouping_sets(tuple_(rows.c.began), tuple_(rows.c.of), tuple_(rows.c.code), tuple_())
    return Statement(
        select(
            func.grouping(rows.c.began, rows.c.of, rows.c.code).label("level"),
            rows.c.began,
            rows.c.of,
            rows.c.code,
            *figures_of(rows.c.good, rows.c.bad, rows.c.took),
        ).group_by(sets)
    )


def _retried() -> Statement:
    """Return from when to when deliveries lasted that were not delivered in the bin of their first attempt."""
    mine = unnested("mine", id=Uuid)
    seen = (
        select(attempts.c.subject, attempts.c.sequence, attempts.c.at, attempts.c.outcome)
        .where(attempts.c.subscription == mine.c.id, attempts.c.subject >= _LOW)
        .order_by(attempts.c.subject.desc(), attempts.c.sequence.desc())
        .limit(bindparam("limit", type_=BigInteger))
        .lateral("seen")
    )
    ended = func.max(seen.c.at).filter(seen.c.outcome != literal_column("'failed'"))
    one = (
        select(
            bin_of(func.min(seen.c.at)).label("began"),
            func.coalesce(bin_of(ended), literal_column(str(NEVER))).label("ended"),
        )
        .select_from(mine.join(seen, true()))
        .group_by(mine.c.id, seen.c.subject, seen.c.sequence)
        .subquery("one")
    )
    return Statement(
        select(one.c.began, one.c.ended, func.count().label("seen"))
        .where(one.c.ended > one.c.began)
        .group_by(one.c.began, one.c.ended)
    )


_near = (
    select(tasks.c.hook)
    .where(tasks.c.client == _CLIENT)
    .order_by(tasks.c.id.desc())
    .limit(literal_column(str(HOOK_WINDOW)))
    .subquery("near")
)
_most: ColumnElement[int] = literal_column(str(MAX_SUBSCRIPTIONS))
_own = (
    select(subscriptions.c.id)
    .where(subscriptions.c.client == _CLIENT, ~subscriptions.c.hook)
    .order_by(subscriptions.c.id.desc())
    .limit(_most)
    .subquery("own")
)
_hooks = select(_near.c.hook).where(_near.c.hook.is_not(None)).distinct().limit(_most).subquery("hooks")
_MINE = Statement(union_all(select(_own.c.id), select(_hooks.c.hook)))
_IS_MINE = Statement(
    select(subscriptions.c.id).where(
        subscriptions.c.id == bindparam("of", type_=Uuid), subscriptions.c.client == _CLIENT
    )
)
_ATTEMPTS = _attempts()
_RETRIED = _retried()


async def mine(database: Database, client: UUID, only: UUID | None = None) -> list[UUID]:
    """Return the client's subscriptions and the hooks of its newest tasks; with `only` at most that one."""
    if only is None:
        rows = await _MINE.rows(database.pool, client=client)
    else:
        rows = await _IS_MINE.rows(database.pool, client=client, of=only)
    return [row["id"] for row in rows]


async def count_attempts(database: Database, of: Sequence[UUID], window: Window) -> Counted:
    """Return the figures of the newest attempts of these subscriptions, for events of the window's tasks."""
    given = {
        "limit": PER_SUBSCRIPTION,
        "low": lower_bound(window.since),
        "since": window.since,
        "width": window.width.total_seconds(),
        "mine_id": list(of),
    }
    rows = await _ATTEMPTS.rows(database.pool, **given)
    lasting = await _RETRIED.rows(database.pool, **given)
    return Counted(
        whole=next((read(row) for row in rows if row["level"] == 7), Figures()),
        bins={row["began"]: read(row) for row in rows if row["level"] == 3},
        keyed={row["of"]: read(row) for row in rows if row["level"] == 5},
        errors={row["code"]: row["seen"] for row in rows if row["level"] == 6 and row["code"] is not None},
        lasting={(row["began"], row["ended"]): row["seen"] for row in lasting},
    )
