"""Partitions: created ahead of time, and dropped when everything in them is old and finished.

tasks, events, callbacks and attempts share their bounds, so a finished task's rows are dropped together. There is
no DEFAULT partition: a row that fits nowhere must fail. The name has the bounds: `tasks_p20261120_20261123`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from kling_relay.core.ids import lower_bound
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import CollisionError, Connection, Statement, StoreError, translated
from kling_relay.store.tables import CHILD_STORAGE, PARTITIONED

MAX_PARTITIONS = 30
"""A retention is cut into about this many partitions; more would slow down every look-up."""

CREATE_AHEAD = timedelta(days=7)
"""Partitions exist for this time from now on."""


class NotTableOwnerError(StoreError):
    """Our role does not own the tables"""


_NAME = re.compile(r"^(?P<parent>[a-z]+)_p(?P<start>\d{8})_(?P<end>\d{8})$")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCK = 0x6B6C7061
"""Advisory lock of a transaction that creates partitions, so that two processes do not create the same ones."""

_SQL = load_sql(__name__)
_PARTITIONS_OF = Statement(_SQL["partitions_of"])
_PARTITION_TABLES = Statement(_SQL["partition_tables"])
_PARTITION_STATE = Statement(_SQL["partition_state"])
_HAS_OPEN_WORK = Statement(_SQL["has_open_work"])
_DELETE_IDEMPOTENCY_KEYS = Statement(_SQL["delete_idempotency_keys"])
_DELETE_EXHAUSTED = Statement(_SQL["delete_exhausted"])


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRange:
    """The time that one partition of each table covers: [start, end)."""

    start: datetime
    end: datetime

    def name(self, parent: str) -> str:
        return f"{parent}_p{self.start:%Y%m%d}_{self.end:%Y%m%d}"


def width(retention: timedelta) -> timedelta:
    """Return how much time one partition covers: whole days, so that a retention has about MAX_PARTITIONS."""
    return timedelta(days=max(1, round(retention / MAX_PARTITIONS / timedelta(days=1))))


def missing_ranges(existing: list[PartitionRange], now: datetime, span: timedelta) -> Iterator[PartitionRange]:
    """Yield the ranges to create, oldest first: with the `existing` ones they cover [now - span, now + CREATE_AHEAD].

    Each is `span` long, or as long as the gap that it fills. Before the first existing one there is no gap.
    """
    end = now + CREATE_AHEAD
    current = _EPOCH + ((now - _EPOCH) // span) * span
    start = current - span
    if existing:
        start = max(start, existing[0].start) if existing[0].start <= now else current
    for partition in existing:
        while start < min(end, partition.start):
            filled = PartitionRange(start=start, end=min(start + span, partition.start))
            yield filled
            start = filled.end
        start = max(start, partition.end)
    while start < end:
        yield PartitionRange(start=start, end=start + span)
        start += span


async def ranges(connection: Connection, parent: str = "tasks") -> list[PartitionRange]:
    """Return the ranges of the partitions attached to `parent`, oldest first."""
    return _sorted_ranges(row["relname"] for row in await _PARTITIONS_OF.rows(connection, parent=parent))


def _sorted_ranges(names: Iterator[str]) -> list[PartitionRange]:
    parsed = {partition for name in names if (partition := _parse(name)) is not None}
    return sorted(parsed, key=lambda partition: partition.start)


def _parse(name: str) -> PartitionRange | None:
    match = _NAME.match(name)
    if match is None or match["parent"] not in PARTITIONED:
        return None
    start, end = (datetime.strptime(match[edge], "%Y%m%d").replace(tzinfo=UTC) for edge in ("start", "end"))
    return PartitionRange(start=start, end=end)


async def create_missing(connection: Connection, now: datetime, retention: timedelta) -> int:
    """Create the partitions that are missing, with only a SHARE UPDATE EXCLUSIVE lock; return how many.

    Raises NotTableOwnerError if this role may not.
    """
    count = 0
    with translated(connection), _owner_required():
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '5s'")
            await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            for parent in PARTITIONED:
                for partition in missing_ranges(await ranges(connection, parent), now, width(retention)):
                    await _create(connection, parent, partition)
                    count += 1
    return count


@contextmanager
def _owner_required() -> Iterator[None]:
    try:
        yield
    except asyncpg.InsufficientPrivilegeError as error:
        raise NotTableOwnerError(
            f"{error}. Only the owner of the tables can create and drop partitions: as that role, run"
            " `kling-relay migrate --drop-old` daily."
        ) from error


async def _create(connection: Connection, parent: str, partition: PartitionRange) -> None:
    """Create and attach a partition; a detached table that has its name is attached with the rows that it has."""
    name = partition.name(parent)
    if await _PARTITION_STATE.row(connection, name=name) is None:
        await connection.execute(f"CREATE TABLE {name} (LIKE {parent} INCLUDING ALL) WITH ({CHILD_STORAGE[parent]})")
    await connection.execute(
        f"ALTER TABLE {parent} ATTACH PARTITION {name}"
        f" FOR VALUES FROM ('{lower_bound(partition.start)}') TO ('{lower_bound(partition.end)}')"
    )


async def drop_old(connection: Connection, now: datetime, retention: timedelta) -> list[str]:
    """Drop the partitions that are wholly older than `retention`, up to the first with open work; return their names.

    Detaching blocks no readers or writers, and the next call completes what was interrupted. Only the connection's
    timeouts bound how long it takes. Raises CollisionError if another process is dropping partitions.
    """
    dropped: list[str] = []
    tables = await _PARTITION_TABLES.rows(connection)
    for partition in _sorted_ranges(row["relname"] for row in tables):
        if partition.end > now - retention:
            break
        below = lower_bound(partition.end)
        if await _HAS_OPEN_WORK.scalar(connection, below=below):
            break
        await _DELETE_EXHAUSTED.run(connection, below=below)
        await _DELETE_IDEMPOTENCY_KEYS.run(connection, below=below)
        for parent in reversed(PARTITIONED):
            name = partition.name(parent)
            if await _drop(connection, parent, name):
                dropped.append(name)
    return dropped


async def _drop(connection: Connection, parent: str, name: str) -> bool:
    """Detach a partition and drop it, from wherever an earlier call stopped; return whether it existed."""
    state = await _PARTITION_STATE.row(connection, name=name)
    if state is None:
        return False
    with translated(connection), _owner_required():
        try:
            if state["is_pending"] is not None:
                # a statement of its own: CONCURRENTLY is not allowed in a transaction, and a SET before it would
                # reach another connection behind a pooler
                mode = "FINALIZE" if state["is_pending"] else "CONCURRENTLY"
                await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {name} {mode}")
            async with connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '5s'")
                await connection.execute(f"DROP TABLE {name}")
        except (asyncpg.UndefinedTableError, asyncpg.ObjectNotInPrerequisiteStateError) as error:
            raise CollisionError(f"another process is dropping partitions: {error}") from error
    return True
