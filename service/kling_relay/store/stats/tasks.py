"""One client's own figures over a span of time, at a bounded cost whatever its traffic.

Time is cut into bins; of each bin at most `PER_BIN` tasks are looked at. Where a bin has more, its number is reckoned
from how much of the bin the looked-at ones cover, and says that it is an estimate. Attempts are counted in `tries`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    Integer,
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
)

from kling_relay.core.ids import lower_bound
from kling_relay.core.task import FINAL, Status
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Row, Statement, columns_of, unnested
from kling_relay.store.tables import Time, tasks

PER_BIN = 400
NEVER = 1_000_000
"""The bin in which something ends that has not ended."""

_CLIENT = bindparam("client", type_=Uuid)
SINCE = bindparam("since", type_=Time)
_WIDTH = bindparam("width", type_=Float)


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


def bin_of(at: ColumnElement[datetime]) -> ColumnElement[int]:
    """Return the number of the bin that a time is in."""
    seconds = extract("epoch", at) - extract("epoch", SINCE)
    return cast(func.floor(cast(seconds, Float) / _WIDTH), Integer)


def figures_of(good: ColumnElement[bool], bad: ColumnElement[bool], took: ColumnElement[float]) -> list[Any]:
    """Return the columns of figures; how long is reckoned of the good ones, in seconds."""

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
        .limit(bindparam("limit", type_=BigInteger))
        .lateral("seen")
    )
    final = seen.c.status.in_([literal_column(f"'{status}'") for status in sorted(FINAL)])
    failed = seen.c.status.in_([literal_column(f"'{status}'") for status in (Status.FAILED, Status.EXPIRED)])
    rows = (
        select(
            span.c.number.label("began"),
            case((final, bin_of(seen.c.updated_at)), else_=literal_column(str(NEVER))).label("ended"),
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
            *figures_of(rows.c.good, rows.c.bad, rows.c.took),
            func.max(rows.c.created_at).label("last_at"),
        ).group_by(sets)
    )


_TASKS = _tasks()


async def count_tasks(database: Database, client: UUID, window: Window) -> Counted:
    """Return the figures of the client's tasks ordered in the window."""
    edges = [window.since + number * window.width for number in range(window.count + 1)]
    bins = [(number, lower_bound(edges[number]), lower_bound(edges[number + 1])) for number in range(window.count)]
    rows = await _TASKS.rows(
        database.pool,
        client=client,
        limit=PER_BIN,
        since=window.since,
        width=window.width.total_seconds(),
        **columns_of("span", ["number", "low", "high"], bins),
    )
    return Counted(
        whole=next((read(row) for row in rows if row["level"] == 3), Figures()),
        bins={row["began"]: read(row) for row in rows if row["level"] == 1},
        keyed={},
        errors={},
        lasting={(row["began"], row["ended"]): row["seen"] for row in rows if row["level"] == 0},
    )


def read(row: Row) -> Figures:
    """Return the figures in a row that `figures_of` made."""
    return Figures(
        seen=row["seen"],
        good=row["good"],
        bad=row["bad"],
        p50=row["p50"],
        p95=row["p95"],
        last_at=row.get("last_at"),
    )
