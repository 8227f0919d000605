"""Figures of the whole database, read now and then by one worker for all; each statement is bounded in what it costs.

What is pending is counted in `store.backlog`; the rest here are a table of work that is thin, and catalogs.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import BigInteger, Integer, Text, and_, cast, column, func, literal_column, or_, select, table
from sqlalchemy.types import DateTime

from kling_relay.core.ids import creation_time
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import Row, Statement, translated
from kling_relay.store.schema import partitions
from kling_relay.store.stats import backlog
from kling_relay.store.stats.backlog import seconds_since
from kling_relay.store.stats.readings import Figures
from kling_relay.store.tables import PARTITIONED, submissions

MAX_SUBMISSIONS = 100_000
ASKED_IN_VAIN = 5
"""A task that was asked about so often and is not final is silent: a quarter of an hour with the usual settings."""
_SUBMITTED = ("recorded", "sending", "accepted", "unknown")
_WORK = ("pending_deliveries", "submissions")

_some = (
    select(submissions.c.task, submissions.c.state, submissions.c.units, submissions.c.attempt)
    .limit(MAX_SUBMISSIONS)
    .subquery("some")
)
_SUBMISSIONS = Statement(
    select(
        _some.c.state,
        func.count().label("tasks"),
        cast(func.sum(_some.c.units), Integer).label("units"),
        func.count().filter(_some.c.attempt >= ASKED_IN_VAIN).label("asked"),
        func.min(cast(_some.c.task, Text).collate("C")).label("oldest"),
    ).group_by(_some.c.state)
)
_Moment = DateTime(timezone=True)
_activity = table(
    "pg_stat_activity",
    column("datname", Text),
    column("xact_start", _Moment),
    column("backend_xmin"),
    column("backend_xid"),
    column("backend_type", Text),
)
_prepared = table("pg_prepared_xacts", column("prepared", _Moment))
_running = seconds_since(func.min(_activity.c.xact_start))
_SNAPSHOT = Statement(
    select(
        func.greatest(
            select(_running)
            .where(
                or_(
                    # one that reads keeps vacuum from its own database, one that writes keeps events of the whole
                    # cluster back; a vacuum does neither
                    and_(_activity.c.backend_xmin.is_not(None), _activity.c.datname == func.current_database()),
                    _activity.c.backend_xid.is_not(None),
                ),
                _activity.c.backend_type != literal_column("'autovacuum worker'"),
            )
            .scalar_subquery(),
            select(seconds_since(func.min(_prepared.c.prepared))).scalar_subquery(),
        ).label("oldest"),
        (
            cast(cast(func.pg_snapshot_xmax(func.pg_current_snapshot()), Text), BigInteger)
            - cast(cast(func.pg_snapshot_xmin(func.pg_current_snapshot()), Text), BigInteger)
        ).label("span"),
    )
)
_tables = table(
    "pg_stat_user_tables", column("relid"), column("relname", Text), column("n_live_tup"), column("n_dead_tup")
)
_ROWS = Statement(
    select(_tables.c.relname, _tables.c.n_live_tup, _tables.c.n_dead_tup).where(
        _tables.c.relid.in_([func.to_regclass(literal_column(f"'{name}'")) for name in _WORK])
    )
)


async def read(database: Database, now: datetime) -> Figures:
    """Read all figures; raises StoreUnavailableError, also where it takes longer than a statement may."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    pool = database.pool
    queues = await backlog.read(database)
    states = {row["state"]: row for row in await _SUBMISSIONS.rows(pool)}
    snapshot = await _SNAPSHOT.row(pool)
    assert snapshot is not None
    rows = {row["relname"]: row for row in await _ROWS.rows(pool)}
    return Figures(
        queues=queues,
        submissions={state: states[state]["tasks"] if state in states else 0 for state in _SUBMITTED},
        silent_tasks=sum(states[state]["asked"] for state in ("accepted", "unknown") if state in states),
        oldest_waiting=_age(states["recorded"]["oldest"], now) if "recorded" in states else 0.0,
        slots_used=sum(row["units"] for state, row in states.items() if state != "recorded"),
        oldest_snapshot=snapshot["oldest"],
        snapshot_span=snapshot["span"],
        partitions_ahead=await _ahead(database, now),
        rows=_estimates(rows),
        seconds=loop.time() - begun,
    )


def _age(task: str, now: datetime) -> float:
    return max(0.0, (now - creation_time(UUID(task))).total_seconds())


def _estimates(rows: Mapping[str, Row]) -> dict[tuple[str, str], int]:
    return {(name, state): row[f"n_{state}_tup"] for name, row in rows.items() for state in ("live", "dead")}


async def _ahead(database: Database, now: datetime) -> float:
    """Return for how many days from now every partitioned table has partitions; 0 where today has none."""
    ends = []
    with translated():
        async with database.pool.acquire() as connection:
            for parent in PARTITIONED:
                covered = now
                for each in await partitions.ranges(connection, parent):
                    if each.start <= covered < each.end:
                        covered = each.end
                ends.append(covered)
    return (min(ends) - now) / timedelta(days=1)
