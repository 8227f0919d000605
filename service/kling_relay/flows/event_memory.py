"""The bytes of events that a worker holds, within a bound, and shared fairly among the clients.

A queue reserves room before it reads, and keeps what the deliveries take until they are settled. A client may reserve
no more than leaves as much free as it holds, so one client fills at most half, and there is always room for another.
"""

from dataclasses import dataclass

from kling_relay.flows.share import ClientLoad

MIN_READ = 16 * 1024
MAX_READ = 256 * 1024
"""Bytes of events that one queue reads at once; less if little is free."""


@dataclass(slots=True, eq=False)
class EventMemory:
    """The bytes that are held or reserved, of at most `limit`."""

    limit: int = 64 * 2**20
    held: int = 0

    def read_size(self) -> int:
        """Return how many bytes a queue should read now."""
        return min(MAX_READ, max(MIN_READ, (self.limit - self.held) // 16))

    def admits(self, client: ClientLoad, size: int) -> bool:
        """Return whether `client` may hold `size` bytes more. What is larger than the bound is held alone."""
        return client.event_bytes + size <= self.limit - self.held - size or self.held == 0

    def hold(self, client: ClientLoad, size: int) -> None:
        """Count `size` bytes more, or less if it is negative."""
        client.event_bytes += size
        self.held += size
