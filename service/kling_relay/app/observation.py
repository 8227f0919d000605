"""Seeing inside one process: its log, its metrics, and the port that shows them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from uuid import UUID

from kling_relay.app import clock
from kling_relay.core.delivery import SubscriberResponse
from kling_relay.core.submission import AccountRefused, SubmitOutcome
from kling_relay.core.task import Step
from kling_relay.destinations.webhook import WebhookClient
from kling_relay.flows.ingest import Ingest
from kling_relay.flows.poll import SweepPass
from kling_relay.flows.submit import Submit
from kling_relay.observe import loop_lag, traced
from kling_relay.observe.event_log import Log
from kling_relay.observe.exporter import export
from kling_relay.observe.metrics import Metrics
from kling_relay.observe.tracing import Tracer, tracing
from kling_relay.provider.client import Provider
from kling_relay.settings import Settings
from kling_relay.store.deliveries.outbox import SettledAttempt
from kling_relay.store.postgres.database import Database
from kling_relay.web.http.context import RequestSummary


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

    def endpoint(self, endpoint: WebhookClient) -> traced.Posts:
        return traced.TracedEndpoint(endpoint, self.tracer) if self.tracer else endpoint

    def request(self, seen: RequestSummary) -> None:
        self.metrics.request(seen)
        self.log.request(seen)

    def step(self, step: Step, source: str) -> None:
        self.metrics.step(step)
        self.log.step(step, source)

    def submit(self, outcome: SubmitOutcome, seconds: float) -> None:
        self.metrics.submit(outcome, seconds)
        self.log.submit(outcome, seconds)

    def never(self, task: UUID, never: AccountRefused) -> None:
        self.log.never(task, never)

    def attempt(self, outcome: str, answer: SubscriberResponse) -> None:
        self.metrics.attempt(outcome, answer)

    def attempts(self, batch: Sequence[SettledAttempt]) -> None:
        self.log.attempts(batch)

    def swept(self, passed: SweepPass, seconds: float) -> None:
        self.metrics.swept(passed, seconds)
        self.log.swept(passed, seconds)


@asynccontextmanager
async def insight(settings: Settings, log: Log) -> AsyncIterator[Insight]:
    """Give the insight of one process; at the end its last spans are sent. Raises MissingExtraError."""
    version = metadata.version("kling-relay")
    async with tracing(settings.otlp_endpoint, version=version, now=clock.now) as tracer:
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
    watching = asyncio.ensure_future(loop_lag.watch(seen.metrics.lag))
    try:
        async with export(seen.metrics, settings.host, settings.metrics_port, ready=ready) as port:
            yield port
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
