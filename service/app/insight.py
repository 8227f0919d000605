"""Seeing inside one process: its log, its metrics, and the port that shows them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from uuid import UUID

from service.app import sources
from service.core.delivery import Answer
from service.core.submission import Never, Outcome
from service.core.task import Step
from service.flows.sweep import Pass
from service.settings import Settings
from service.store import figures
from service.store.database import Database
from service.store.outbox import Settled
from service.store.statement import StoreError
from service.telemetry import lag
from service.telemetry.exporter import export
from service.telemetry.log import Log
from service.telemetry.metrics import Metrics
from service.web.tools import Seen

FIGURES_EVERY = 15.0
"""Seconds between looks at the whole database."""


@dataclass(frozen=True, slots=True)
class Insight:
    """What the flows tell goes into the log and into the metrics."""

    log: Log
    metrics: Metrics

    def request(self, seen: Seen) -> None:
        self.metrics.request(seen)
        self.log.request(seen)

    def step(self, step: Step) -> None:
        self.metrics.step(step)
        self.log.step(step)

    def submit(self, outcome: Outcome, seconds: float) -> None:
        self.metrics.submit(outcome, seconds)
        self.log.submit(outcome, seconds)

    def never(self, task: UUID, never: Never) -> None:
        self.log.never(task, never)

    def attempt(self, outcome: str, answer: Answer) -> None:
        self.metrics.attempt(outcome, answer)

    def attempts(self, batch: Sequence[Settled]) -> None:
        self.log.attempts(batch)

    def swept(self, passed: Pass, seconds: float) -> None:
        self.metrics.swept(passed, seconds)
        self.log.swept(passed, seconds)


def insight(settings: Settings, log: Log) -> Insight:
    """Return the insight of one process."""
    version = metadata.version("kling-relay")
    return Insight(log, Metrics(version=version, slots_limit=settings.provider_slots))


@asynccontextmanager
async def shown(
    settings: Settings,
    seen: Insight,
    database: Database,
    *,
    ready: Callable[[], Awaitable[str | None]],
    reads_figures: bool,
) -> AsyncIterator[int]:
    """Serve /metrics, /livez and /readyz on RELAY_METRICS_PORT and watch the loop; workers read the figures too."""
    seen.metrics.watch_pools({"look-up": database.pool, "ingest": database.ingest, "deliver": database.settle})
    works = [asyncio.ensure_future(lag.watch(seen.metrics.lag))]
    if reads_figures:
        works.append(asyncio.ensure_future(_read_figures(seen, database)))
    try:
        async with export(seen.metrics, settings.host, settings.metrics_port, ready=ready) as port:
            yield port
    finally:
        for work in works:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work


async def _read_figures(seen: Insight, database: Database) -> None:
    while True:
        try:
            seen.metrics.figures(await figures.read(database, sources.now()))
        except StoreError as error:
            seen.metrics.figures(None)
            seen.log.said("figures", f"the database failed: {error}")
        await asyncio.sleep(FIGURES_EVERY)
