"""Partitions: made ahead, dropped when everything in them is finished and old.

tasks, events, callbacks and attempts share bounds, so a finished task's rows go together. There is no DEFAULT
partition: a row that fits nowhere is a fault to be seen. A name says its bounds: `tasks_p20261120_20261123`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
from sqlalchemy import bindparam, column, delete, func, literal_column, select, table, text
from sqlalchemy.types import Text

from kling_relay.core.ids import lower_bound
from kling_relay.store.postgres.statement import CollisionError, Connection, Statement, StoreError, translated
from kling_relay.store.tables import CHILD_STORAGE, PARTITIONED, idempotency_keys, pending_deliveries, submissions

MAX_PARTITIONS = 30
"""A retention is cut into about so many partitions; many more would slow every look-up down."""

AHEAD = timedelta(days=7)
"""How far ahead of now partitions are there."""


class NotOurTablesError(StoreError):
    """The role that we are does not own the tables"""


_NAME = re.compile(r"^(?P<parent>[a-z]+)_p(?P<start>\d{8})_(?P<end>\d{8})$")
_LOCK = 0x6B6C7061
"""Advisory lock of partition work (transaction-scoped), so that two processes do not make the same one."""

_inherits = table("pg_inherits", column("inhrelid"), column("inhparent"), column("inhdetachpending"))
_class = table("pg_class", column("oid"), column("relname"))
_CHILDREN = Statement(
    select(_class.c.relname)
    .join(_inherits, _inherits.c.inhrelid == _class.c.oid)
    .where(
        _inherits.c.inhparent == func.to_regclass(bindparam("parent", type_=Text)),
        ~_inherits.c.inhdetachpending,
    )
    .order_by(_class.c.relname)
)
_TABLES = Statement(
    select(_class.c.relname).where(
        func.pg_table_is_visible(_class.c.oid), _class.c.relname.like(literal_column("'%\\_p________\\_________'"))
    )
)
_STATE = Statement(
    select(_inherits.c.inhdetachpending.label("is_pending"))
    .select_from(_class)
    .join(_inherits, _inherits.c.inhrelid == _class.c.oid, isouter=True)
    .where(_class.c.oid == func.to_regclass(bindparam("name", type_=Text)))
)
_UNFINISHED = Statement(
    select(
        select(submissions.c.task).where(submissions.c.task < bindparam("bound")).exists()
        | select(pending_deliveries.c.subject)
        .where(pending_deliveries.c.subject < bindparam("bound"), pending_deliveries.c.due_at < text("'infinity'"))
        .exists()
    )
)
_FORGET_REPEATS = Statement(delete(idempotency_keys).where(idempotency_keys.c.task < bindparam("bound")))
_FORGET_EXHAUSTED = Statement(delete(pending_deliveries).where(pending_deliveries.c.subject < bindparam("bound")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The time that one partition of each table covers."""

    start: datetime
    end: datetime

    def name(self, parent: str) -> str:
        return f"{parent}_p{self.start:%Y%m%d}_{self.end:%Y%m%d}"


def width(retention: timedelta) -> timedelta:
    """Return how much time one partition covers: whole days, so that a retention has about thirty."""
    return timedelta(days=max(1, round(retention / MAX_PARTITIONS / timedelta(days=1))))


def wanted(there: list[Range], now: datetime, span: timedelta) -> Iterator[Range]:
    """Yield the ranges still to be made, oldest first, so that [now - a span, now + AHEAD] is covered."""
    days = (now - datetime(1970, 1, 1, tzinfo=UTC)) // span
    start = datetime(1970, 1, 1, tzinfo=UTC) + (days - 1) * span
    start = max([start, *(each.end for each in there)])
    while start < now + AHEAD:
        yield Range(start=start, end=start + span)
        start += span


async def ranges(connection: Connection, parent: str = "tasks") -> list[Range]:
    """Return the ranges that `parent` has partitions for, oldest first."""
    found = [_range(row["relname"]) for row in await _CHILDREN.rows(connection, parent=parent)]
    return sorted((each for each in found if each is not None), key=lambda each: each.start)


def _range(name: str) -> Range | None:
    match = _NAME.match(name)
    if match is None or match["parent"] not in PARTITIONED:
        return None
    start, end = (datetime.strptime(match[edge], "%Y%m%d").replace(tzinfo=UTC) for edge in ("start", "end"))
    return Range(start=start, end=end)


async def ensure(connection: Connection, now: datetime, retention: timedelta) -> int:
    """Make the partitions that are missing, each with only a SHARE UPDATE EXCLUSIVE lock; return how many.

    Raises NotOurTablesError where this role may not.
    """
    made = 0
    with translated(), _permitted():
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '5s'")
            await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            for parent in PARTITIONED:
                for each in wanted(await ranges(connection, parent), now, width(retention)):
                    await _make(connection, parent, each)
                    made += 1
    return made


@contextmanager
def _permitted() -> Iterator[None]:
    try:
        yield
    except asyncpg.InsufficientPrivilegeError as error:
        raise NotOurTablesError(
            f"{error}: partitions are the schema's owner's to make and drop, by `kling-relay migrate --drop-old`"
        ) from error


async def _make(connection: Connection, parent: str, each: Range) -> None:
    name = each.name(parent)
    await connection.execute(
        f"CREATE TABLE {name} (LIKE {parent} INCLUDING ALL) WITH ({CHILD_STORAGE[parent]});"
        f" ALTER TABLE {parent} ATTACH PARTITION {name}"
        f" FOR VALUES FROM ('{lower_bound(each.start)}') TO ('{lower_bound(each.end)}')"
    )


async def drop_old(connection: Connection, now: datetime, retention: timedelta) -> list[str]:
    """Drop the partitions that are wholly older than `retention`, unless something in them is unfinished.

    Detached without blocking readers or writers; what was interrupted anywhere in between is finished by the next
    pass. How long it may take is bounded by the connection. Raises CollisionError where another worker is at it.
    """
    dropped: list[str] = []
    for each in await _made(connection):
        if each.end > now - retention:
            break
        bound = lower_bound(each.end)
        if await _UNFINISHED.scalar(connection, bound=bound):
            break
        await _FORGET_EXHAUSTED.run(connection, bound=bound)
        await _FORGET_REPEATS.run(connection, bound=bound)
        names = [(parent, each.name(parent)) for parent in reversed(PARTITIONED)]
        dropped += [name for parent, name in names if await _drop(connection, parent, name)]
    return dropped


async def _made(connection: Connection) -> list[Range]:
    """Return every range that a table is there for, oldest first, also where it is no partition any more."""
    found = [_range(row["relname"]) for row in await _TABLES.rows(connection)]
    return sorted({each for each in found if each is not None}, key=lambda each: each.start)


async def _drop(connection: Connection, parent: str, name: str) -> bool:
    """Take a partition out and drop it, wherever an earlier pass stopped; return whether there was one."""
    found = await _STATE.row(connection, name=name)
    if found is None:
        return False
    try:
        with translated(), _permitted():
            if found["is_pending"] is not None:
                # on its own: CONCURRENTLY is not for transactions, and a pooler would give a SET to somebody else
                how = "FINALIZE" if found["is_pending"] else "CONCURRENTLY"
                await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {name} {how}")
            async with connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '5s'")
                await connection.execute(f"DROP TABLE {name}")
    except (asyncpg.UndefinedTableError, asyncpg.ObjectNotInPrerequisiteStateError) as error:
        raise CollisionError(f"another worker is at it: {error}") from error
    return True
