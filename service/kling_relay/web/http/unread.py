"""Cuts connections whose clients do not read what they asked for, so that responses cannot pile up in memory.

A connection may hold MAX_UNSENT bytes, and a client has a time to read them. It makes progress if it reads at least
MIN_PROGRESS bytes in that time, or everything. A transport does not say what it has sent, so all connections are looked
at once in a while: that covers streams, pipelined requests, and connections that close once everything is sent.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

MIN_PROGRESS = 4 * 1024
CHECKS = 4
"""How often a connection is looked at within the time that its client has."""


class _Transport(Protocol):
    def get_write_buffer_size(self) -> int: ...
    def abort(self) -> None: ...


class _Connection(Protocol):
    resumes: int


class _Unread(NamedTuple):
    """A connection with unsent bytes: how many there were when it last made progress, and when that was."""

    size: int
    resumes: int
    at: float


class UnreadConnections:
    """The connections of one server that had unsent bytes at the last check."""

    def __init__(self, timeout: float) -> None:
        """`timeout` is the time in seconds that a client has to read."""
        self._timeout = timeout
        self._unread: dict[_Connection, _Unread] = {}

    @property
    def check_every(self) -> float:
        """Return the seconds between two checks."""
        return self._timeout / CHECKS

    def check(self, connections: Iterable[tuple[_Connection, _Transport]], now: float) -> int:
        """Cut the connections that made no progress for the time-out, and return how many."""
        unread: dict[_Connection, _Unread] = {}
        stalled: list[_Transport] = []
        for connection, transport in connections:
            size = transport.get_write_buffer_size()
            if not size:
                continue
            before = self._unread.get(connection)
            if before is None or before.resumes != connection.resumes or before.size - size >= MIN_PROGRESS:
                unread[connection] = _Unread(size, connection.resumes, now)
            elif now - before.at < self._timeout:
                unread[connection] = before
            else:
                stalled.append(transport)
        self._unread = unread
        for transport in stalled:
            transport.abort()
        return len(stalled)
