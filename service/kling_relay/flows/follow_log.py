"""The tail of the log, followed once per process for everybody who waits: streams of clients, and waiters for tasks.

One statement every few hundredths of a second, for all clients together, and only while somebody waits; at once when
the bell says that something was written here. What other processes wrote is found the same way, so that several
processes behind one address behave as one.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from kling_relay.flows.wakeup import Wakeup
from kling_relay.store.events import log
from kling_relay.store.events.log import Cursor, LoggedEvent
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import CollisionError, StoreUnavailableError

LOOK_EVERY = 0.03
MIN_INTERVAL = 0.005
"""Seconds between two looks, however often the bell rings."""
_WHEN_AWAY = 0.5
_MAX = 500
_FINAL = frozenset({"task.succeed", "task.failed"})

_log = logging.getLogger(__name__)


class Listener:
    """What one stream hears of its client's events: of these types and this task where given, at most `size` unread."""

    def __init__(self, client: UUID, *, types: frozenset[str] | None, task: UUID | None, size: int) -> None:
        self.client = client
        self.is_overrun = False
        """Whether something was dropped since the last `forget`, because nobody read."""
        self.is_closed = False
        self._types = types
        self._task = task
        self._size = size
        self._heard: deque[LoggedEvent] = deque()
        self._news = asyncio.Event()

    def hear(self, told: LoggedEvent) -> None:
        if (self._types is not None and told.type not in self._types) or (
            self._task is not None and told.at.subject != self._task
        ):
            return
        if len(self._heard) >= self._size:
            self.is_overrun = True
        else:
            self._heard.append(told)
        self._news.set()

    def forget(self) -> None:
        """Drop what was heard: the log will be read instead."""
        self._heard.clear()
        self.is_overrun = False

    def close(self) -> None:
        self.is_closed = True
        self._news.set()

    async def listen(self, within: float) -> list[LoggedEvent]:
        """Return what was heard, waiting for something for so many seconds at most."""
        if not self._heard and not self.is_closed:
            self._news.clear()
            try:
                async with asyncio.timeout(within):
                    await self._news.wait()
            except TimeoutError:
                return []
        heard = list(self._heard)
        self._heard.clear()
        return heard


class LogFollower:
    """Follows the log for as long as anybody has joined; `run` is a task of the process."""

    def __init__(self, database: Database, wakeup: Wakeup) -> None:
        self._database = database
        self._wakeup = wakeup
        self._places: dict[UUID, Cursor] = {}
        self._ears: defaultdict[UUID, set[Listener]] = defaultdict(set)
        self._waiters: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._present: defaultdict[UUID, int] = defaultdict(int)
        self._anybody = asyncio.Event()
        self.is_closed = False

    @asynccontextmanager
    async def hearing(self, ear: Listener) -> AsyncIterator[Cursor]:
        """Let `ear` hear every event behind the cursor that this gives, each once and in order."""
        async with self._joined(ear.client) as place:
            self._ears[ear.client].add(ear)
            if self.is_closed:
                ear.close()
            try:
                yield place
            finally:
                self._ears[ear.client].discard(ear)

    @asynccontextmanager
    async def watching(self, client: UUID, task: UUID) -> AsyncIterator[asyncio.Event]:
        """Give an event that is set when the client's task becomes final; look at the task after this began."""
        ended = asyncio.Event()
        async with self._joined(client):
            self._waiters[task].add(ended)
            if self.is_closed:
                ended.set()
            try:
                yield ended
            finally:
                self._waiters[task].discard(ended)
                if not self._waiters[task]:
                    del self._waiters[task]

    async def run(self) -> None:
        """Follow the log until cancelled; while the database is away, everybody waits."""
        loop = asyncio.get_running_loop()
        while True:
            await self._anybody.wait()
            began = loop.time()
            try:
                is_more = await self._look()
            except (StoreUnavailableError, CollisionError) as error:
                _log.warning("the log cannot be followed at present: %s", error)
                await asyncio.sleep(_WHEN_AWAY)
                continue
            except Exception:  # noqa: BLE001 - everybody who waits here depends on this one loop going on
                _log.exception("the log could not be followed")
                await asyncio.sleep(_WHEN_AWAY)
                continue
            if not is_more:
                await self._wakeup.heard(LOOK_EVERY)
                await asyncio.sleep(max(0.0, began + MIN_INTERVAL - loop.time()))

    def close(self) -> None:
        """End every stream and wake every waiter, now and from now on, because the process ends."""
        self.is_closed = True
        for ears in self._ears.values():
            for ear in ears:
                ear.close()
        for waiters in self._waiters.values():
            for ended in waiters:
                ended.set()

    async def _look(self) -> bool:
        """Tell what is new to everybody; whether there may be more at once."""
        told = await log.after_many(self._database, dict(self._places), _MAX)
        counts: defaultdict[UUID, int] = defaultdict(int)
        for each in told:
            counts[each.client] += 1
            place = self._places.get(each.client)
            # who left and joined again meanwhile has a newer place, and has been told up to there
            if place is None or each.at <= place:
                continue
            self._places[each.client] = each.at
            for ear in self._ears.get(each.client, ()):
                ear.hear(each)
            if each.type in _FINAL:
                for ended in self._waiters.get(each.at.subject, ()):
                    ended.set()
        return any(count >= _MAX for count in counts.values())

    @asynccontextmanager
    async def _joined(self, client: UUID) -> AsyncIterator[Cursor]:
        self._present[client] += 1
        try:
            if client not in self._places:
                end = await log.head(self._database)
                self._places.setdefault(client, end)
            self._anybody.set()
            yield self._places[client]
        finally:
            self._present[client] -= 1
            if not self._present[client]:
                del self._present[client]
                self._places.pop(client, None)
                self._ears.pop(client, None)
                if not self._places:
                    self._anybody.clear()
