"""A bell is a hint between belts of one process: something was written, look now instead of at your next round.

It may be missed and it may ring for nothing; who listens looks again after a while in any case.
"""

import asyncio


class Wakeup:
    """Rung by who writes, heard by one listener; rings while nobody listens are heard at the next listening."""

    __slots__ = ("_rung",)

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Say that something was written; costs nothing and never waits."""
        self._rung.set()

    async def heard(self, within: float) -> bool:
        """Return as soon as the bell rings (True), or after `within` seconds (False)."""
        try:
            async with asyncio.timeout(within):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True
