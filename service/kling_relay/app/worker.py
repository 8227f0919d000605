"""The worker: the background flows of one process, begun together and ended in order, nothing cut short."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from kling_relay.store.postgres.statement import StoreError

LEAVE_WITHIN = 5.0
"""Seconds in which a stopping worker tries to hand its shards on."""


class Delivers(Protocol):
    """Makes attempts until it is stopped, then finishes those in flight."""

    async def run(self) -> None: ...
    def stop(self) -> None: ...


class Feeds(Protocol):
    """Keeps what delivers supplied, until it is stopped."""

    async def run(self) -> None: ...
    def stop(self) -> None: ...
    async def leave(self) -> None: ...


class Passes(Protocol):
    """Passes again and again until it is cancelled."""

    async def run(self) -> None: ...


class Worker:
    """Runs deliver, feed, sweep and whatever else passes; `run` returns when `stopping` is set and all is settled."""

    def __init__(self, deliver: Delivers, feed: Feeds, *passes: Passes) -> None:
        self._deliver = deliver
        self._feed = feed
        self._passes = passes

    async def run(self, stopping: asyncio.Event, grace: float) -> None:
        """Work until `stopping`; attempts in flight then have `grace` seconds, and what is cut is made again later."""
        delivering = asyncio.ensure_future(self._deliver.run())
        background = [
            asyncio.ensure_future(work) for work in (self._feed.run(), *(each.run() for each in self._passes))
        ]
        ended = asyncio.ensure_future(stopping.wait())
        await asyncio.wait({ended, delivering, *background}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        self._feed.stop()
        self._deliver.stop()
        await _cancelled(background)
        _, late = await asyncio.wait({delivering}, timeout=grace)
        if late:
            await _cancelled([delivering])
        try:
            async with asyncio.timeout(LEAVE_WITHIN):
                await self._feed.leave()
        except (StoreError, TimeoutError):
            pass  # the database is away: the leases run out by themselves
        for work in (*background, delivering):
            if not work.cancelled() and (error := work.exception()):
                raise error


async def _cancelled(works: "Sequence[asyncio.Future[None]]") -> None:
    for work in works:
        work.cancel()
    if works:
        await asyncio.wait(works)
