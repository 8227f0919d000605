"""The pools: connections that cost nothing to borrow, with every limit said, and the clock of the event log.

Two pools: `pool` for look-ups and rare writes, `ingest` for the batches (so that no look-up waits behind a commit,
and no commit behind a look-up). Plans are generic and never parallel or compiled: statements are small and many.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import asyncpg
from sqlalchemy import select
from typing_extensions import override

from kling_relay.store import tables
from kling_relay.store.postgres.pool import QuickPool
from kling_relay.store.postgres.statement import Pool, Statement, StoreUnavailableError, translated

_STEADY = {
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "max_parallel_workers_per_gather": "0",
    "enable_seqscan": "off",
    "enable_mergejoin": "off",
    "enable_hashjoin": "off",
    "idle_in_transaction_session_timeout": "60s",
}
"""The tables that are work come and go, so statistics lie; these keep every plan on its index."""
_FORGETFUL = {"synchronous_commit": "off"}
"""A crash of the server may forget the last completions: their deliveries are then made again, none is lost."""

_BEGIN = "BEGIN;"
"""What the driver begins a transaction with."""
_OFFSET = Statement(select(tables.database_info.c.tx_offset))


class _LeanConnection(asyncpg.Connection):
    """A connection that is not cleaned between borrowers: ours leave nothing behind, and the query halves the rate."""

    __slots__ = ()

    @override
    def get_reset_query(self) -> str:
        return ""


class _TravellingConnection(_LeanConnection):
    """A connection through a transaction pooler, where every transaction may run on another server connection.

    What other connections set once on connecting is set with each BEGIN, in the same round trip; so a statement on
    its own gets a transaction too. It also keeps the driver's two round trips (prepare, run) on one server
    connection, which without it rests on nothing but the message that the first happens to end with.
    """

    __slots__ = ()
    begin: ClassVar[str] = _BEGIN

    async def _execute(self, query: str, args: Sequence[Any], *how: Any, **options: Any) -> Any:
        """Run a statement with arguments; the one place of the driver that all of them come through."""
        run = super()._execute  # type: ignore[misc]  # not in the stubs
        if self.is_in_transaction():
            return await run(query, args, *how, **options)
        async with self.transaction():
            return await run(query, args, *how, **options)

    @override
    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Run a script as it is: it travels in one piece, and may be what cannot be in a transaction."""
        return await super().execute(self.begin if query == _BEGIN else query, *args, timeout=timeout)


def _beginning(settings: Mapping[str, str]) -> str:
    return _BEGIN + "".join(f" SET LOCAL {name} = '{value}';" for name, value in settings.items())


class _TravellingLookUp(_TravellingConnection):
    __slots__ = ()
    begin = _beginning(_STEADY)


class _TravellingSettle(_TravellingConnection):
    __slots__ = ()
    begin = _beginning({**_STEADY, **_FORGETFUL})


async def connect_once(url: str, patience: float = 5.0) -> asyncpg.Connection:
    """Return a connection of its own, to be closed by the caller, that also works through a transaction pooler.

    Raises what the driver raises.
    """
    return await asyncpg.connect(
        _plain(url), statement_cache_size=0, timeout=patience, connection_class=_TravellingConnection
    )


def _plain(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://")


CLOSE_WITHIN = 5.0
"""Seconds that statements in hand have at the end; everything that matters was drained before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """The pools of one process; `tx_offset` is added to a transaction's number wherever events are numbered."""

    pool: Pool
    ingest: Pool
    settle: Pool
    tx_offset: int


async def _pool(url: str, size: int, patience: float, *, name: str, pooler: bool, extra: Mapping[str, str]) -> Pool:
    options = {} if pooler else {**_STEADY, **extra}
    through = _TravellingSettle if extra else _TravellingLookUp
    with translated():
        return await QuickPool(
            _plain(url),
            min_size=1,
            max_size=size,
            connection_class=through if pooler else _LeanConnection,
            max_inactive_connection_lifetime=0 if name == "ingest" else 300,
            timeout=patience,
            command_timeout=patience,
            statement_cache_size=0 if pooler else 500,
            max_cached_statement_lifetime=0,
            max_queries=50_000,
            loop=None,
            record_class=asyncpg.Record,
            server_settings={"application_name": f"kling-relay {name}", **options},
        )


@asynccontextmanager
async def connect(url: str, *, size: int = 10, patience: float = 5.0, pooler: bool = False) -> AsyncIterator[Database]:
    """Give the pools of `url`, closed at the end.

    `size` bounds the look-up pool; `patience` in seconds bounds connecting and every statement. With `pooler` (a
    PgBouncer in transaction mode) no statement is kept by name, no setting is sent on connecting, and every statement
    takes two round trips more.
    """
    pool = await _pool(url, size, patience, name="look-up", pooler=pooler, extra={})
    ingest = await _pool(url, 3, patience, name="ingest", pooler=pooler, extra={})
    settle = await _pool(url, 3, patience * 2, name="deliver", pooler=pooler, extra=_FORGETFUL)
    try:
        offset = await _OFFSET.scalar(pool)
        if offset is None:
            raise StoreUnavailableError("the schema is not there: run `kling-relay migrate`")
        yield Database(pool=pool, ingest=ingest, settle=settle, tx_offset=offset)
    finally:
        for each in (ingest, settle, pool):
            try:
                async with asyncio.timeout(CLOSE_WITHIN):
                    await each.close()
            except (TimeoutError, OSError, asyncpg.InterfaceError):
                each.terminate()
