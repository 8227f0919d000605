"""What makes spans of a task's life, wrapped around what does the work; without a tracer nothing is wrapped.

Flows know traces only as a text that goes along with a task. Each wrapper takes that text for the parent of its span,
and puts the span's own in its place for whoever is called next.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from kling_relay.core.delivery import SubscriberResponse
from kling_relay.core.key import Caller
from kling_relay.core.order import Order
from kling_relay.core.submission import Accepted, NoAnswer, NoSuchTask, PollResult, SubmitOutcome
from kling_relay.core.task import Signal
from kling_relay.flows.log_context import note, noted
from kling_relay.observe.metrics import SUBMIT_OUTCOME
from kling_relay.observe.tracing import Tracer

HEADER = "traceparent"
ASK_OUTCOME: Mapping[type[PollResult], str] = {Signal: "answered", NoSuchTask: "not found", NoAnswer: "silent"}


class Submits(Protocol):
    """The flow of an order."""

    async def __call__(
        self, caller: Caller, order: Order, *, word: str | None, trace: str | None, now: datetime
    ) -> Mapping[str, Any]: ...


class Ingests(Protocol):
    """The flow of a callback; it notes the task's trace."""

    async def callback(self, task: UUID, body: bytes, headers: Mapping[str, str], now: datetime) -> None: ...


class Provides(Protocol):
    """The provider, as far as orders and questions about them go."""

    async def submit(
        self, operation_path: str, body: bytes, task: UUID, hook: str, now: datetime, trace: str | None = None
    ) -> SubmitOutcome: ...

    async def poll(
        self, operation_path: str, provider_task_id: str | None, task: UUID, now: datetime, trace: str | None = None
    ) -> PollResult: ...


class Posts(Protocol):
    """How a subscriber is reached."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, now: datetime) -> SubscriberResponse: ...


class TracedSubmit:
    """An order's request: the span that all others of its task are below."""

    def __init__(self, submit: Submits, tracer: Tracer) -> None:
        self._submit = submit
        self._tracer = tracer

    async def __call__(
        self, caller: Caller, order: Order, *, word: str | None, trace: str | None, now: datetime
    ) -> Mapping[str, Any]:
        with self._tracer.span("order", {"relay.kind": str(order.kind)}, parent=trace, server=True) as span:
            note(trace=span.traceparent)
            shown = await self._submit(caller, order, word=word, trace=span.traceparent, now=now)
            span.set({"relay.task": shown["task_id"]})
            return shown


class TracedIngest:
    """A callback's request. Its task's trace is known only once it was looked up, so the span is made afterwards."""

    def __init__(self, ingest: Ingests, tracer: Tracer) -> None:
        self._ingest = ingest
        self._tracer = tracer

    async def callback(self, task: UUID, body: bytes, headers: Mapping[str, str], now: datetime) -> None:
        began = self._tracer.clock()
        fault: str | None = None
        try:
            await self._ingest.callback(task, body, headers, now)
        except Exception as error:
            fault = type(error).__name__
            raise
        finally:
            found = noted()
            self._tracer.passed(
                "callback",
                {"relay.task": str(task), "relay.outcome": found.get("outcome")},
                parent=found.get("trace"),
                seconds=self._tracer.clock() - began,
                link=headers.get(HEADER),
                fault=fault,
            )


class TracedProvider:
    """Orders to the provider, and questions about a task, each below the task's order."""

    def __init__(self, provider: Provides, tracer: Tracer) -> None:
        self._provider = provider
        self._tracer = tracer

    async def submit(
        self, operation_path: str, body: bytes, task: UUID, hook: str, now: datetime, trace: str | None = None
    ) -> SubmitOutcome:
        with self._tracer.span("submit", {"relay.task": str(task), "url.path": operation_path}, parent=trace) as span:
            outcome = await self._provider.submit(operation_path, body, task, hook, now, span.traceparent)
            span.set({"relay.outcome": SUBMIT_OUTCOME[type(outcome)]})
            if not isinstance(outcome, Accepted):
                span.fault(SUBMIT_OUTCOME[type(outcome)])
            return outcome

    async def poll(
        self, operation_path: str, provider_task_id: str | None, task: UUID, now: datetime, trace: str | None = None
    ) -> PollResult:
        with self._tracer.span("ask", {"relay.task": str(task), "url.path": operation_path}, parent=trace) as span:
            finding = await self._provider.poll(operation_path, provider_task_id, task, now, span.traceparent)
            span.set({"relay.outcome": ASK_OUTCOME[type(finding)]})
            if isinstance(finding, NoAnswer):
                span.fault(finding.reason)
            return finding


class TracedEndpoint:
    """Attempts; the event's trace comes in its header, which the span's own then takes the place of."""

    def __init__(self, endpoint: Posts, tracer: Tracer) -> None:
        self._endpoint = endpoint
        self._tracer = tracer

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, now: datetime) -> SubscriberResponse:
        host = urlsplit(url).hostname
        about = {"server.address": host, "messaging.message.id": headers.get("webhook-id")}
        with self._tracer.span("deliver", about, parent=headers.get(HEADER)) as span:
            answer = await self._endpoint.post(url, {**headers, HEADER: span.traceparent}, body, now)
            span.set({"http.response.status_code": answer.status})
            if answer.status is None or not 200 <= answer.status < 300:
                span.fault(answer.error or f"status {answer.status}")
            return answer
