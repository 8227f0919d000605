"""Writes delivery attempts to the database in batches, while the next attempts are made.

An attempt that waits here was made but is not recorded yet. If the process dies now, the event is delivered again
under the same webhook-id. While the database is unavailable, the batch is kept and tried again, and no more
deliveries are read.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from kling_relay.core.ids import creation_time
from kling_relay.store.deliveries import outbox
from kling_relay.store.deliveries.outbox import SettledAttempt
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import (
    BadRowError,
    CollisionError,
    MissingPartitionError,
    StoreUnavailableError,
)

MAX_BATCH = 500
MAX_FLUSHES = 2
RETRY_AFTER = 0.5
OLD_AFTER = timedelta(days=2)
"""An event that is older has its partition already, or will never have one again."""


@dataclass(frozen=True, eq=False)
class Settlement:
    """Writes attempts in the background. `on_settled` is called with each batch that is on disk."""

    database: Database
    on_settled: Callable[[Sequence[SettledAttempt]], None]
    _buffer: list[SettledAttempt] = field(init=False, default_factory=list)
    _flushes: "set[asyncio.Task[None]]" = field(init=False, default_factory=set)

    def add(self, attempt: SettledAttempt) -> None:
        """Queue an attempt to be written."""
        self._buffer.append(attempt)
        self._start_flushes()

    @property
    def waiting(self) -> int:
        return len(self._buffer)

    async def drain(self) -> None:
        """Wait until everything is on disk."""
        while self._flushes:
            await asyncio.wait(self._flushes)

    def _start_flushes(self) -> None:
        while self._buffer and len(self._flushes) < MAX_FLUSHES:
            batch = self._buffer[:MAX_BATCH]
            del self._buffer[:MAX_BATCH]
            flush = asyncio.get_running_loop().create_task(self._flush(batch))
            self._flushes.add(flush)
            flush.add_done_callback(self._flush_ended)

    def _flush_ended(self, flush: "asyncio.Task[None]") -> None:
        self._flushes.discard(flush)
        if not flush.cancelled() and (error := flush.exception()):
            raise error
        self._start_flushes()

    async def _flush(self, batch: Sequence[SettledAttempt]) -> None:
        while True:
            try:
                await self._write(batch)
            except (StoreUnavailableError, CollisionError):
                await asyncio.sleep(RETRY_AFTER)
            else:
                self.on_settled(batch)
                return

    async def _write(self, batch: Sequence[SettledAttempt]) -> None:
        """Write the batch, or its halves on a bad row. The bad attempt is dropped, and its delivery is read again.

        An old event's partition may be gone for good. One that is missing for a new event comes back.
        """
        try:
            await outbox.settle(self.database, batch)
        except (BadRowError, MissingPartitionError) as error:
            if len(batch) == 1 and isinstance(error, MissingPartitionError) and not _is_old(batch[0]):
                raise
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._write(batch[:middle])
                await self._write(batch[middle:])


def _is_old(attempt: SettledAttempt) -> bool:
    return attempt.at - creation_time(attempt.subject) > OLD_AFTER
