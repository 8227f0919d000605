"""A pool that lends a connection without asyncpg's task, shield and reset: these cost more CPU than a small query.

Connections stay checked out of asyncpg's pool and wait here, the last used first. A connection that comes back closed,
cancelled or in a transaction goes to asyncpg, which cleans or closes it; its borrower does not wait for that, because a
server that hangs does not answer a cancellation either.

It uses these internals of asyncpg: `Pool._acquire` and `Pool._generation`, `PoolConnectionProxy._con` and `._holder`
with its `_pool` and `_generation`, `Connection._protocol` with its `_is_cancelling`.
`tests/store/test_asyncpg_internals.py` fails if they change; ADR 14 has what it gains.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from typing_extensions import override

REPLACE_EVERY = 1.0
"""Seconds between two replacements of all connections: while a server stays read-only, every write asks for one."""

Row = asyncpg.Record
if TYPE_CHECKING:  # the driver's classes are generic only in their stubs
    _Pool = asyncpg.Pool[Row]
    _Lent = PoolConnectionProxy[Row]
else:
    _Pool, _Lent = asyncpg.Pool, PoolConnectionProxy


class QuickPool(_Pool):
    """asyncpg's pool, but cheaper to borrow from; waiting borrowers are served first come, first served."""

    _free_places: int
    _idle: list[_Lent]
    _waiters: "deque[asyncio.Future[_Lent | None]]"
    _discarding: set[asyncio.Task[None]]
    _generation: int
    """asyncpg's count of replacements: a connection of an older generation is closed when it comes back to asyncpg."""
    siblings: "Sequence[QuickPool]" = ()
    """The other pools of the same database, which are replaced together with this one."""

    @override
    def __init__(self, *address: Any, max_size: int, timeout: float, **options: Any) -> None:
        """`timeout` in seconds is for connecting, and for waiting until a connection is free."""
        super().__init__(*address, max_size=max_size, timeout=timeout, **options)
        self._max_wait = timeout
        self._free_places = max_size
        self._idle = []
        self._waiters = deque()
        self._discarding = set()
        self._replaced_at = float("-inf")

    def replace(self) -> None:
        """Close every connection of this pool and of its siblings, those in use when they come back.

        New ones go where the database's name leads by then. At most once per REPLACE_EVERY.
        """
        now = asyncio.get_running_loop().time()
        if now - self._replaced_at < REPLACE_EVERY:
            return
        for pool in (self, *self.siblings):
            pool._replace_own(now)  # noqa: SLF001 - it is another of ours

    def _replace_own(self, now: float) -> None:
        self._replaced_at = now
        self._generation += 1
        idle, self._idle = self._idle, []
        for lent in idle:
            self._start_discarding(lent)

    async def _acquire(self, timeout: float | None) -> _Lent:  # noqa: ASYNC109 - the driver's own signature
        """Lend a connection; every way to borrow one calls this method."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._max_wait if timeout is None else timeout)
        while True:
            while self._idle:
                lent = self._idle.pop()
                if _is_reusable(lent, self._generation):
                    return lent
                await self._discard(lent)
            if self.is_closing():
                raise asyncpg.InterfaceError("the pool is closing")
            if self._free_places:
                self._free_places -= 1
                try:
                    return await super()._acquire(max(0.001, deadline - loop.time()))  # type: ignore[misc,no-any-return]  # not in the stubs
                except BaseException:
                    self._add_place()
                    raise
            returned = await self._wait(deadline)
            if returned is not None:
                return returned

    async def _wait(self, deadline: float) -> _Lent | None:
        """Wait for a connection, or for a place to open one (None)."""
        waiter: asyncio.Future[_Lent | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():  # it was served at that moment: pass it on to the next
                lent = waiter.result()
                self._idle.append(lent) if lent is not None else None
                self._serve_next()
            raise

    @override
    async def release(self, connection: _Lent, *, timeout: float | None = None) -> None:
        """Take a connection back."""
        if not _is_reusable(connection, self._generation):
            self._start_discarding(connection)
        else:
            self._idle.append(connection)
            self._serve_next()

    @override
    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        lent = self._take_idle() or await self._acquire(None)
        try:
            return await lent.fetch(query, *args, **options)
        finally:
            await self.release(lent)

    @override
    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        lent = self._take_idle() or await self._acquire(None)
        try:
            return await lent.fetchrow(query, *args, **options)
        finally:
            await self.release(lent)

    @override
    def get_idle_size(self) -> int:
        return super().get_idle_size() + len(self._idle)

    @override
    async def close(self) -> None:
        """Close the pool once every lent connection has come back."""
        closing = asyncio.ensure_future(super().close())
        while not closing.done():
            while self._idle:
                await self._discard(self._idle.pop())
            await asyncio.wait({closing}, timeout=0.01)
        await closing

    def _take_idle(self) -> _Lent | None:
        return self._idle.pop() if self._idle and _is_reusable(self._idle[-1], self._generation) else None

    def _start_discarding(self, lent: _Lent) -> None:
        discarding = asyncio.get_running_loop().create_task(self._discard(lent))
        self._discarding.add(discarding)
        discarding.add_done_callback(self._discarded)

    async def _discard(self, lent: _Lent) -> None:
        try:
            await super().release(lent)
        finally:
            self._add_place()

    def _discarded(self, discarding: "asyncio.Task[None]") -> None:
        self._discarding.discard(discarding)
        if not discarding.cancelled():
            discarding.exception()  # asyncpg has closed the connection then; nobody needs the error

    def _add_place(self) -> None:
        self._free_places += 1
        self._serve_next()

    def _serve_next(self) -> None:
        while self._waiters and (self._idle or self._free_places):
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(self._idle.pop() if self._idle else None)
                return


def _is_reusable(lent: Any, generation: int) -> bool:
    # its attributes are not in the stubs; `_con` is None once asyncpg has taken it back
    connection = lent._con  # noqa: SLF001 - asking the proxy itself would raise then
    if connection is None or lent._holder._generation != generation:  # noqa: SLF001 - asyncpg's pool asks the same
        return False
    return not (
        connection.is_closed() or connection.is_in_transaction() or connection._protocol._is_cancelling()  # noqa: SLF001 - asyncpg's pool asks the same
    )
