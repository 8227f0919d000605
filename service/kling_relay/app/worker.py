"""The worker: the background flows of one process, started together and stopped in order, with nothing cut short."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kling_relay.flows.deliver import Deliver
from kling_relay.flows.fetch import Fetch
from kling_relay.store.postgres.statement import StoreError

LEAVE_WITHIN = 5.0
"""Seconds in which a stopping worker tries to give its shards to others."""


class Background(Protocol):
    """A flow that runs until it is cancelled."""

    async def run(self) -> None: ...


@dataclass(frozen=True, eq=False, slots=True)
class Worker:
    """Runs deliveries and the `background` flows."""

    deliver: Deliver
    fetch: Fetch
    background: Sequence[Background]

    async def run(self, stopping: asyncio.Event, grace: float) -> None:
        """Work until `stopping` is set; return when everything is settled.

        Attempts in flight then have `grace` seconds. Those that are cut off are made again later.
        """
        delivering = asyncio.ensure_future(self.deliver.run())
        background = [asyncio.ensure_future(flow.run()) for flow in (self.fetch, *self.background)]
        stopped = asyncio.ensure_future(stopping.wait())
        await asyncio.wait({stopped, delivering, *background}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        self.fetch.stop()
        self.deliver.stop()
        await _cancel(background)
        _, late = await asyncio.wait({delivering}, timeout=grace)
        if late:
            await _cancel([delivering])
        try:
            async with asyncio.timeout(LEAVE_WITHIN):
                await self.fetch.leave()
        except (StoreError, TimeoutError):
            pass  # the database is unavailable: the lease runs out by itself
        for flow in (*background, delivering):
            if not flow.cancelled() and (error := flow.exception()):
                raise error


async def _cancel(flows: "Sequence[asyncio.Future[None]]") -> None:
    for flow in flows:
        flow.cancel()
    if flows:
        await asyncio.wait(flows)
