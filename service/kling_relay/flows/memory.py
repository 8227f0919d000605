"""Memory of bodies: the bytes that requests and orders may take in one process.

A body counts from its first byte until its request is answered, an order's until it is also sent. It is held once: as
it arrives, then as text, then as the JSON for the provider. Copies (a body being decompressed, parsed, written to the
database or read from it) are made in turn, in room of their own.

An upload counts twice what it has received, and at most what it announced. So uploads that send little take little, and
one that will not fit is refused early. No body waits for the room of another, so they cannot wait for one another for
ever. If room is short, uploads that are slow are cut off first.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

from kling_relay.flows.coalesce import OverloadedError

SMALL = 64 * 1024
"""Bodies of up to this many bytes have room of their own, so that large ones never keep them out."""
LARGE = 256 * 1024
"""Bodies of more bytes than this are parsed in a thread and copied in turn."""
OVERHEAD = 8 * 1024
"""Bytes that a request takes besides its body."""
_CUT_EVERY = 0.1
"""Seconds between two searches for slow uploads, of which there may be thousands."""
_MIB = 2**20
_TRIM_AFTER = 32 * _MIB
_TRIM_IN = 0.1
"""Seconds, in which bodies that were released are really gone."""


class NoRoomError(OverloadedError):
    """All memory for bodies is in use; try again in a second"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimits:
    """Sizes are in bytes, times in seconds."""

    bodies: int = 272 * _MIB
    small_bodies: int = 16 * _MIB
    """More room for bodies of up to `SMALL` bytes."""
    copies: int = 64 * _MIB
    max_wait: float = 30.0
    """How long a body waits for its turn to be copied."""
    slow_after: float = 2.0
    """The age from which an upload may count as slow."""
    min_rate: float = 64 * 1024
    """Bytes per second; a slower upload is cut off if its room is needed."""


class BodyShare:
    """What one body takes of the memory. `release` it once the body is no longer needed; twice does no harm."""

    __slots__ = ("_memory", "is_lost", "size")

    def __init__(self, memory: "BodyMemory") -> None:
        self._memory = memory
        self.size = 0
        self.is_lost = False
        """Whether it was taken away for other bodies."""

    def resize(self, size: int) -> None:
        """Count `size` bytes from now on. Raises NoRoomError if that is more than before and does not fit."""
        self._memory.resize(self, size)

    def release(self) -> None:
        self._memory.resize(self, 0)


@dataclass(slots=True, eq=False)
class Upload:
    """A body that is being received. `cut_off` ends it at once if its share is needed for others."""

    share: BodyShare
    announced: int
    started_at: float
    received: int = 0
    cut_off: Callable[[], None] = lambda: None

    def count(self, received: int) -> None:
        """Count what has been received so far. Raises NoRoomError."""
        self.received = received
        self.share.resize(OVERHEAD + min(self.announced, 2 * received))


class BodyMemory:
    """Counts the bodies of one process. `held` is in bytes."""

    def __init__(self, limits: MemoryLimits = MemoryLimits(), *, trim: Callable[[], None] | None = None) -> None:
        """`trim` returns freed memory to the system."""
        self.limits = limits
        self.held = 0
        self._trim = trim
        self._freed_bytes = 0
        """Bytes that were released since the last trim."""
        self._copies = 0
        self._copiers: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._uploads: dict[Upload, None] = {}
        """In the order of their arrival."""
        self._awaited = 0
        """Bytes that an order waits for which is to be read from the database."""
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()
        self._next_cut_at = 0.0

    def share(self, size: int) -> BodyShare:
        """Return a share of `size` bytes. Raises NoRoomError."""
        share = BodyShare(self)
        self.resize(share, size)
        return share

    def resize(self, share: BodyShare, size: int) -> None:
        growth = size - share.size
        if growth > 0:
            if share.is_lost or not self._fits(growth, size):
                raise NoRoomError
        elif growth:
            self._note_freed(-growth)
        share.size = size
        self.held += growth

    def _note_freed(self, size: int) -> None:
        if self._awaited:
            self._freed.set()
        self._freed_bytes += size - OVERHEAD
        if self._trim is not None and self._freed_bytes > _TRIM_AFTER:
            self._freed_bytes = 0
            asyncio.get_running_loop().call_later(_TRIM_IN, self._trim)

    def check_room(self, size: int) -> None:
        """Raise NoRoomError if a body that announces `size` bytes would not fit now."""
        if not self._fits(size, size):
            raise NoRoomError

    async def share_in_turn(self, size: int) -> BodyShare:
        """Return a share of `size` bytes once there is room. No upload takes the room that is waited for."""
        size = min(size, self.limits.bodies // 2)  # one that could never fit is sent all the same
        async with self._turn:
            share = BodyShare(self)
            try:
                while not self._has_room(size, size):
                    self._awaited = size
                    self._freed.clear()
                    await self._freed.wait()
            finally:
                self._awaited = 0
            self.resize(share, size)
            return share

    @contextmanager
    def receiving(self, share: BodyShare, announced: int) -> Iterator[Upload]:
        """Receive a body of at most `announced` bytes inside the block."""
        upload = Upload(share, announced, asyncio.get_running_loop().time())
        self._uploads[upload] = None
        try:
            yield upload
        finally:
            self._uploads.pop(upload, None)

    @asynccontextmanager
    async def copying(self, size: int) -> AsyncIterator[None]:
        """Make copies of `size` bytes inside the block: wait until it is their turn. Raises NoRoomError."""
        size = min(size, self.limits.copies)
        if self._copiers or self._copies + size > self.limits.copies:
            await self._wait_to_copy(size)
        else:
            self._copies += size
        try:
            yield
        finally:
            self._copies -= size
            self._wake_copiers()

    async def _wait_to_copy(self, size: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size, turn)
        self._copiers.append(entry)
        try:
            async with asyncio.timeout(self.limits.max_wait):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if turn.done() and not turn.cancelled():
                self._copies -= size
            else:
                with suppress(ValueError):
                    self._copiers.remove(entry)
            self._wake_copiers()
            if isinstance(error, TimeoutError):
                raise NoRoomError from None
            raise

    def _wake_copiers(self) -> None:
        while self._copiers and self._copies + self._copiers[0][0] <= self.limits.copies:
            size, turn = self._copiers.popleft()
            if not turn.done():
                self._copies += size
                turn.set_result(None)

    def _fits(self, growth: int, size: int) -> bool:
        """Return whether a share of `size` bytes may grow so much, after slow uploads are cut off if need be."""
        if self._has_room(growth + self._awaited, size):
            return True
        now = asyncio.get_running_loop().time()
        if now < self._next_cut_at:
            return False
        self._next_cut_at = now + _CUT_EVERY
        for upload in list(self._uploads):
            age = now - upload.started_at
            if age > self.limits.slow_after and upload.received < self.limits.min_rate * age:
                self._cut_off(upload)
                if self._has_room(growth + self._awaited, size):
                    return True
        return False

    def _has_room(self, growth: int, size: int) -> bool:
        limits = self.limits
        limit = limits.bodies + (limits.small_bodies if size <= SMALL + OVERHEAD else 0)
        return self.held + growth <= limit or not self.held

    def _cut_off(self, upload: Upload) -> None:
        del self._uploads[upload]
        self.held -= upload.share.size
        self._note_freed(upload.share.size)
        upload.share.size = 0
        upload.share.is_lost = True
        upload.cut_off()
