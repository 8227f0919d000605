"""Connections of the pools: plain ones, and ones that work behind a pooler in transaction mode.

`_execute`, and BEGIN going through `execute`, are internals of asyncpg (`tests/store/test_asyncpg_internals.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import asyncpg
from typing_extensions import override

PLANNER_SETTINGS = {
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "max_parallel_workers_per_gather": "0",
    "enable_seqscan": "off",
    "enable_mergejoin": "off",
    "enable_hashjoin": "off",
    "idle_in_transaction_session_timeout": "60s",
}
"""Rows of the work tables come and go, so their statistics are wrong; these settings keep every plan on its index."""
ASYNCHRONOUS_COMMIT = {"synchronous_commit": "off"}
"""A crash of the server may lose the last settled deliveries: these are then made again, and none is lost."""
BEGIN = "BEGIN;"
"""What asyncpg begins a transaction with."""


class PlainConnection(asyncpg.Connection):
    """A connection that is not reset between uses: ours leave no state behind, and the query halves the rate."""

    __slots__ = ()

    @override
    def get_reset_query(self) -> str:
        return ""


class PoolerConnection(PlainConnection):
    """A connection through a transaction pooler, which may run every transaction on another server connection.

    Settings that a plain connection sends once are sent with each BEGIN, in the same round trip; so a single statement
    gets a transaction too. That also keeps asyncpg's two round trips (prepare, run) on one server connection.
    """

    __slots__ = ()
    begin: ClassVar[str] = BEGIN

    async def _execute(self, query: str, args: Sequence[Any], *positional: Any, **named: Any) -> Any:
        """Run a statement with arguments; all of asyncpg's methods that take arguments call this one."""
        execute = super()._execute  # type: ignore[misc]  # not in the stubs
        if self.is_in_transaction():
            return await execute(query, args, *positional, **named)
        async with self.transaction():
            return await execute(query, args, *positional, **named)

    @override
    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Run a script unchanged, in one round trip: it may hold what is not allowed in a transaction."""
        return await super().execute(self.begin if query == BEGIN else query, *args, timeout=timeout)


def _begin_with(settings: Mapping[str, str]) -> str:
    return BEGIN + "".join(f" SET LOCAL {name} = '{value}';" for name, value in settings.items())


def pooler_connection(settings: Mapping[str, str]) -> type[PoolerConnection]:
    """Return the class of connections through a pooler whose transactions have these settings."""
    return type("PoolerConnectionWithSettings", (PoolerConnection,), {"__slots__": (), "begin": _begin_with(settings)})
