"""Fleet stats: one worker reads figures of the whole database for all and reports them to its observer.

There is no election: the owner of shard 0 reads. If two workers believe that they own it for a moment, both report the
same. If none does, or the database is unavailable, nothing is reported, which has an alert of its own.
"""

import asyncio
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta

from kling_relay.flows.observer import Observer
from kling_relay.store.postgres.database import Database
from kling_relay.store.stats import fleet

SHARD = 0
"""The worker that owns this shard reads."""


@dataclass(frozen=True, eq=False)
class FleetStats:
    """Reads every `every` seconds if `is_owner` returns True."""

    database: Database
    _: KW_ONLY
    is_owner: Callable[[], bool]
    now: Callable[[], datetime]
    retention: timedelta
    every: float = 15.0
    observer: Observer = field(default_factory=Observer)

    async def run(self) -> None:
        """Read again and again until cancelled, then withdraw the figures."""
        try:
            while True:
                await self.read()
                # a worker that just started owns its shards in a moment: its first figures need not wait
                await asyncio.sleep(self.every if self.is_owner() else min(1.0, self.every))
        finally:
            self.observer.fleet_stats_changed(None)

    async def read(self) -> None:
        """Read once if this worker is the one that reads."""
        if not self.is_owner():
            self.observer.fleet_stats_changed(None)
            return
        try:
            self.observer.fleet_stats_changed(await fleet.read(self.database, self.now(), self.retention))
        except Exception as error:  # noqa: BLE001 - the worker depends on this loop
            self.observer.fleet_stats_changed(None)
            self.observer.database_failed("fleet_stats", error)
