"""Readiness: whether an order or a callback that came now could be written."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from kling_relay.core.ids import lower_bound
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.queries import load_sql
from kling_relay.store.postgres.statement import (
    Statement,
    StoreReadOnlyError,
    StoreUnavailableError,
    replace_connections,
)
from kling_relay.store.tables import PARTITIONED

MAX_WAIT = 2.0
"""Seconds that the database has to answer a probe."""
_STANDBY = "the database is a standby, where nothing can be written"
_READINESS = Statement(load_sql(__name__)["readiness"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What the server says: whether it takes writes, and the tables that have no partition for now."""

    is_replica: bool
    is_read_only: bool
    missing: tuple[str, ...]

    @property
    def reason(self) -> str | None:
        """Why nothing can be written, or None."""
        if self.is_replica:
            return _STANDBY
        if self.is_read_only:
            return "the database is read-only"
        if self.missing:
            return f"there is no partition for now: {', '.join(self.missing)}"
        return None


async def read(database: Database, now: datetime) -> Readiness:
    """Return whether a row of `now` could be written. Raises StoreUnavailableError.

    If the server takes no writes, the connections are replaced, as after a write that failed for that reason.
    """
    row = await _READINESS.row(database.pool, parents=list(PARTITIONED), at=lower_bound(now))
    assert row is not None  # a SELECT without FROM is always one row
    if row["is_read_only"]:
        replace_connections(database.pool)
    return Readiness(is_replica=row["is_replica"], is_read_only=row["is_read_only"], missing=tuple(row["missing"]))


async def reason_not_ready(database: Database, now: datetime) -> str | None:
    """Return why nothing can be written now, or None; within MAX_WAIT."""
    try:
        async with asyncio.timeout(MAX_WAIT):
            return (await read(database, now)).reason
    except StoreReadOnlyError:  # it refused the connection
        return _STANDBY
    except (StoreUnavailableError, TimeoutError):
        return "the database is unavailable"
