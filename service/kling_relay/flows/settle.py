"""Settling: attempts are written down in batches while the next ones are being made.

What waits here was delivered but is not yet known to be: if the process dies now it is delivered again, under the
same webhook-id. While the database is away the batch is kept and tried again, and nothing new is read.
"""

import asyncio
from collections.abc import Callable, Sequence

from kling_relay.store.deliveries import outbox
from kling_relay.store.deliveries.outbox import SettledAttempt
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import BadRowError, CollisionError, StoreUnavailableError

MAX_AT_ONCE = 500
MAX_FLUSHES = 2
RETRY_AFTER = 0.5


class Settlement:
    """Takes attempts without making anyone wait; `settled` hears of every batch that is on disk."""

    def __init__(self, database: Database, settled: Callable[[Sequence[SettledAttempt]], None]) -> None:
        self._database = database
        self._settled = settled
        self._buffer: list[SettledAttempt] = []
        self._flushes: set[asyncio.Task[None]] = set()

    def put(self, one: SettledAttempt) -> None:
        """Have an attempt written down soon."""
        self._buffer.append(one)
        self._flush_if_free()

    @property
    def waiting(self) -> int:
        return len(self._buffer)

    async def drain(self) -> None:
        """Wait until everything is on disk."""
        while self._flushes:
            await asyncio.wait(self._flushes)

    def _flush_if_free(self) -> None:
        while self._buffer and len(self._flushes) < MAX_FLUSHES:
            batch, self._buffer = self._buffer[:MAX_AT_ONCE], self._buffer[MAX_AT_ONCE:]
            flush = asyncio.get_running_loop().create_task(self._flush(batch))
            self._flushes.add(flush)
            flush.add_done_callback(self._flushed)

    def _flushed(self, flush: "asyncio.Task[None]") -> None:
        self._flushes.discard(flush)
        if not flush.cancelled() and (error := flush.exception()):
            raise error
        self._flush_if_free()

    async def _flush(self, batch: Sequence[SettledAttempt]) -> None:
        while True:
            try:
                await self._write(batch)
            except (StoreUnavailableError, CollisionError):
                await asyncio.sleep(RETRY_AFTER)
            else:
                self._settled(batch)
                return

    async def _write(self, batch: Sequence[SettledAttempt]) -> None:
        """Write the batch; on a bad row halve it, and let the bad one be tried again when its owner reads it again."""
        try:
            await outbox.settle(self._database, batch)
        except BadRowError:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._write(batch[:middle])
                await self._write(batch[middle:])
