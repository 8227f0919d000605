"""Expiry: pending deliveries whose tasks are older than the retention, and that nobody will make.

Their subscription is paused, disabled or deleted, they are exhausted, or their event is gone. They are deleted page by
page and counted once, for their subscription and in all. Each page is a short transaction of its own.
"""

from typing import Any
from uuid import UUID

from kling_relay.core.ids import MIN_ID
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import Connection, Runner, Statement, translated

PAGE = 2000
_LOCK = 0x6B6C7065

_SQL = load_sql(__name__)
_ACQUIRE = Statement(_SQL["lock"])
_EXPIRE = Statement(_SQL["expire"])
_TOTAL = Statement(_SQL["total"])


async def expire(connection: Connection, low: UUID, below: UUID, *, everything: bool, page: int = PAGE) -> int:
    """Delete what nobody will make of subjects in [low, below), or `everything`; return how many were not exhausted."""
    total = 0
    last: dict[str, Any] = {"subject": low, "sequence": 0, "subscription": MIN_ID}
    while True:
        with translated(connection):
            async with connection.transaction():
                await _ACQUIRE.run(connection, key=_LOCK)
                row = await _EXPIRE.row(connection, **last, below=below, everything=everything, limit=page)
        if row is None:
            return total
        total += row["expired"]
        last = {name: row[name] for name in last}


async def total_expired(runner: Runner) -> int:
    """Return how many deliveries have expired since this database exists."""
    return int(await _TOTAL.scalar(runner))
