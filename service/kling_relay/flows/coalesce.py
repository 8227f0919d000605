"""Coalescing: what is in hand goes into one write. There is no timer.

A flush starts at once while fewer than two (`max_flushes`) run; otherwise an item waits for the next, so that a batch
is what arrived during a commit: one item when idle, `max_items` when busy. Items of one key never meet in one batch
or in two batches at once. One bad item fails alone; a lost connection (not a silent one) or a collision repeats the
batch, which the writes' own compare-and-set makes safe. A caller that goes away takes nothing with it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kling_relay.store.postgres.statement import BadRowError, CollisionError, StoreSilentError, StoreUnavailableError

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_FLUSHES = 2
MAX_ITEMS = 64
MAX_TRIES = 5
"""How often a batch is repeated after a collision."""


class OverloadedError(Exception):
    """More is waiting than can be written in good time; come back in a second"""


@dataclass(slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    key: Hashable
    future: "asyncio.Future[Result]"
    since: float


class Coalescer(Generic[Item, Result]):
    """Gathers calls into batches for `write`, which returns one result (or an exception to raise) per item."""

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Result | BaseException]]],
        key: Callable[[Item], Hashable],
        *,
        max_waiting: int = 2000,
        max_wait: float = 0.25,
        max_items: int = MAX_ITEMS,
        max_flushes: int = MAX_FLUSHES,
        observe: Callable[[int, float], None] | None = None,
    ) -> None:
        """`max_wait` is in seconds; `observe` is told each batch's size and its oldest item's wait."""
        self._write = write
        self._key = key
        self._most_waiting = max_waiting
        self._longest_wait = max_wait
        self._most_items = max_items
        self._most_flushes = max_flushes
        self._observe = observe
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._busy: set[Hashable] = set()
        self._flushes: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def __call__(self, item: Item) -> "asyncio.Future[Result]":
        """Have `item` written and return its result to come; OverloadedError when the queue is too long or too old.

        A caller that is cancelled cancels that alone; the item stays in its batch.
        """
        loop = asyncio.get_running_loop()
        now, queue = loop.time(), self._queue
        if queue and (len(queue) >= self._most_waiting or now - queue[0].since > self._longest_wait):
            raise OverloadedError
        waiting: _Waiting[Item, Result] = _Waiting(item, self._key(item), loop.create_future(), now)
        queue.append(waiting)
        if len(self._flushes) < self._most_flushes:
            self._flush_if_free()
        return waiting.future

    async def drain(self) -> None:
        """Wait until everything in hand is written."""
        while self._flushes:
            await asyncio.wait(self._flushes)

    def _flush_if_free(self) -> None:
        while self._queue and len(self._flushes) < self._most_flushes:
            batch = self._take()
            if not batch:
                return
            task = asyncio.get_running_loop().create_task(self._flush(batch))
            self._flushes.add(task)
            task.add_done_callback(self._flushed)

    def _flushed(self, task: "asyncio.Task[None]") -> None:
        self._flushes.discard(task)
        if not task.cancelled() and (error := task.exception()):
            raise error
        self._flush_if_free()

    def _take(self) -> list[_Waiting[Item, Result]]:
        """Take the oldest items of keys that are in no batch."""
        batch: list[_Waiting[Item, Result]] = []
        passed_over: list[_Waiting[Item, Result]] = []
        while self._queue and len(batch) < self._most_items:
            waiting = self._queue.popleft()
            if waiting.key in self._busy:
                passed_over.append(waiting)
            else:
                self._busy.add(waiting.key)
                batch.append(waiting)
        self._queue.extendleft(reversed(passed_over))
        return batch

    async def _flush(self, batch: list[_Waiting[Item, Result]]) -> None:
        if self._observe:
            self._observe(len(batch), asyncio.get_running_loop().time() - batch[0].since)
        try:
            await self._settle(batch)
        finally:
            self._busy.difference_update([waiting.key for waiting in batch])

    async def _settle(self, batch: list[_Waiting[Item, Result]]) -> None:
        """Write the batch; on a bad row halve it until the bad one stands alone."""
        try:
            results: Sequence[Any] = await self._written([waiting.item for waiting in batch])
        except BadRowError as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._settle(batch[:middle])
                await self._settle(batch[middle:])
                return
            results = [error]
        except Exception as error:  # noqa: BLE001 - whatever it is, every caller must hear of it
            results = [error] * len(batch)
        for waiting, result in zip(batch, results, strict=True):
            if waiting.future.done():
                continue
            if isinstance(result, BaseException):
                waiting.future.set_exception(result)
                waiting.future.exception()  # a caller that went away leaves nothing unheard
            else:
                waiting.future.set_result(result)

    async def _written(self, items: list[Item]) -> Sequence[Result | BaseException]:
        for tries_left in range(MAX_TRIES - 1, -1, -1):
            try:
                return await self._write(items)
            except CollisionError:
                if not tries_left:
                    raise StoreUnavailableError("too many collisions") from None
            except StoreUnavailableError as error:
                if tries_left < MAX_TRIES - 1 or isinstance(error, StoreSilentError):
                    raise
        raise AssertionError
