"""A database whose clock is set: to it, the machines of its processes are wrong."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg

_CLOCK = """
CREATE SCHEMA set_clock;
CREATE TABLE set_clock.ahead (by interval NOT NULL);
INSERT INTO set_clock.ahead VALUES ('0');
CREATE FUNCTION set_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT pg_catalog.clock_timestamp() + by FROM set_clock.ahead';
CREATE FUNCTION set_clock.now() RETURNS timestamptz LANGUAGE sql STABLE
    AS 'SELECT pg_catalog.now() + by FROM set_clock.ahead';
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = public, set_clock, pg_catalog', current_database());
END $$;
"""


class SettableClock:
    """The clock of one database, for connections that are opened from now on."""

    def __init__(self, admin: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._admin = admin

    async def set_ahead(self, by: timedelta) -> None:
        """Set the clock ahead of the machine's."""
        await self._admin.execute("UPDATE set_clock.ahead SET by = $1", by)


@asynccontextmanager
async def settable_clock(url: str) -> AsyncIterator[SettableClock]:
    """Make the clock of the database at `url` settable. Nothing else may be connected yet."""
    admin = await asyncpg.connect(url)
    try:
        await admin.execute(_CLOCK)
        yield SettableClock(admin)
    finally:
        await admin.close()
