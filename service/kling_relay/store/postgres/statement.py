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
    """The database cannot be reached, or does not answer in time."""


class StoreSilentError(StoreUnavailableError):
    """The database does not answer in time; another call would take as long."""


class CollisionError(StoreError):
    """Another transaction was in the way; the same call will work again."""


class BadRowError(StoreError):
    """A value that the database cannot store."""


_AWAY = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
_COLLISIONS = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.UniqueViolationError,
)
_BAD = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


@contextmanager
def translated() -> Iterator[None]:
    """Map the driver's errors to a StoreError. Errors in our own SQL pass through."""
    try:
        yield
    except asyncpg.exceptions.DataError as error:
        raise BadRowError(str(error)) from error
    except _COLLISIONS as error:
        raise CollisionError(str(error)) from error
    except _BAD as error:
        raise BadRowError(str(error)) from error
    except TimeoutError as error:
        raise StoreSilentError(f"no answer in time: {error}".rstrip(": ")) from error
    except _AWAY as error:
        raise StoreUnavailableError(f"{type(error).__name__}: {error}") from error


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
        with translated():
            return await runner.fetch(self.sql, *self.arguments(given))

    async def row(self, runner: Runner, **given: Any) -> Row | None:
        """Return the first row, or None."""
        with translated():
            return await runner.fetchrow(self.sql, *self.arguments(given))

    async def scalar(self, runner: Runner, **given: Any) -> Any:
        """Return the first column of the first row, or None."""
        with translated():
            return await runner.fetchval(self.sql, *self.arguments(given))

    async def run(self, runner: Runner, **given: Any) -> int:
        """Run it and return how many rows it touched (by its command tag)."""
        with translated():
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
    with translated():
        async with pool.acquire() as connection, connection.transaction():
            yield connection
