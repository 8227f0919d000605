"""The database's time in every process, by which everything is written and compared: ids, deadlines, days of a budget,
partitions, leases.

The clocks of machines differ, and some are wrong by days. So a process reads the database's clock now and then, and
carries its time on by a clock of the machine that nobody sets. The machine's own time is only compared with it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime

from kling_relay.flows.observer import Observer
from kling_relay.store.postgres.database import Database, current_time


class DatabaseClock:
    """`now` returns the database's time, within what the latest readings allow; before the first, the machine's."""

    def __init__(self, *, machine_now: Callable[[], datetime], elapsed: Callable[[], float]) -> None:
        """`elapsed` returns seconds since any moment; nobody sets it."""
        self.elapsed = elapsed
        self._machine_now = machine_now
        self._zero = machine_now().timestamp() - elapsed()
        """The database's time, in seconds since 1970, at which `elapsed` was zero."""
        self._is_read = False

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._zero + self.elapsed(), UTC)

    @property
    def machine_offset(self) -> float:
        """By how many seconds the machine's time is ahead of the database's."""
        return self._machine_now().timestamp() - self._zero - self.elapsed()

    def adjust(self, at: datetime, asked_at: float) -> None:
        """Take over a reading: the database said `at` between `asked_at` (of `elapsed`) and now.

        The time moves only if the reading contradicts it, and no further than needed, so that it does not jitter.
        """
        latest, earliest = at.timestamp() - asked_at, at.timestamp() - self.elapsed()
        if self._is_read:
            self._zero = min(max(self._zero, earliest), latest)
        else:
            self._zero, self._is_read = (earliest + latest) / 2, True


@dataclass(frozen=True, eq=False)
class ClockKeeper:
    """Reads the database's clock every `every` seconds, in every process."""

    database: Database
    clock: DatabaseClock
    _: KW_ONLY
    observer: Observer = field(default_factory=Observer)
    every: float = 10.0

    async def run(self) -> None:
        """Read again and again until cancelled. While the database is away, its time goes on."""
        while True:
            await asyncio.sleep(self.every)
            try:
                await self.read()
            except Exception as error:  # noqa: BLE001 - every time in this process depends on this loop
                self.observer.database_failed("clock", error)

    async def read(self) -> None:
        """Read the database's clock once. Raises StoreUnavailableError."""
        asked_at = self.clock.elapsed()
        self.clock.adjust(await current_time(self.database.pool), asked_at)
        self.observer.clock_compared(self.clock.machine_offset)
