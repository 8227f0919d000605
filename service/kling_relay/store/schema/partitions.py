"""Partitions: created ahead of time, and dropped when they are older than the retention.

tasks, events, callbacks and attempts share their bounds, so a finished task's rows are dropped together. There is
no DEFAULT partition: a row that fits nowhere must fail. The name has the bounds: `tasks_p20261120_20261123`.

A partition waits for its open tasks, which have a deadline, and for deliveries to open subscriptions, for MAX_GRACE at
most. Deliveries to subscriptions that are paused, disabled or deleted expire with it (`store/deliveries/expiry.py`). A
partition that has to wait holds back no other.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from kling_relay.core.ids import MIN_ID, lower_bound
from kling_relay.store.deliveries import unsubscribe
from kling_relay.store.deliveries.expiry import expire
from kling_relay.store.deliveries.subscriptions import HOOK_USE_NOTED_EVERY
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import CollisionError, Connection, Statement, StoreError, translated
from kling_relay.store.tables import CHILD_STORAGE, PARTITIONED

MAX_PARTITIONS = 30
"""A retention is cut into about this many partitions; more would slow down every look-up."""

CREATE_AHEAD = timedelta(days=7)
"""Partitions exist for this time from now on."""

MAX_GRACE = timedelta(days=30)
"""A partition waits for deliveries to open subscriptions for this long after the retention."""

_HOOK_MARGIN = HOOK_USE_NOTED_EVERY + timedelta(days=1)
"""Until this long after a hook's `last_used_at`, a task may have named it."""
_KEYS = 5000
"""Idempotency keys that are deleted in one statement."""


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
_HAS_OPEN_TASK = Statement(_SQL["has_open_task"])
_HAS_PENDING_DELIVERY = Statement(_SQL["has_pending_delivery"])
_DELETE_IDEMPOTENCY_KEYS = Statement(_SQL["delete_idempotency_keys"])
_DELETE_SUBMISSIONS = Statement(_SQL["delete_submissions"])


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionResult:
    """The partitions that were dropped, the deliveries that expired, and the hooks that went with their tasks."""

    dropped: list[str]
    expired: int
    hooks: int


async def drop_old(connection: Connection, now: datetime, retention: timedelta) -> list[str]:
    """Drop what is older than `retention`, as `enforce_retention` does, and return the names of the partitions."""
    return (await enforce_retention(connection, now, retention)).dropped


async def enforce_retention(connection: Connection, now: datetime, retention: timedelta) -> RetentionResult:
    """Drop the partitions that are wholly older than `retention`, except those with open work; then unused hooks.

    Detaching blocks no readers or writers, and the next call completes what was interrupted. Only the connection's
    timeouts bound how long it takes. Raises CollisionError if another process is dropping partitions.
    """
    dropped, expired, low = [], 0, MIN_ID
    for partition in await _partition_ranges(connection):
        if partition.end > now - retention:
            break
        below = lower_bound(partition.end)
        is_late = partition.end <= now - retention - MAX_GRACE
        expired += await _expire(connection, low, below, everything=is_late)
        if not await _has_open_work(connection, low, below):
            await _delete_idempotency_keys(connection, low, below)
            for parent in reversed(PARTITIONED):
                name = partition.name(parent)
                if await _drop(connection, parent, name):
                    dropped.append(name)
            # what a replay wrote meanwhile; nothing can come after that, because the events are gone
            expired += await expire(connection, low, below, everything=True)
            await _DELETE_SUBMISSIONS.run(connection, low=low, below=below)
        low = below
    oldest = await ranges(connection)
    kept_since = min(now - retention, oldest[0].start if oldest else now)
    hooks = await unsubscribe.remove_unused_hooks(connection, now, kept_since - _HOOK_MARGIN)
    return RetentionResult(dropped=dropped, expired=expired, hooks=hooks)


async def retention_lag(connection: Connection, now: datetime, retention: timedelta) -> timedelta:
    """Return for how long the oldest partition should have been dropped already; zero if it need not be yet."""
    existing = await _partition_ranges(connection)
    return max(timedelta(0), now - retention - existing[0].end) if existing else timedelta(0)


async def _partition_ranges(connection: Connection) -> list[PartitionRange]:
    """Return the ranges of all partitions, also of detached ones, oldest first."""
    return _sorted_ranges(row["relname"] for row in await _PARTITION_TABLES.rows(connection))


async def _expire(connection: Connection, low: UUID, below: UUID, *, everything: bool) -> int:
    if await _HAS_OPEN_TASK.scalar(connection, low=low, below=below):
        return 0
    return await expire(connection, low, below, everything=everything)


async def _has_open_work(connection: Connection, low: UUID, below: UUID) -> bool:
    has_open_task = await _HAS_OPEN_TASK.scalar(connection, low=low, below=below)
    return has_open_task or bool(await _HAS_PENDING_DELIVERY.scalar(connection, low=low, below=below))


async def _delete_idempotency_keys(connection: Connection, low: UUID, below: UUID) -> None:
    while await _DELETE_IDEMPOTENCY_KEYS.run(connection, low=low, below=below, limit=_KEYS):
        pass


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
