"""Coalescing: everything that waits is written together. There is no timer.

A flush starts at once while fewer than `max_flushes` run; otherwise an item waits for the next one. So a batch is what
arrived during a commit: one item when idle, `max_items` (or `max_bytes` of them) when busy. Two items with the same key
are never in one batch, nor in two batches at the same time. A bad item, or one without a partition, fails alone: the
batch is halved until it stands alone. A lost connection (but not a silent one) or a collision repeats the batch, which
the compare-and-set of the writes makes safe. A caller that goes away does not take its item with it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Generic, TypeVar

from kling_relay.flows.observer import Observer
from kling_relay.store.postgres.statement import (
    BadRowError,
    CollisionError,
    MissingPartitionError,
    StoreSilentError,
    StoreUnavailableError,
)

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_FLUSHES = 2
MAX_ITEMS = 64
MAX_TRIES = 5
"""How often a batch is written at most when it collides."""


class OverloadedError(Exception):
    """More is waiting than can be written in time; try again in a second"""


@dataclass(slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    key: Hashable
    future: "asyncio.Future[Result]"
    since: float


@dataclass(frozen=True, eq=False)
class Coalescer(Generic[Item, Result]):
    """Gathers calls into batches for `write`, which returns one result (or an exception to raise) per item.

    `max_wait` is in seconds. `name` is what the observer gets with each batch.
    """

    write: Callable[[Sequence[Item]], Awaitable[Sequence[Result | BaseException]]]
    key: Callable[[Item], Hashable]
    _: KW_ONLY
    max_waiting: int = 2000
    max_wait: float = 0.25
    max_items: int = MAX_ITEMS
    max_flushes: int = MAX_FLUSHES
    size: Callable[[Item], int] | None = None
    """The bytes of an item; a batch has at most `max_bytes` of them, or one item."""
    max_bytes: int = 0
    name: str = ""
    observer: Observer | None = None
    _queue: deque[_Waiting[Item, Result]] = field(init=False, default_factory=deque)
    _busy: set[Hashable] = field(init=False, default_factory=set)
    """The keys of items that are being written."""
    _flushes: "set[asyncio.Task[None]]" = field(init=False, default_factory=set)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def __call__(self, item: Item) -> "asyncio.Future[Result]":
        """Return a future for the result of writing `item`. Raises OverloadedError if the queue is too long or too old.

        Cancelling the future does not take the item out of its batch.
        """
        loop = asyncio.get_running_loop()
        now, queue = loop.time(), self._queue
        if queue and (len(queue) >= self.max_waiting or now - queue[0].since > self.max_wait):
            raise OverloadedError
        waiting: _Waiting[Item, Result] = _Waiting(item, self.key(item), loop.create_future(), now)
        queue.append(waiting)
        if len(self._flushes) < self.max_flushes:
            self._start_flushes()
        return waiting.future

    async def drain(self) -> None:
        """Wait until everything is written."""
        while self._flushes:
            await asyncio.wait(self._flushes)

    def _start_flushes(self) -> None:
        while self._queue and len(self._flushes) < self.max_flushes:
            batch = self._next_batch()
            if not batch:
                return
            task = asyncio.get_running_loop().create_task(self._flush(batch))
            self._flushes.add(task)
            task.add_done_callback(self._flush_ended)

    def _flush_ended(self, task: "asyncio.Task[None]") -> None:
        self._flushes.discard(task)
        if not task.cancelled() and (error := task.exception()):
            raise error
        self._start_flushes()

    def _next_batch(self) -> list[_Waiting[Item, Result]]:
        """Take the oldest items whose keys are not being written."""
        batch: list[_Waiting[Item, Result]] = []
        passed_over: list[_Waiting[Item, Result]] = []
        room = self.max_bytes
        while self._queue and len(batch) < self.max_items:
            waiting = self._queue.popleft()
            if waiting.key in self._busy:
                passed_over.append(waiting)
                continue
            if self.size is not None:
                room -= self.size(waiting.item)
                if room < 0 and batch:
                    passed_over.append(waiting)
                    break
            self._busy.add(waiting.key)
            batch.append(waiting)
        self._queue.extendleft(reversed(passed_over))
        return batch

    async def _flush(self, batch: list[_Waiting[Item, Result]]) -> None:
        if self.observer:
            wait = asyncio.get_running_loop().time() - batch[0].since
            self.observer.batch_started(self.name, len(batch), wait)
        try:
            await self._write_batch(batch)
        finally:
            self._busy.difference_update([waiting.key for waiting in batch])

    async def _write_batch(self, batch: list[_Waiting[Item, Result]]) -> None:
        """Write the batch and hand out the results; on a bad row halve it until the bad one stands alone."""
        try:
            results: Sequence[Any] = await self._write_with_retries([waiting.item for waiting in batch])
        except (BadRowError, MissingPartitionError) as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._write_batch(batch[:middle])
                await self._write_batch(batch[middle:])
                return
            results = [error]
        except Exception as error:  # noqa: BLE001 - every caller must get it, whatever it is
            results = [error] * len(batch)
        for waiting, result in zip(batch, results, strict=True):
            if waiting.future.done():
                continue
            if isinstance(result, BaseException):
                waiting.future.set_exception(result)
                waiting.future.exception()  # marks it as retrieved, because the caller may have gone away
            else:
                waiting.future.set_result(result)

    async def _write_with_retries(self, items: list[Item]) -> Sequence[Result | BaseException]:
        for tries_left in range(MAX_TRIES - 1, -1, -1):
            try:
                return await self.write(items)
            except CollisionError:
                if not tries_left:
                    raise StoreUnavailableError("too many collisions") from None
            except StoreUnavailableError as error:
                if tries_left < MAX_TRIES - 1 or isinstance(error, StoreSilentError | MissingPartitionError):
                    raise
        raise AssertionError
