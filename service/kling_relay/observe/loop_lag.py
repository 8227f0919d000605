"""The event loop's lag: how late who slept is woken. What blocks the loop blocks everybody, and shows here first."""

import asyncio
from collections.abc import Callable


async def watch(observe: Callable[[float], None], every: float = 0.25) -> None:
    """Tell `observe` the lag in seconds, `every` so many seconds, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        wanted = loop.time() + every
        await asyncio.sleep(every)
        observe(max(0.0, loop.time() - wanted))
