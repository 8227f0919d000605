"""Survey: now and then the figures of the whole database are read, by one worker for all, and shown or withdrawn.

Nobody is elected: whoever owns shard 0 reads. Where two believe so for a moment, both show the same; where nobody
does, or the database is away, nothing is shown, which is itself an alert.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import StoreError
from kling_relay.store.stats import fleet
from kling_relay.store.stats.readings import FleetReadings

SHARD = 0
"""Whose owner reads."""
EVERY = 15.0


class FleetStats:
    """The flow; `run` goes on until cancelled."""

    def __init__(
        self,
        database: Database,
        *,
        owns: Callable[[], bool],
        show: Callable[[FleetReadings | None], None],
        now: Callable[[], datetime],
        every: float = EVERY,
        log: Callable[[str, str], None] = lambda _about, _what: None,
    ) -> None:
        """`owns` says whether this worker reads; `show` hears None where it does not; `every` is in seconds."""
        self._database = database
        self._owns = owns
        self._show = show
        self._now = now
        self._every = every
        self._log = log

    async def run(self) -> None:
        """Look after the figures until cancelled; at the end they are withdrawn."""
        try:
            while True:
                await self.look()
                # a worker that just started owns its shards in a moment: its first figures need not wait
                await asyncio.sleep(self._every if self._owns() else min(1.0, self._every))
        finally:
            self._show(None)

    async def look(self) -> None:
        """Read once, where it is ours to read."""
        if not self._owns():
            self._show(None)
            return
        try:
            self._show(await fleet.read(self._database, self._now()))
        except StoreError as error:
            self._show(None)
            self._log("figures", f"the database failed: {error}")
