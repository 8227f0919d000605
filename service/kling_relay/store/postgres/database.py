"""The pools of a process, and the offset of event numbers.

`pool` is for look-ups and rare writes, `ingest` for batches of callbacks and orders, `settle` for batches of delivery
attempts, `reports` for statements that may read many rows, within a time limit: no look-up waits behind a commit or a
report, and no commit behind a look-up. Plans are generic and never parallel or compiled, because statements are small
and many.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

import asyncpg

from kling_relay.store.postgres.connections import (
    ASYNCHRONOUS_COMMIT,
    PLANNER_SETTINGS,
    PlainConnection,
    PoolerConnection,
    pooler_connection,
)
from kling_relay.store.postgres.pool import QuickPool
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Pool, Runner, Statement, StoreUnavailableError, translated

REPORT_CONNECTIONS = 3
REPORT_SECONDS = 10.0
_REPORT_GRACE = 2.0
"""Seconds that the server has to stop a report whose time is over."""
CLOSE_WITHIN = 5.0
"""Seconds that running statements have when a pool is closed; everything that matters was drained before."""

_SQL = load_sql(__name__)
_TX_OFFSET = Statement(_SQL["tx_offset"])
_DEPLOYMENT = Statement(_SQL["deployment"])
_CURRENT_TIME = Statement(_SQL["current_time"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """The pools of one process; events are numbered by their transaction plus `tx_offset`."""

    pool: Pool
    ingest: Pool
    settle: Pool
    reports: Pool
    tx_offset: int


async def connect_once(url: str, max_wait: float = 5.0) -> asyncpg.Connection:
    """Return a single connection, which the caller closes; it also works through a transaction pooler.

    Raises the driver's errors; `max_wait` in seconds is for connecting.
    """
    return await asyncpg.connect(
        _without_dialect(url), statement_cache_size=0, timeout=max_wait, connection_class=PoolerConnection
    )


async def current_time(runner: Runner) -> datetime:
    """Return the time by the database's clock."""
    at: datetime = await _CURRENT_TIME.scalar(runner)
    return at


async def deployment_id(runner: Runner) -> str:
    """Return a short text that all processes with this database share, and no others, or "" if the role may not know.

    It reveals nothing about the server.
    """
    try:
        identity: str = await _DEPLOYMENT.scalar(runner)
    except asyncpg.InsufficientPrivilegeError:
        return ""
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


@asynccontextmanager
async def connect(
    url: str,
    *,
    size: int = 10,
    max_wait: float = 5.0,
    pooler: bool = False,
    report_connections: int = REPORT_CONNECTIONS,
    report_seconds: float = REPORT_SECONDS,
) -> AsyncIterator[Database]:
    """Yield the pools of `url`, and close them at the end.

    `size` limits the look-up pool; `max_wait` in seconds limits connecting, waiting for a connection and each
    statement, `report_seconds` a statement of a report. With `pooler` (a PgBouncer in transaction mode) no prepared
    statement is kept, no setting is sent on connecting, and every statement takes two more round trips. Raises
    StoreUnavailableError.
    """
    within = {"statement_timeout": f"{round(report_seconds * 1000)}ms"}
    pool = await _pool(url, size, max_wait, name="look-up", pooler=pooler)
    ingest = await _pool(url, 3, max_wait, name="ingest", pooler=pooler)
    settle = await _pool(url, 3, max_wait * 2, name="deliver", pooler=pooler, extra=ASYNCHRONOUS_COMMIT)
    longest = report_seconds + _REPORT_GRACE
    reports = await _pool(
        url, report_connections, max_wait, name="reports", pooler=pooler, extra=within, max_seconds=longest
    )
    pools = (pool, ingest, settle, reports)
    for opened in pools:
        opened.siblings = [other for other in pools if other is not opened]
    try:
        tx_offset = await _TX_OFFSET.scalar(pool)
        if tx_offset is None:
            raise StoreUnavailableError("the database is not migrated: run `kling-relay migrate`")
        yield Database(pool=pool, ingest=ingest, settle=settle, reports=reports, tx_offset=tx_offset)
    finally:
        for opened in (ingest, settle, reports, pool):
            try:
                async with asyncio.timeout(CLOSE_WITHIN):
                    await opened.close()
            except (TimeoutError, OSError, asyncpg.InterfaceError):
                opened.terminate()


async def _pool(
    url: str,
    size: int,
    max_wait: float,
    *,
    name: str,
    pooler: bool,
    extra: Mapping[str, str] = MappingProxyType({}),
    max_seconds: float | None = None,
) -> QuickPool:
    """Open a pool whose connections have the settings in `extra`; a statement may take `max_seconds` or `max_wait`."""
    settings = {**PLANNER_SETTINGS, **extra}
    with translated():
        return await QuickPool(
            _without_dialect(url),
            min_size=0 if name == "reports" else 1,
            max_size=size,
            connection_class=pooler_connection(settings) if pooler else PlainConnection,
            max_inactive_connection_lifetime=0 if name == "ingest" else 300,
            timeout=max_wait,
            command_timeout=max_seconds or max_wait,
            statement_cache_size=0 if pooler else 500,
            max_cached_statement_lifetime=0,
            max_queries=50_000,
            loop=None,
            record_class=asyncpg.Record,
            # after a failover the address may still lead to the old server, now a standby: the next try may not
            target_session_attrs=None if "target_session_attrs" in url else "primary",
            server_settings={"application_name": f"kling-relay {name}", **({} if pooler else settings)},
        )


def _without_dialect(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://")
