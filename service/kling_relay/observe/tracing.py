"""Exports traces with OpenTelemetry if RELAY_OTLP_ENDPOINT is set; this needs the extra `tracing`. Without an endpoint
nothing is wrapped, and tracing costs nothing.

OpenTelemetry's globals are not used: a tracer is made once and passed on, and a span's parent is always explicit.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kling_relay.core import trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Link
    from opentelemetry.trace import Span as OpenTelemetrySpan
    from opentelemetry.trace import Tracer as OpenTelemetryTracer

SERVICE = "kling-relay"
FLUSH_SECONDS = 5.0
Attributes = Mapping[str, str | int | float | bool | None]


class MissingExtraError(Exception):
    """RELAY_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: pip install 'kling-relay[tracing]'"""


@dataclass(frozen=True, slots=True)
class Tracer:
    """Makes spans. A parent is a traceparent text, because a task's spans may be minutes and processes apart."""

    tracer: "OpenTelemetryTracer"
    now: Callable[[], datetime]

    def clock(self) -> float:
        """Return monotonic seconds, to measure how long something took."""
        return asyncio.get_running_loop().time()

    @contextmanager
    def span(self, name: str, attributes: Attributes, *, parent: str | None, server: bool = False) -> "Iterator[Span]":
        """Yield a span that lasts as long as the block. An exception that leaves the block fails the span.

        `server` marks a request that we answer; other spans are requests that we send.
        """
        span = Span(self._start(name, attributes, parent, server=server))
        try:
            yield span
        except Exception as error:
            span.fail(type(error).__name__)
            raise
        finally:
            span.end()

    def record(
        self,
        name: str,
        attributes: Attributes,
        *,
        parent: str | None,
        seconds: float,
        link: str | None = None,
        fault: str | None = None,
    ) -> None:
        """Record a server span that took `seconds` and ended now, for when the parent is known only at the end.

        `link` is the traceparent of the caller, which is in another trace.
        """
        end_ns = round(self.now().timestamp() * 1e9)
        start_ns = end_ns - round(seconds * 1e9)
        span = Span(self._start(name, attributes, parent, server=True, link=link, start_ns=start_ns))
        if fault:
            span.fail(fault)
        span.end(end_ns)

    def _start(
        self,
        name: str,
        attributes: Attributes,
        parent: str | None,
        *,
        server: bool,
        link: str | None = None,
        start_ns: int | None = None,
    ) -> "OpenTelemetrySpan":
        from opentelemetry.context import Context  # noqa: PLC0415 - the extra may not be installed
        from opentelemetry.trace import NonRecordingSpan, SpanKind, set_span_in_context  # noqa: PLC0415

        parent_context = _context(parent)
        return self.tracer.start_span(
            name,
            context=set_span_in_context(NonRecordingSpan(parent_context), Context()) if parent_context else Context(),
            kind=SpanKind.SERVER if server else SpanKind.CLIENT,
            attributes=_without_none(attributes),
            links=_links(link, parent),
            start_time=start_ns,
        )


class Span:
    """A span that has begun."""

    __slots__ = ("_span",)

    def __init__(self, span: "OpenTelemetrySpan") -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """The text that makes other spans children of this one."""
        context = self._span.get_span_context()
        return trace.Trace(context.trace_id, context.span_id, bool(context.trace_flags & 1)).text

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        self._span.set_attributes(_without_none(attributes))

    def fail(self, reason: str) -> None:
        """Mark the span as failed."""
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - the extra may not be installed

        self._span.set_status(Status(StatusCode.ERROR, reason))

    def end(self, at: int | None = None) -> None:
        """End the span, at a time in nanoseconds or now."""
        self._span.end(at)


def _without_none(attributes: Attributes) -> dict[str, str | int | float | bool]:
    return {name: value for name, value in attributes.items() if value is not None}


def _context(text: str | None) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags  # noqa: PLC0415 - the extra may not be installed

    parent = trace.parse(text)
    if parent is None:
        return None
    return SpanContext(parent.trace, parent.span, is_remote=True, trace_flags=TraceFlags(int(parent.sampled)))


def _links(link: str | None, parent: str | None) -> "list[Link]":
    from opentelemetry.trace import Link  # noqa: PLC0415 - the extra may not be installed

    context = None if link == parent else _context(link)
    return [Link(context)] if context else []


@asynccontextmanager
async def tracing(
    endpoint: str | None,
    *,
    version: str,
    now: Callable[[], datetime],
    exporter: "SpanExporter | None" = None,
) -> AsyncIterator[Tracer | None]:
    """Yield the tracer of this process, or None without an `endpoint` (RELAY_OTLP_ENDPOINT); flush it at the end.

    `exporter` replaces OTLP. Raises MissingExtraError.
    """
    if endpoint is None and exporter is None:
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(MissingExtraError.__doc__) from error
    provider = TracerProvider(
        resource=Resource.create({"service.name": SERVICE, "service.version": version}), shutdown_on_exit=False
    )
    address = f"{endpoint}".rstrip("/")
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter or OTLPSpanExporter(address if address.endswith("/v1/traces") else f"{address}/v1/traces")
        )
    )
    try:
        yield Tracer(provider.get_tracer(SERVICE, version), now)
    finally:
        # an unavailable collector must not delay the end; spans that are not sent by then are lost
        await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(provider.shutdown))], timeout=FLUSH_SECONDS)
