"""Statements: SQL with named arguments, run on an asyncpg connection or pool.

A statement whose text never changes stands in a `.sql` file (`queries.py`). One that is composed is SQLAlchemy Core,
compiled once: its async engine would take an eighth of a look-up's time. Failures come back as the few errors below,
so that no caller has to know the driver.
"""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
from asyncpg.pgproto.pgproto import UUID
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.sql.elements import ClauseElement

from kling_relay.core.ids import MAX_ID
from kling_relay.store.postgres.pool import QuickPool
from kling_relay.store.postgres.queries import numbered

Row = asyncpg.Record
read_id = UUID
"""Reads an id as the driver does, several times as fast as `uuid.UUID`, of which it makes one. Raises ValueError."""
if TYPE_CHECKING:  # the driver's classes are generic only in their stubs
    Pool = asyncpg.Pool[Row]
    Connection = asyncpg.Connection[Row] | asyncpg.pool.PoolConnectionProxy[Row]
    Runner = Pool | Connection
else:
    Pool = Connection = Runner = object


class StoreError(Exception):
    """The database failed; the kind says whether the same call may work again."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached, does not answer in time, or cannot do this now."""


class StoreSilentError(StoreUnavailableError):
    """The database does not answer in time; another call would take as long."""


class StoreSlowError(StoreUnavailableError):
    """The statement took longer than its pool allows; it would take as long again."""


class StoreReadOnlyError(StoreUnavailableError):
    """The server takes no writes: it is a standby, or it was set to read-only. Nothing was written."""


class StoreConnectionError(StoreUnavailableError):
    """The connection no longer has its prepared statements: something in between reset it. Nothing was written."""


class MissingPartitionError(StoreUnavailableError):
    """A row has no partition. Nothing was written."""


class CollisionError(StoreError):
    """Another transaction was in the way; the same call will work again."""


class BadRowError(StoreError):
    """A value that the database cannot store."""


UNAVAILABLE = frozenset({"08", "25", "28", "3D", "3F", "40", "53", "55", "57", "58", "F0", "XX"})
"""Classes of SQLSTATE by which a server says that it cannot do this now; nothing is wrong with the statement.

Connection lost (08), read-only or an ended transaction (25), no access (28, 3D, 3F), rolled back (40), resources (53),
a state that is in the way (55), operator (57), its disk and files (58, F0), its own faults (XX).
"""
_TAKEN_AWAY = frozenset({"42501", "42P01"})
"""A right was revoked, or a table is gone: somebody works on the database, or restores it."""
_KINDS: Mapping[str, type[StoreError]] = {
    "25006": StoreReadOnlyError,
    "57014": StoreSlowError,
    # a prepared statement is unknown or exists already: DISCARD ALL, or a pooler without RELAY_DATABASE_POOLER
    "26000": StoreConnectionError,
    "42P05": StoreConnectionError,
}
_CHECK_VIOLATION = "23514"
_COLLISIONS = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.UniqueViolationError,
    asyncpg.InvalidCachedStatementError,  # a migration changed the table: the driver prepares the statement again
)
_BAD = (asyncpg.exceptions.DataError, asyncpg.IntegrityConstraintViolationError)
_DRIVER = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresError)


@contextmanager
def translated(runner: Runner | None = None) -> Iterator[None]:
    """Map the driver's errors to a StoreError. Errors in our own SQL pass through.

    If the server takes no writes, the connections of the pool behind `runner` are replaced, because the database's
    name may lead to another server by now; so are connections that have lost their statements.
    """
    try:
        yield
    except _DRIVER as error:
        failure = _failure(error)
        if failure is None:
            raise
        if runner is not None and isinstance(failure, StoreReadOnlyError | StoreConnectionError):
            replace_connections(runner)
        raise failure from error


def _failure(error: Exception) -> StoreError | None:
    match error:
        case asyncpg.PostgresError():
            return _server_failure(error)
        case asyncpg.TargetServerAttributeNotMatched():
            return StoreReadOnlyError("the server is a standby, or takes no writes")
        case TimeoutError():
            return StoreSilentError(f"no answer in time: {error}".rstrip(": "))
        case _:
            return StoreUnavailableError(f"{type(error).__name__}: {error}")


def _server_failure(error: asyncpg.PostgresError) -> StoreError | None:
    state = error.sqlstate or ""
    if isinstance(error, _COLLISIONS):
        return CollisionError(str(error))
    if (kind := _KINDS.get(state)) is not None:
        return kind(str(error))
    if state == _CHECK_VIOLATION and not error.constraint_name:  # all but "no partition found" name a constraint
        return MissingPartitionError(str(error))
    if isinstance(error, _BAD):
        return BadRowError(str(error))
    if state[:2] in UNAVAILABLE or state in _TAKEN_AWAY:
        return StoreUnavailableError(f"{type(error).__name__}: {error}")
    return None


def replace_connections(runner: Runner) -> None:
    """Have the pool behind `runner`, and the pools beside it, open new connections; see `QuickPool.replace`."""
    pool = runner if isinstance(runner, asyncpg.Pool) else getattr(getattr(runner, "_holder", None), "_pool", None)
    if isinstance(pool, QuickPool):
        pool.replace()


class Statement:
    """One SQL statement, prepared for the driver when its module is imported; arguments are given by name.

    Made from SQL with named arguments (`queries.load_sql`), or from an SQLAlchemy clause.
    """

    __slots__ = ("_fixed", "_names", "sql")

    def __init__(self, source: str | ClauseElement) -> None:
        self._fixed: dict[str, Any] = {}
        if isinstance(source, str):
            self.sql, self._names = numbered(source)
            return
        compiled = source.compile(dialect=asyncpg_dialect())  # type: ignore[no-untyped-call]  # SQLAlchemy's dialects are untyped
        self.sql = str(compiled)
        self._names = list(getattr(compiled, "positiontup", None) or [])
        self._fixed = {name: fixed for name, fixed in compiled.params.items() if fixed is not None}

    def arguments(self, given: Mapping[str, Any]) -> list[Any]:
        """Return the values in the order of $1, $2, …; a missing or an unknown name is a KeyError."""
        fixed = self._fixed
        values = [given[name] if name in given else fixed[name] for name in self._names]
        if len(given) > len(self._names):
            raise KeyError(*(set(given) - set(self._names)))
        return values

    async def rows(self, runner: Runner, **given: Any) -> list[Row]:
        """Return every row."""
        with translated(runner):
            return await runner.fetch(self.sql, *self.arguments(given))

    async def row(self, runner: Runner, **given: Any) -> Row | None:
        """Return the first row, or None."""
        with translated(runner):
            return await runner.fetchrow(self.sql, *self.arguments(given))

    async def scalar(self, runner: Runner, **given: Any) -> Any:
        """Return the first column of the first row, or None."""
        with translated(runner):
            return await runner.fetchval(self.sql, *self.arguments(given))

    async def run(self, runner: Runner, **given: Any) -> int:
        """Run it and return how many rows it touched (by its command tag)."""
        with translated(runner):
            tag: str = await runner.execute(self.sql, *self.arguments(given))
        last = tag.rsplit(" ", 1)[-1]
        return int(last) if last.isdigit() else 0


def columns_of(name: str, keys: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    """Return rows as arrays: the arguments `name_key` of `unnest(:name_key::…[], …) AS name(key, …)`.

    It is how one statement takes a batch.
    """
    if not rows:
        return {f"{name}_{key}": [] for key in keys}
    return {f"{name}_{key}": list(values) for key, values in zip(keys, zip(*rows, strict=True), strict=True)}


def first_of(ids: Collection[Any]) -> dict[str, Any]:
    """Return the argument `first` of a statement that joins these ids and says `… AND tasks.id >= :first`.

    The bound changes no result. It lets PostgreSQL leave the partitions of the past closed, while a join alone
    prepares for all of them, in a time that grows with their number. No upper bound: with two bounds the planner
    underestimates the rows and scans the whole range.
    """
    return {"first": min(ids, default=MAX_ID)}


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """Give a connection inside a transaction: committed at the end, rolled back on any error."""
    with translated(pool):
        async with pool.acquire() as connection, connection.transaction():
            yield connection
