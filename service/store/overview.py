"""One client's own figures over a span of time, at a bounded cost whatever its traffic.

Time is cut into bins; of each bin at most `PER_BIN` tasks are looked at, of each subscription at most
`PER_SUBSCRIPTION` of its newest attempts. Where a bin has more, its number is reckoned from how much of the bin the
looked-at ones cover, and says that it is an estimate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    Integer,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    extract,
    func,
    literal_column,
    select,
    true,
    tuple_,
    union_all,
)

from service.core.ids import lower_bound
from service.core.task import FINAL, Status
from service.store.database import Database
from service.store.schema import Time, attempts, subscriptions, tasks
from service.store.statement import Row, Statement, columns_of, unnested

PER_BIN = 400
PER_SUBSCRIPTION = 1000
MOST_SUBSCRIPTIONS = 200
HOOK_WINDOW = 2000
"""Hooks are found in so many of the client's newest tasks."""
NEVER = 1_000_000
"""The bin in which something ends that has not ended."""

_CLIENT = bindparam("client", type_=Uuid)
_SINCE = bindparam("since", type_=Time)
_WIDTH = bindparam("width", type_=Float)
_LOW = bindparam("low", type_=Uuid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A span of time in bins of equal width."""

    since: datetime
    width: timedelta
    count: int

    @property
    def until(self) -> datetime:
        return self.since + self.count * self.width


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was counted: tasks or attempts, how they ended, and how long they took in seconds."""

    seen: int = 0
    good: int = 0
    bad: int = 0
    p50: float | None = None
    p95: float | None = None
    last_at: datetime | None = None
    """When the last one looked at was made; by it a bin that has more is reckoned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Figures of a whole, by bin and by key (subscription or error), and how many lasted from one bin to another."""

    whole: Figures
    bins: dict[int, Figures]
    keyed: dict[Any, Figures]
    errors: dict[str, int]
    lasting: dict[tuple[int, int], int]


def _bin(at: ColumnElement[datetime]) -> ColumnElement[int]:
    seconds = extract("epoch", at) - extract("epoch", _SINCE)
    return cast(func.floor(cast(seconds, Float) / _WIDTH), Integer)


def _figures(good: ColumnElement[bool], bad: ColumnElement[bool], took: ColumnElement[float]) -> list[Any]:
    def part(share: str) -> ColumnElement[float]:
        return func.percentile_cont(literal_column(share)).within_group(took).filter(good)

    return [
        func.count().label("seen"),
        func.count().filter(good).label("good"),
        func.count().filter(bad).label("bad"),
        part("0.5").label("p50"),
        part("0.95").label("p95"),
    ]


def _tasks() -> Statement:
    span = unnested("span", number=Integer, low=Uuid, high=Uuid)
    seen = (
        select(tasks.c.status, tasks.c.created_at, tasks.c.updated_at)
        .where(tasks.c.client == _CLIENT, tasks.c.id >= span.c.low, tasks.c.id < span.c.high)
        .order_by(tasks.c.id)
        .limit(bindparam("most", type_=BigInteger))
        .lateral("seen")
    )
    final = seen.c.status.in_([literal_column(f"'{status}'") for status in sorted(FINAL)])
    failed = seen.c.status.in_([literal_column(f"'{status}'") for status in (Status.FAILED, Status.EXPIRED)])
    rows = (
        select(
            span.c.number.label("began"),
            case((final, _bin(seen.c.updated_at)), else_=literal_column(str(NEVER))).label("ended"),
            (seen.c.status == literal_column("'succeed'")).label("good"),
            failed.label("bad"),
            cast(extract("epoch", seen.c.updated_at - seen.c.created_at), Float).label("took"),
            seen.c.created_at,
        )
        .select_from(span.join(seen, true()))
        .subquery("rows")
    )
    sets = func.grouping_sets(tuple_(rows.c.began), tuple_(rows.c.began, rows.c.ended), tuple_())
    return Statement(
        select(
            func.grouping(rows.c.began, rows.c.ended).label("level"),
            rows.c.began,
            rows.c.ended,
            *_figures(rows.c.good, rows.c.bad, rows.c.took),
            func.max(rows.c.created_at).label("last_at"),
        ).group_by(sets)
    )


def _attempts() -> Statement:
    mine = unnested("mine", id=Uuid)
    seen = (
        select(
            *(attempts.c[name] for name in ("subject", "sequence", "at", "latency", "status", "outcome", "error")),
        )
        .where(attempts.c.subscription == mine.c.id, attempts.c.subject >= _LOW)
        .order_by(attempts.c.subject.desc(), attempts.c.sequence.desc())
        .limit(bindparam("most", type_=BigInteger))
        .lateral("seen")
    )
    delivered = seen.c.outcome == literal_column("'delivered'")
    word = func.split_part(func.coalesce(seen.c.error, literal_column("'?'")), literal_column("':'"), 1)
    rows = (
        select(
            mine.c.id.label("of"),
            _bin(seen.c.at).label("began"),
            delivered.label("good"),
            (~delivered).label("bad"),
            case((~delivered, func.coalesce(cast(seen.c.status, Text), word))).label("code"),
            cast(seen.c.latency, Float).label("took"),
        )
        .select_from(mine.join(seen, true()))
        .where(seen.c.at >= _SINCE)
        .subquery("rows")
    )
    sets = func.grouping_sets(tuple_(rows.c.began), tuple_(rows.c.of), tuple_(rows.c.code), tuple_())
    return Statement(
        select(
            func.grouping(rows.c.began, rows.c.of, rows.c.code).label("level"),
            rows.c.began,
            rows.c.of,
            rows.c.code,
            *_figures(rows.c.good, rows.c.bad, rows.c.took),
        ).group_by(sets)
    )


def _retried() -> Statement:
    """Return from when to when deliveries lasted that were not delivered in the bin of their first attempt."""
    mine = unnested("mine", id=Uuid)
    seen = (
        select(attempts.c.subject, attempts.c.sequence, attempts.c.at, attempts.c.outcome)
        .where(attempts.c.subscription == mine.c.id, attempts.c.subject >= _LOW)
        .order_by(attempts.c.subject.desc(), attempts.c.sequence.desc())
        .limit(bindparam("most", type_=BigInteger))
        .lateral("seen")
    )
    ended = func.max(seen.c.at).filter(seen.c.outcome != literal_column("'failed'"))
    one = (
        select(
            _bin(func.min(seen.c.at)).label("began"),
            func.coalesce(_bin(ended), literal_column(str(NEVER))).label("ended"),
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
_most: ColumnElement[int] = literal_column(str(MOST_SUBSCRIPTIONS))
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
_TASKS = _tasks()
_ATTEMPTS = _attempts()
_RETRIED = _retried()


async def mine(database: Database, client: UUID, only: UUID | None = None) -> list[UUID]:
    """Return the client's subscriptions and the hooks of its newest tasks; with `only` at most that one."""
    if only is None:
        rows = await _MINE.rows(database.pool, client=client)
    else:
        rows = await _IS_MINE.rows(database.pool, client=client, of=only)
    return [row["id"] for row in rows]


async def count_tasks(database: Database, client: UUID, window: Window) -> Counted:
    """Return the figures of the client's tasks ordered in the window."""
    edges = [window.since + number * window.width for number in range(window.count + 1)]
    bins = [(number, lower_bound(edges[number]), lower_bound(edges[number + 1])) for number in range(window.count)]
    rows = await _TASKS.rows(
        database.pool,
        client=client,
        most=PER_BIN,
        since=window.since,
        width=window.width.total_seconds(),
        **columns_of("span", ["number", "low", "high"], bins),
    )
    return Counted(
        whole=next((_read(row) for row in rows if row["level"] == 3), Figures()),
        bins={row["began"]: _read(row) for row in rows if row["level"] == 1},
        keyed={},
        errors={},
        lasting={(row["began"], row["ended"]): row["seen"] for row in rows if row["level"] == 0},
    )


async def count_attempts(database: Database, of: Sequence[UUID], window: Window) -> Counted:
    """Return the figures of the newest attempts of these subscriptions, for events of the window's tasks."""
    given = {
        "most": PER_SUBSCRIPTION,
        "low": lower_bound(window.since),
        "since": window.since,
        "width": window.width.total_seconds(),
        "mine_id": list(of),
    }
    rows = await _ATTEMPTS.rows(database.pool, **given)
    lasting = await _RETRIED.rows(database.pool, **given)
    return Counted(
        whole=next((_read(row) for row in rows if row["level"] == 7), Figures()),
        bins={row["began"]: _read(row) for row in rows if row["level"] == 3},
        keyed={row["of"]: _read(row) for row in rows if row["level"] == 5},
        errors={row["code"]: row["seen"] for row in rows if row["level"] == 6 and row["code"] is not None},
        lasting={(row["began"], row["ended"]): row["seen"] for row in lasting},
    )


def _read(row: Row) -> Figures:
    return Figures(
        seen=row["seen"],
        good=row["good"],
        bad=row["bad"],
        p50=row["p50"],
        p95=row["p95"],
        last_at=row.get("last_at"),
    )
