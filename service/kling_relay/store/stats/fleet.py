"""Readings of the whole database, made now and then by one worker for all; each has a limit on what it costs."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from kling_relay.core.ids import creation_time
from kling_relay.store.deliveries.expiry import total_expired
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Row, Statement, translated
from kling_relay.store.postgres.tx_numbers import NEXT_TX, OLDEST_TX
from kling_relay.store.schema import partitions
from kling_relay.store.stats.backlog import read_backlog
from kling_relay.store.stats.readings import FleetReadings
from kling_relay.store.tables import PARTITIONED

MAX_SUBMISSIONS = 100_000
SILENT_AFTER = 5
"""A task is silent if this many polls found it unfinished: a quarter of an hour with the usual settings."""
_STATES = ("recorded", "sending", "accepted", "unknown")

_SQL = load_sql(__name__, next_tx=NEXT_TX, oldest_tx=OLDEST_TX)
_SUBMISSION_COUNTS = Statement(_SQL["submission_counts"])
_OLDEST_SNAPSHOT = Statement(_SQL["oldest_snapshot"])
_ROW_ESTIMATES = Statement(_SQL["row_estimates"])


async def read(database: Database, now: datetime, retention: timedelta) -> FleetReadings:
    """Return all readings; raises StoreUnavailableError, also if one takes longer than a statement may."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    pool = database.pool
    backlogs = await read_backlog(database)
    states = {row["state"]: row for row in await _SUBMISSION_COUNTS.rows(
        pool, silent_after=SILENT_AFTER, limit=MAX_SUBMISSIONS
    )}  # fmt: skip
    snapshot = await _OLDEST_SNAPSHOT.row(pool)
    assert snapshot is not None  # a SELECT without FROM is always one row
    estimates = {row["relname"]: row for row in await _ROW_ESTIMATES.rows(pool)}
    return FleetReadings(
        backlogs=backlogs,
        submissions={state: states[state]["tasks"] if state in states else 0 for state in _STATES},
        silent_tasks=sum(states[state]["silent"] for state in ("accepted", "unknown") if state in states),
        oldest_waiting=_age(states["recorded"]["oldest"], now) if "recorded" in states else 0.0,
        slots_used=sum(row["units"] for state, row in states.items() if state != "recorded"),
        oldest_snapshot=snapshot["age"],
        snapshot_span=snapshot["span"],
        partitions_ahead=await _days_ahead(database, now),
        retention_lag=await _retention_lag(database, now, retention),
        expired_deliveries=await total_expired(pool),
        rows=_row_counts(estimates),
        seconds=loop.time() - started,
    )


def _age(task: str, now: datetime) -> float:
    return max(0.0, (now - creation_time(UUID(task))).total_seconds())


def _row_counts(estimates: Mapping[str, Row]) -> dict[tuple[str, str], int]:
    return {(name, state): row[f"n_{state}_tup"] for name, row in estimates.items() for state in ("live", "dead")}


async def _retention_lag(database: Database, now: datetime, retention: timedelta) -> float:
    with translated(database.pool):
        async with database.pool.acquire() as connection:
            return (await partitions.retention_lag(connection, now, retention)).total_seconds()


async def _days_ahead(database: Database, now: datetime) -> float:
    """Return for how many days from now every partitioned table has partitions; 0 if one lacks today's."""
    ends = []
    with translated(database.pool):
        async with database.pool.acquire() as connection:
            for parent in PARTITIONED:
                covered = now
                for partition in await partitions.ranges(connection, parent):
                    if partition.start <= covered < partition.end:
                        covered = partition.end
                ends.append(covered)
    return (min(ends) - now) / timedelta(days=1)
