"""A pool that lends a connection without a task, a shield and a reset: they were a fifth of a look-up's time.

Connections stay checked out of the driver's pool and wait here, the last used first. One that is not as it was lent
(closed, cancelled, in a transaction) goes back to the driver, who cleans it or throws it away; its borrower does not
wait for that, since a server that hangs does not answer a cancellation either.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from typing_extensions import override

Row = asyncpg.Record
if TYPE_CHECKING:  # the driver's classes are generic only in their stubs
    _Pool = asyncpg.Pool[Row]
    _Lent = PoolConnectionProxy[Row]
else:
    _Pool, _Lent = asyncpg.Pool, PoolConnectionProxy


class QuickPool(_Pool):
    """The driver's pool, quicker to borrow from; who waits is served in turn."""

    _room: int
    _spare: list[_Lent]
    _line: "deque[asyncio.Future[_Lent | None]]"
    _leaving: set[asyncio.Task[None]]

    @override
    def __init__(self, *where: Any, max_size: int, timeout: float, **options: Any) -> None:
        """`timeout` in seconds is for connecting, and for waiting until a connection is free."""
        super().__init__(*where, max_size=max_size, timeout=timeout, **options)
        self._patience = timeout
        self._room = max_size
        self._spare = []
        self._line = deque()
        self._leaving = set()

    async def _acquire(self, timeout: float | None) -> _Lent:  # noqa: ASYNC109 - the driver's own signature
        """Lend a connection; every way to borrow one comes through here."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (self._patience if timeout is None else timeout)
        while True:
            while self._spare:
                lent = self._spare.pop()
                if _is_sound(lent):
                    return lent
                await self._discard(lent)
            if self.is_closing():
                raise asyncpg.InterfaceError("the pool is closing")
            if self._room:
                self._room -= 1
                try:
                    return await super()._acquire(max(0.001, until - loop.time()))  # type: ignore[misc,no-any-return]  # not in the stubs
                except BaseException:
                    self._make_room()
                    raise
            lent_on = await self._in_line(until)
            if lent_on is not None:
                return lent_on

    async def _in_line(self, until: float) -> _Lent | None:
        """Wait for a connection, or for room to make one (None)."""
        place: asyncio.Future[_Lent | None] = asyncio.get_running_loop().create_future()
        self._line.append(place)
        try:
            async with asyncio.timeout_at(until):
                return await place
        except BaseException:
            if place.done() and not place.cancelled():  # it came just then: to whoever is next
                lent = place.result()
                self._spare.append(lent) if lent is not None else None
                self._call_next()
            raise

    @override
    async def release(self, connection: _Lent, *, timeout: float | None = None) -> None:
        """Take a connection back."""
        if not _is_sound(connection):
            leaving = asyncio.get_running_loop().create_task(self._discard(connection))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._left)
        else:
            self._spare.append(connection)
            self._call_next()

    @override
    async def fetch(self, query: str, *args: Any, **how: Any) -> Any:
        lent = self._quickly() or await self._acquire(None)
        try:
            return await lent.fetch(query, *args, **how)
        finally:
            await self.release(lent)

    @override
    async def fetchrow(self, query: str, *args: Any, **how: Any) -> Any:
        lent = self._quickly() or await self._acquire(None)
        try:
            return await lent.fetchrow(query, *args, **how)
        finally:
            await self.release(lent)

    @override
    def get_idle_size(self) -> int:
        return super().get_idle_size() + len(self._spare)

    @override
    async def close(self) -> None:
        """Close once all that is lent has come back."""
        closing = asyncio.ensure_future(super().close())
        while not closing.done():
            while self._spare:
                await self._discard(self._spare.pop())
            await asyncio.wait({closing}, timeout=0.01)
        await closing

    def _quickly(self) -> _Lent | None:
        return self._spare.pop() if self._spare and _is_sound(self._spare[-1]) else None

    async def _discard(self, lent: _Lent) -> None:
        try:
            await super().release(lent)
        finally:
            self._make_room()

    def _left(self, leaving: "asyncio.Task[None]") -> None:
        self._leaving.discard(leaving)
        if not leaving.cancelled():
            leaving.exception()  # the driver has closed it then, and nobody waits to hear of it

    def _make_room(self) -> None:
        self._room += 1
        self._call_next()

    def _call_next(self) -> None:
        while self._line and (self._spare or self._room):
            place = self._line.popleft()
            if not place.done():
                place.set_result(self._spare.pop() if self._spare else None)
                return


def _is_sound(lent: _Lent) -> bool:
    # None once the driver has taken it back; not in the stubs, and asking the proxy itself would raise
    connection: Any = getattr(lent, "_con")  # noqa: B009
    return connection is not None and not (
        connection.is_closed() or connection.is_in_transaction() or connection._protocol._is_cancelling()  # noqa: SLF001 - the driver's pool asks the same
    )
