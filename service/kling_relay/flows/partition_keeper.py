"""Partition keeper: rows of now have a partition, or this flow creates it, in every process.

The sweep creates partitions ahead of time. This flow is for what the sweep missed: a service that was off for weeks, a
partition that somebody dropped. If only another role may create them, it reports that.
"""

import asyncio
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta

from kling_relay.flows.observer import Observer
from kling_relay.flows.wakeup import Wakeup
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import transaction
from kling_relay.store.schema import partitions, readiness


@dataclass(frozen=True, eq=False)
class PartitionKeeper:
    """Runs until cancelled; `missing` wakes it when a row had no partition. Times in seconds."""

    database: Database
    _: KW_ONLY
    now: Callable[[], datetime]
    retention: timedelta
    missing: Wakeup
    observer: Observer = field(default_factory=Observer)
    every: float = 10.0
    min_pause: float = 1.0

    async def run(self) -> None:
        """Check again and again until cancelled."""
        while True:
            is_covered = await self.check()
            await asyncio.sleep(self.min_pause)
            if is_covered:
                await self.missing.wait(self.every)

    async def check(self) -> bool:
        """Create partitions if there is none for now; return whether there is one. A failure is reported."""
        try:
            now = self.now()
            state = await readiness.read(self.database, now)
            if not state.missing:
                return True
            async with transaction(self.database.pool) as connection:
                created = await partitions.create_missing(connection, now, self.retention)
        except Exception as error:  # noqa: BLE001 - orders depend on this loop
            self.observer.database_failed("partitions", error)
            return False
        self.observer.partitions_changed(created, 0)
        return True
