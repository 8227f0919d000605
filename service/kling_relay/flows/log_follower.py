"""LogFollower reads new events once per process, and passes them to event streams and to requests that wait for a task.

One statement every few hundredths of a second serves all clients, and runs only while there are listeners or
waiters. A wakeup makes it run at once. Events of other processes are found the same way, so that several processes
behind one address behave as one.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from kling_relay.flows.wakeup import Wakeup
from kling_relay.store.events import log
from kling_relay.store.events.log import Cursor, LoggedEvent
from kling_relay.store.postgres.database import Database
from kling_relay.store.postgres.statement import CollisionError, StoreUnavailableError

CHECK_EVERY = 0.03
MIN_INTERVAL = 0.005
"""Seconds between two checks, however many wakeups there are."""
_RETRY_AFTER = 0.5
_LIMIT = 500
_FINAL = frozenset({"task.succeed", "task.failed"})

_log = logging.getLogger(__name__)


class Listener:
    """The unread events of one stream: those of its client with these types and this task, at most `size`.

    `on_change` is called when there is something to read, or when it is closed.
    """

    __slots__ = ("_events", "_size", "_task", "_types", "client", "is_closed", "is_overrun", "on_change")

    def __init__(self, client: UUID, *, types: frozenset[str] | None, task: UUID | None, size: int) -> None:
        self.client = client
        self.is_overrun = False
        """Whether an event was dropped since the last `clear`, because the stream did not read."""
        self.is_closed = False
        self.on_change: Callable[[], None] | None = None
        self._types = types
        self._task = task
        self._size = size
        self._events: list[LoggedEvent] = []

    def put(self, event: LoggedEvent) -> None:
        """Add an event if the stream wants it."""
        if (self._types is not None and event.type not in self._types) or (
            self._task is not None and event.at.subject != self._task
        ):
            return
        if len(self._events) >= self._size:
            self.is_overrun = True
        else:
            self._events.append(event)
        if self.on_change is not None:
            self.on_change()

    def clear(self) -> None:
        """Drop the unread events, because the log will be read instead."""
        self._events.clear()
        self.is_overrun = False

    def close(self) -> None:
        self.is_closed = True
        if self.on_change is not None:
            self.on_change()

    def take(self, limit: int) -> list[LoggedEvent]:
        """Return up to `limit` unread events, oldest first, and count them as read."""
        events, self._events = self._events[:limit], self._events[limit:]
        return events


class LogFollower:
    """Follows the log while there are listeners or waiters; `run` is a background task of the process."""

    def __init__(self, database: Database, wakeup: Wakeup) -> None:
        self._database = database
        self._wakeup = wakeup
        self._cursors: dict[UUID, Cursor] = {}
        """By client: up to where its listeners and waiters have all events."""
        self._listeners: defaultdict[UUID, set[Listener]] = defaultdict(set)
        self._waiters: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)
        self._users: defaultdict[UUID, int] = defaultdict(int)
        self._has_users = asyncio.Event()
        self.is_closed = False

    async def start(self, listener: Listener) -> Cursor:
        """Put every event after the returned cursor into `listener`, each once and in order, until `stop`."""
        cursor = await self._follow(listener.client)
        self._listeners[listener.client].add(listener)
        if self.is_closed:
            listener.close()
        return cursor

    def stop(self, listener: Listener) -> None:
        """Put nothing more into a listener that was started."""
        self._listeners[listener.client].discard(listener)
        self._unfollow(listener.client)

    @asynccontextmanager
    async def watching(self, client: UUID, task: UUID) -> AsyncIterator[asyncio.Event]:
        """Yield an event that is set when the client's task ends. Read the task inside the block, so that
        its end is not missed.
        """
        end_event = asyncio.Event()
        await self._follow(client)
        try:
            self._waiters[task].add(end_event)
            if self.is_closed:
                end_event.set()
            yield end_event
        finally:
            self._waiters[task].discard(end_event)
            if not self._waiters[task]:
                del self._waiters[task]
            self._unfollow(client)

    async def run(self) -> None:
        """Follow the log until cancelled. While the database is unavailable, listeners and waiters wait."""
        loop = asyncio.get_running_loop()
        while True:
            await self._has_users.wait()
            started_at = loop.time()
            try:
                has_more = await self._check()
            except (StoreUnavailableError, CollisionError) as error:
                _log.warning("cannot follow the event log, will try again: %s", error)
                await asyncio.sleep(_RETRY_AFTER)
                continue
            except Exception:  # noqa: BLE001 - every stream and waiter depends on this loop
                _log.exception("following the event log failed")
                await asyncio.sleep(_RETRY_AFTER)
                continue
            if not has_more:
                await self._wakeup.wait(CHECK_EVERY)
                await asyncio.sleep(max(0.0, started_at + MIN_INTERVAL - loop.time()))

    def close(self) -> None:
        """End every stream and wake every waiter, now and from now on, because the process stops."""
        self.is_closed = True
        for listener in [listener for listeners in self._listeners.values() for listener in listeners]:
            listener.close()
        for waiters in self._waiters.values():
            for end_event in waiters:
                end_event.set()

    async def _check(self) -> bool:
        """Hand out the new events; return whether there may be more at once."""
        events = await log.after_many(self._database, dict(self._cursors), _LIMIT)
        counts: defaultdict[UUID, int] = defaultdict(int)
        for event in events:
            counts[event.client] += 1
            cursor = self._cursors.get(event.client)
            # a client that left and came back meanwhile has a newer cursor and the events up to it
            if cursor is None or event.at <= cursor:
                continue
            self._cursors[event.client] = event.at
            for listener in self._listeners.get(event.client, ()):
                listener.put(event)
            if event.type in _FINAL:
                for end_event in self._waiters.get(event.at.subject, ()):
                    end_event.set()
        return any(count >= _LIMIT for count in counts.values())

    async def _follow(self, client: UUID) -> Cursor:
        self._users[client] += 1
        try:
            if client not in self._cursors:
                end = await log.head(self._database)
                self._cursors.setdefault(client, end)
        except BaseException:
            self._unfollow(client)
            raise
        self._has_users.set()
        return self._cursors[client]

    def _unfollow(self, client: UUID) -> None:
        self._users[client] -= 1
        if not self._users[client]:
            del self._users[client]
            self._cursors.pop(client, None)
            self._listeners.pop(client, None)
            if not self._cursors:
                self._has_users.clear()
