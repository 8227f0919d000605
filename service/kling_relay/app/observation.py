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
from service.endpoint import Endpoint
from service.flows.ingest import Ingest
from service.flows.inquiry import Pass
from service.flows.submit import Submit
from service.provider.client import Provider
from service.settings import Settings
from service.store.database import Database
from service.store.outbox import Settled
from service.telemetry import lag, traced
from service.telemetry.exporter import export
from service.telemetry.log import Log
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracer, tracing
from service.web.tools import Seen


@dataclass(frozen=True, slots=True)
class Insight:
    """What the flows tell goes into the log and into the metrics."""

    log: Log
    metrics: Metrics
    tracer: Tracer | None = None

    def orders(self, submit: Submit) -> traced.Submits:
        return traced.TracedSubmit(submit, self.tracer) if self.tracer else submit

    def callbacks(self, ingest: Ingest) -> traced.Ingests:
        return traced.TracedIngest(ingest, self.tracer) if self.tracer else ingest

    def provider(self, provider: Provider) -> traced.Provides:
        return traced.TracedProvider(provider, self.tracer) if self.tracer else provider

    def endpoint(self, endpoint: Endpoint) -> traced.Posts:
        return traced.TracedEndpoint(endpoint, self.tracer) if self.tracer else endpoint

    def request(self, seen: Seen) -> None:
        self.metrics.request(seen)
        self.log.request(seen)

    def step(self, step: Step, source: str) -> None:
        self.metrics.step(step)
        self.log.step(step, source)

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


@asynccontextmanager
async def insight(settings: Settings, log: Log) -> AsyncIterator[Insight]:
    """Give the insight of one process; at the end its last spans are sent. Raises MissingExtraError."""
    version = metadata.version("kling-relay")
    async with tracing(settings.otlp_endpoint, version=version, now=sources.now) as tracer:
        yield Insight(log, Metrics(version=version, slots_limit=settings.provider_slots), tracer)


@asynccontextmanager
async def shown(
    settings: Settings,
    seen: Insight,
    database: Database,
    *,
    ready: Callable[[], Awaitable[str | None]],
) -> AsyncIterator[int]:
    """Serve /metrics, /livez and /readyz on RELAY_METRICS_PORT and watch the loop."""
    seen.metrics.watch_pools({"look-up": database.pool, "ingest": database.ingest, "deliver": database.settle})
    watching = asyncio.ensure_future(lag.watch(seen.metrics.lag))
    try:
        async with export(seen.metrics, settings.host, settings.metrics_port, ready=ready) as port:
            yield port
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
