"""Traces go out by OpenTelemetry, where its packages (the extra `tracing`) and a collector are there; else there is no
tracer, nothing is wrapped, and tracing costs nothing.

Nothing of OpenTelemetry's is global here: a tracer is made once and handed on, and a span's parent is always said.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from kling_relay.core import trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Link, Span
    from opentelemetry.trace import Tracer as Spans

SERVICE = "kling-relay"
FLUSH_SECONDS = 5.0
Attributes = Mapping[str, str | int | float | bool | None]


class MissingExtraError(Exception):
    """RELAY_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: pip install kling-relay[tracing]"""


class Tracer:
    """Makes spans whose parents are texts, because minutes and processes lie between a task's spans."""

    def __init__(self, spans: "Spans", now: Callable[[], datetime]) -> None:
        self._spans = spans
        self._now = now

    def clock(self) -> float:
        """Return seconds by a clock that never goes back, for telling how long something took."""
        return asyncio.get_running_loop().time()

    @contextmanager
    def span(self, name: str, about: Attributes, *, parent: str | None, server: bool = False) -> "Iterator[Open]":
        """Give a span that lasts as long as the block; an exception that leaves the block is its fault.

        A `server` span answers somebody, any other asks somebody.
        """
        made = Open(self._started(name, about, parent, server=server))
        try:
            yield made
        except Exception as error:
            made.fault(type(error).__name__)
            raise
        finally:
            made.end()

    def passed(
        self,
        name: str,
        about: Attributes,
        *,
        parent: str | None,
        seconds: float,
        link: str | None = None,
        fault: str | None = None,
    ) -> None:
        """Record a server's span that ended now and took `seconds`; for where the parent is known only afterwards.

        `link` is the traceparent of who called us, whose trace is another.
        """
        ended = round(self._now().timestamp() * 1e9)
        begun = ended - round(seconds * 1e9)
        made = Open(self._started(name, about, parent, server=True, link=link, begun=begun))
        if fault:
            made.fault(fault)
        made.end(ended)

    def _started(
        self,
        name: str,
        about: Attributes,
        parent: str | None,
        *,
        server: bool,
        link: str | None = None,
        begun: int | None = None,
    ) -> "Span":
        from opentelemetry.context import Context  # noqa: PLC0415 - the extra may not be installed
        from opentelemetry.trace import NonRecordingSpan, SpanKind, set_span_in_context  # noqa: PLC0415

        above = _context(parent)
        return self._spans.start_span(
            name,
            context=set_span_in_context(NonRecordingSpan(above), Context()) if above else Context(),
            kind=SpanKind.SERVER if server else SpanKind.CLIENT,
            attributes=_known(about),
            links=_links(link, parent),
            start_time=begun,
        )


class Open:
    """A span that has begun."""

    __slots__ = ("_span",)

    def __init__(self, span: "Span") -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """What makes others this span's children."""
        found = self._span.get_span_context()
        return trace.Trace(found.trace_id, found.span_id, bool(found.trace_flags & 1)).text

    def set(self, found: Attributes) -> None:
        """Note what was found out."""
        self._span.set_attributes(_known(found))

    def fault(self, reason: str) -> None:
        """Mark the span as failed."""
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - the extra may not be installed

        self._span.set_status(Status(StatusCode.ERROR, reason))

    def end(self, at: int | None = None) -> None:
        """End it, at a time in nanoseconds or now."""
        self._span.end(at)


def _known(attributes: Attributes) -> dict[str, str | int | float | bool]:
    return {key: each for key, each in attributes.items() if each is not None}


def _context(text: str | None) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags  # noqa: PLC0415 - the extra may not be installed

    found = trace.parse(text)
    if found is None:
        return None
    return SpanContext(found.trace, found.span, is_remote=True, trace_flags=TraceFlags(int(found.sampled)))


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
    """Give the tracer of this process, or None without an `endpoint` (RELAY_OTLP_ENDPOINT); at the end all is sent.

    `exporter` takes the place of OTLP. Raises MissingExtraError.
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
        # a collector that is away must not hold up the end; what it did not take by then is lost
        await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(provider.shutdown))], timeout=FLUSH_SECONDS)
