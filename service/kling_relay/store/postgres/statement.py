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
from sqlalchemy import ARRAY, Column, ColumnElement, TableValuedAlias, Uuid, bindparam, column, func
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.types import TypeEngine

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

Columns = dict[str, "TypeEngine[Any] | type[TypeEngine[Any]]"]
"""The columns of a batch, by name."""


class StoreError(Exception):
    """The database did not do it; which kind says whether the same again may work"""


class StoreUnavailableError(StoreError):
    """The database cannot be reached or does not answer in time"""


class StoreSilentError(StoreUnavailableError):
    """The database does not answer in time; asked again, it would take as long"""


class CollisionError(StoreError):
    """Another transaction was in the way; the same again will work"""


class BadRowError(StoreError):
    """A value that the database cannot hold"""


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
    """Turn the driver's many errors into this layer's three; what is a bug in our SQL stays what it is."""
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


def unnested(name: str, **columns: TypeEngine[Any] | type[TypeEngine[Any]]) -> TableValuedAlias:
    """Return arrays side by side as a table `name`: one array argument per column, named `name_column`.

    It is how one statement takes a batch.
    """
    arrays = [bindparam(f"{name}_{key}", type_=ARRAY(kind)) for key, kind in columns.items()]
    shape: list[Column[Any]] = [column(key, kind) for key, kind in columns.items()]  # type: ignore[misc]  # ColumnClause serves
    return func.unnest(*arrays).table_valued(*shape, name=name).render_derived()


def columns_of(name: str, keys: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    """Return rows turned into the array arguments of `unnested(name, …)`."""
    if not rows:
        return {f"{name}_{key}": [] for key in keys}
    return {f"{name}_{key}": list(values) for key, values in zip(keys, zip(*rows, strict=True), strict=True)}


def not_before(identifier: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return that an id of a batch is not before the batch's first (`first_of`).

    It changes no result: by it PostgreSQL knows before it begins that it need not open the partitions of the past,
    where a join alone has it make ready for all of them, in a time that grows with their number. There is no bound
    for the other end, because of two the planner believes that they leave next to nothing, and reads all in between.
    """
    return identifier >= bindparam("first", type_=Uuid)


def first_of(ids: Collection[Any]) -> dict[str, Any]:
    """Return the argument of `not_before` for these ids; before nothing's first is everything."""
    return {"first": min(ids, default=MAX_ID)}


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """Give a connection inside a transaction: committed at the end, rolled back on any error."""
    with translated():
        async with pool.acquire() as connection, connection.transaction():
            yield connection
