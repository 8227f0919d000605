"""Turns of reports: requests that may read many rows (lists, searches, usage) share a few connections of their own.

A key has one turn at a time, and a client at most all but one, so that nobody can take them all. Of those who wait,
the client with the fewest turns is next, and its keys take turns. A report has a time limit, and so has the wait for a
turn. After a long report its key rests for as long as it took, so that the database computes for it half of the time.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

from kling_relay.core.errors import RateLimited, ReportTooLong, Unavailable
from kling_relay.core.key import Caller
from kling_relay.store.postgres.statement import StoreSlowError

MAX_WAITING_OF_KEY = 100
MAX_WAITING = 2_000
"""Reports that may wait, of one key and in all."""
MIN_REST = 0.25
"""Seconds: after a report that took less, its key need not rest."""
_GRACE = 0.5
"""Seconds beyond its time that a report has; within them the database stops a statement that takes all of it."""


class _Waiter(NamedTuple):
    """A report that waits for its turn."""

    caller: Caller
    has_turn: "asyncio.Future[None]"


class ReportTurns:
    """Gives reports their turns. `size` is the number of connections, `seconds` the limit of a report and of a wait."""

    def __init__(self, size: int, seconds: float) -> None:
        self._free = size
        self._client_share = max(1, size - 1)
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._keys: set[UUID] = set()
        """The keys that have a turn, or rest after one."""
        self._clients: Counter[UUID] = Counter()
        """How many such keys each client has."""
        self._waiting: dict[UUID, deque[_Waiter]] = {}
        """By key, in the order of their turns."""
        self._waiting_count = 0

    @asynccontextmanager
    async def report(self, caller: Caller) -> AsyncIterator[None]:
        """Run a report in its turn and within its time. Raises ReportTooLong, RateLimited, Unavailable."""
        limit = asyncio.timeout(self._seconds + _GRACE)
        async with self.turn(caller):
            try:
                async with limit:
                    yield
            except StoreSlowError:
                raise self._too_long() from None
            except TimeoutError:
                if limit.expired():
                    raise self._too_long() from None
                raise

    @asynccontextmanager
    async def turn(self, caller: Caller) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the end of the block. Raises RateLimited, Unavailable."""
        if self._free and self._may_have_turn(caller):
            self._give(caller)
        else:
            await self._wait(caller)
        started_at = self._loop.time()
        try:
            yield
        finally:
            self._end(caller, self._loop.time() - started_at)

    def _may_have_turn(self, caller: Caller) -> bool:
        return caller.key not in self._keys and self._clients[caller.client] < self._client_share

    def _give(self, caller: Caller) -> None:
        self._free -= 1
        self._keys.add(caller.key)
        self._clients[caller.client] += 1

    def _end(self, caller: Caller, seconds: float = 0.0) -> None:
        """Take back a turn that lasted `seconds`."""
        self._free += 1
        if seconds < MIN_REST:
            self._rested(caller)
        else:
            self._loop.call_later(min(seconds, self._seconds), self._rested, caller)
            self._serve()

    def _rested(self, caller: Caller) -> None:
        self._keys.discard(caller.key)
        self._clients[caller.client] -= 1
        if not self._clients[caller.client]:
            del self._clients[caller.client]
        self._serve()

    async def _wait(self, caller: Caller) -> None:
        if self._waiting_count >= MAX_WAITING:
            raise Unavailable("Too many reports, lists and searches are waiting. Try again soon.")
        queue = self._waiting.setdefault(caller.key, deque())
        if len(queue) >= MAX_WAITING_OF_KEY:
            raise RateLimited(f"{MAX_WAITING_OF_KEY} reports, lists and searches of this key are waiting already.")
        waiter = _Waiter(caller, self._loop.create_future())
        queue.append(waiter)
        self._waiting_count += 1
        try:
            async with asyncio.timeout(self._seconds):
                await waiter.has_turn
        except BaseException as error:
            if waiter.has_turn.done() and not waiter.has_turn.cancelled():  # it came at that moment
                self._end(caller)
            else:
                self._remove(waiter)
            if isinstance(error, TimeoutError):
                raise self._no_turn(caller) from None
            raise

    def _remove(self, waiter: _Waiter) -> None:
        queue = self._waiting.get(waiter.caller.key)
        if queue is None or waiter not in queue:
            return  # it was passed over
        queue.remove(waiter)
        self._waiting_count -= 1
        if not queue:
            del self._waiting[waiter.caller.key]

    def _serve(self) -> None:
        """Give free turns to those who wait."""
        while self._free and (key := self._next_key()) is not None:
            queue = self._waiting.pop(key)
            waiter = queue.popleft()
            self._waiting_count -= 1
            if queue:
                self._waiting[key] = queue  # now the last one
            if not waiter.has_turn.done():  # or it has just given up
                self._give(waiter.caller)
                waiter.has_turn.set_result(None)

    def _next_key(self) -> UUID | None:
        callers = [queue[0].caller for queue in self._waiting.values() if self._may_have_turn(queue[0].caller)]
        return min(callers, key=lambda caller: self._clients[caller.client]).key if callers else None

    def _no_turn(self, caller: Caller) -> RateLimited | Unavailable:
        if self._may_have_turn(caller):
            return Unavailable("Too many reports, lists and searches are running. Try again soon.")
        return RateLimited("Other reports, lists or searches of this key or client are running. Wait for their end.")

    def _too_long(self) -> ReportTooLong:
        return ReportTooLong(
            f"This took longer than {self._seconds:g} s and was stopped. Ask for less: a shorter time (since, until),"
            " an earlier page, a smaller one, or fewer filters and groups."
        )
