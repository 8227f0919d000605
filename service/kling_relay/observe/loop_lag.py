"""The event loop's lag: how late a sleeping task is woken. Whatever blocks the loop shows here first."""

import asyncio
from collections.abc import Callable


async def watch(observe: Callable[[float], None], every: float = 0.5) -> None:
    """Call `observe` with the lag in seconds, every `every` seconds, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due_at = loop.time() + every
        await asyncio.sleep(every)
        observe(max(0.0, loop.time() - due_at))
