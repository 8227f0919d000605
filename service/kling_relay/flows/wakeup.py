"""A wakeup is a hint from one flow of a process to another: something was written, so look now instead of later.

A hint may be lost, and it may come for nothing. The flow that waits looks again after a while in any case.
"""

import asyncio


class Wakeup:
    """A hint that any number of flows give and one flow waits for. It is kept until that flow waits again."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake the flow that waits. Never blocks."""
        self._event.set()

    async def wait(self, within: float) -> bool:
        """Return True as soon as there is a hint, or False after `within` seconds."""
        try:
            async with asyncio.timeout(within):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True
