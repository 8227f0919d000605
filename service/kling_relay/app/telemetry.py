"""The telemetry of one process: what observes its flows, and the port that serves its metrics."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib import metadata

from kling_relay.app import clock
from kling_relay.flows.observer import Observer, combine
from kling_relay.observe import loop_lag
from kling_relay.observe.event_log import Log
from kling_relay.observe.exporter import export
from kling_relay.observe.metrics import Metrics
from kling_relay.observe.tracing import Tracer, tracing
from kling_relay.settings import Settings
from kling_relay.store.postgres.database import Database


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The metrics and the tracer of one process, and the observer that writes its metrics and its log."""

    metrics: Metrics
    observer: Observer
    tracer: Tracer | None


@asynccontextmanager
async def make_telemetry(settings: Settings, log: Log) -> AsyncIterator[Telemetry]:
    """Yield the telemetry of one process; flush its spans at the end. Raises MissingExtraError."""
    version = metadata.version("kling-relay")
    async with tracing(settings.otlp_endpoint, version=version, now=clock.now) as tracer:
        metrics = Metrics(version=version, slots_limit=settings.provider_slots)
        yield Telemetry(metrics, combine(metrics, log), tracer)


@asynccontextmanager
async def serve_metrics(
    settings: Settings, metrics: Metrics, database: Database, *, ready: Callable[[], Awaitable[str | None]]
) -> AsyncIterator[int]:
    """Serve /metrics, /livez and /readyz on RELAY_METRICS_PORT, and watch the event loop."""
    pools = {"lookup": database.pool, "ingest": database.ingest, "deliver": database.settle}
    metrics.watch_pools(pools | {"reports": database.reports})
    watching = asyncio.ensure_future(loop_lag.watch(metrics.lag))
    try:
        async with export(metrics, settings.host, settings.metrics_port, ready=ready) as port:
            yield port
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
