"""Event streams that have begun: each is a connection without a task, and one task looks after all of them.

When the reader of a stream has what the log had, the stream takes its connection from aiohttp. From then on it writes
when its listener gets events. `EventStreams.run` sends heartbeats, ends the streams of revoked keys, and cuts off
readers that do not read. So an idle stream costs a few kilobytes and no time.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from aiohttp import HttpVersion11, web
from typing_extensions import override

from kling_relay.core.errors import RateLimited, Unauthenticated, Unavailable
from kling_relay.flows.log_follower import Listener, LogFollower
from kling_relay.flows.observer import Observer
from kling_relay.store.events.log import Cursor, LoggedEvent
from kling_relay.store.postgres.statement import CollisionError, StoreUnavailableError
from kling_relay.web.http.auth import Authenticator
from kling_relay.web.http.context import RequestLimits

Credential = tuple[tuple[str, str], ...]
"""The headers of a request that authenticate it."""
_CREDENTIALS = ("Authorization", "X-API-KEY")
_CHECK_EVERY = 1.0
"""Seconds between two looks at all streams."""
_EVENTS = 50
"""Events that are written at a time; then the reader has to keep up."""
_HEARTBEAT = b": still here\n\n"
_LAST_CHUNK = b"0\r\n\r\n"
_UNREAD = bytearray(1024)
"""What a reader sends after its request means nothing, and is written over by the next one."""
_log = logging.getLogger(__name__)


class EventStream(asyncio.BufferedProtocol):
    """One stream. Until it takes its connection, the handler of `http` writes to it."""

    __slots__ = (
        "_heartbeat_at",
        "_is_chunked",
        "_is_scheduled",
        "_is_started",
        "_paused_at",
        "_streams",
        "_transport",
        "credential",
        "cursor",
        "http",
        "key",
        "listener",
    )

    def __init__(self, streams: "EventStreams", http: web.BaseRequest, key: UUID, listener: Listener) -> None:
        self._streams = streams
        self._transport: asyncio.Transport | None = None
        self._is_chunked = http.version >= HttpVersion11
        self._is_scheduled = self._is_started = False
        self._heartbeat_at = 0.0
        self._paused_at: float | None = None
        self.http: web.BaseRequest | None = http
        self.key = key
        self.credential = tuple((name, http.headers[name]) for name in _CREDENTIALS if name in http.headers)
        self.listener = listener
        self.cursor: Cursor | None = None
        """Where the events end that the reader has."""

    @property
    def is_open(self) -> bool:
        """Whether its reader is connected, as far as we know."""
        transport = self._transport if self.http is None else self.http.transport
        return transport is not None and not transport.is_closing()

    async def start(self) -> None:
        """Collect events in the listener, and set the cursor to where they begin."""
        self.cursor = await self._streams.follower.start(self.listener)
        self._is_started = True

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's is not a subclass
        self.http = None
        self._heartbeat_at = self._streams.clock() + self._streams.limits.heartbeat
        self.listener.on_change = self._schedule
        self._schedule()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.end()

    def end(self) -> None:
        """Count the stream as ended; twice does no harm."""
        self.listener.on_change = None
        self._transport = self.http = None
        if self._is_started:
            self._is_started = False
            self._streams.follower.stop(self.listener)
        self._streams.remove(self)

    @override
    def get_buffer(self, sizehint: int) -> bytearray:
        return _UNREAD

    @override
    def buffer_updated(self, nbytes: int) -> None:
        """Ignore what the reader sends."""

    @override
    def pause_writing(self) -> None:
        self._paused_at = self._streams.clock()

    @override
    def resume_writing(self) -> None:
        self._paused_at = None
        self._write_events()

    def check(self, now: float, *, is_authorized: bool) -> None:
        """Send a heartbeat if it is time for one; end the stream if its key or its reader is gone."""
        limits = self._streams.limits
        if self._transport is None:
            return
        if not is_authorized:
            self._close()
        elif self._paused_at is not None:
            if now - self._paused_at > limits.stream_stall:
                self._transport.abort()
                self._streams.observer.connections_cut(1)
        elif now >= self._heartbeat_at:
            self._write(_HEARTBEAT)

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._write_events)

    def _write_events(self) -> None:
        self._is_scheduled = False
        while self._transport is not None and self._paused_at is None:
            if self.listener.is_overrun:
                self._transport.abort()  # it continues with its cursor
                return
            events = self.listener.take(_EVENTS)
            if not events:
                break
            events = [event for event in events if self.cursor is None or event.at > self.cursor]
            if events:
                self.cursor = events[-1].at
                self._write(format_events(events))
        if self.listener.is_closed:
            self._close()

    def _write(self, content: bytes) -> None:
        assert self._transport is not None
        self._heartbeat_at = self._streams.clock() + self._streams.limits.heartbeat
        self._transport.write(b"%x\r\n%b\r\n" % (len(content), content) if self._is_chunked else content)

    def _close(self) -> None:
        if self._transport is not None:
            if self._is_chunked:
                self._transport.write(_LAST_CHUNK)
            self._transport.close()
            self._transport = None


class EventStreams:
    """The open streams of one process; `run` is a background task."""

    def __init__(
        self,
        follower: LogFollower,
        authenticator: Authenticator,
        *,
        now: Callable[[], datetime],
        limits: RequestLimits,
        observer: Observer,
    ) -> None:
        self.follower = follower
        self.observer = observer
        self.limits = limits
        self.clock = asyncio.get_running_loop().time
        self.count = 0
        self._authenticator = authenticator
        self._now = now
        self._of_key: defaultdict[UUID, set[EventStream]] = defaultdict(set)
        self._of_credential: defaultdict[Credential, set[EventStream]] = defaultdict(set)

    def open(self, http: web.BaseRequest, key: UUID, listener: Listener) -> EventStream:
        """Count one more stream; `end` it. Raises Unavailable, RateLimited."""
        limits = self.limits
        if self.count >= limits.streams or self.follower.is_closed:
            raise Unavailable("There are too many streams at this moment.")
        # a reader may reconnect before its last connection is known to be closed
        if sum(stream.is_open for stream in self._of_key.get(key, ())) >= limits.streams_per_key:
            raise RateLimited(f"A key may have at most {limits.streams_per_key} streams.")
        stream = EventStream(self, http, key, listener)
        self._of_key[key].add(stream)
        of_credential = self._of_credential[stream.credential]
        if of_credential:
            stream.credential = next(iter(of_credential)).credential  # the same texts are held once
        of_credential.add(stream)
        self.count += 1
        return stream

    def remove(self, stream: EventStream) -> None:
        """Count a stream as ended."""
        of_key = self._of_key.get(stream.key)
        if of_key is None or stream not in of_key:
            return
        self.count -= 1
        of_key.discard(stream)
        if not of_key:
            del self._of_key[stream.key]
        of_credential = self._of_credential[stream.credential]
        of_credential.discard(stream)
        if not of_credential:
            del self._of_credential[stream.credential]

    async def run(self) -> None:
        """Look at all streams once in a while, until cancelled."""
        pause = min(_CHECK_EVERY, self.limits.heartbeat)
        while True:
            await asyncio.sleep(pause)
            for credential in list(self._of_credential):
                try:
                    is_authorized = await self._is_authorized(credential)
                except Exception:  # noqa: BLE001 - every stream depends on this loop
                    _log.exception("a key of event streams cannot be checked")
                    is_authorized = True
                now = self.clock()
                for stream in list(self._of_credential.get(credential, ())):
                    stream.check(now, is_authorized=is_authorized)

    async def _is_authorized(self, credential: Credential) -> bool:
        try:
            await self._authenticator.authenticate(dict(credential), self._now())
        except Unauthenticated:
            return False
        except (StoreUnavailableError, CollisionError):
            return True  # unknown for now
        return True


def format_events(events: Sequence[LoggedEvent]) -> bytes:
    """Return events as Server-Sent Events."""
    return b"".join(
        b"id: %b\nevent: %b\ndata: %b\n\n" % (event.at.text.encode(), event.type.encode(), event.body)
        for event in events
    )
