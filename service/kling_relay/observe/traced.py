"""Wrappers that add spans to orders, callbacks, provider requests and deliveries. None are used without a tracer.

Flows know a trace only as a text that is stored with a task. Each wrapper takes that text as the parent of its span,
and passes the text of its own span on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from kling_relay.core.delivery import SubscriberResponse
from kling_relay.core.key import Caller
from kling_relay.core.order import Order, PackedOrder
from kling_relay.core.submission import Accepted, NoAnswer, NoSuchTask, PollResult, SubmitOutcome
from kling_relay.core.task import Signal
from kling_relay.flows import log_context
from kling_relay.flows.clients import ProviderClient, SubscriberClient
from kling_relay.flows.ingest import Ingest
from kling_relay.flows.memory import BodyShare
from kling_relay.flows.submit import Submit
from kling_relay.observe.metrics import SUBMIT_OUTCOME
from kling_relay.observe.tracing import Tracer

HEADER = "traceparent"
POLL_OUTCOME: Mapping[type[PollResult], str] = {Signal: "answered", NoSuchTask: "not found", NoAnswer: "no answer"}


@dataclass(frozen=True, slots=True)
class TracedSubmit:
    """The request of an order: the parent of all other spans of its task."""

    submit: Submit
    tracer: Tracer

    def pack(self, order: Order, idempotency_key: str | None) -> PackedOrder:
        return self.submit.pack(order, idempotency_key)

    async def __call__(
        self,
        caller: Caller,
        packed: PackedOrder,
        *,
        idempotency_key: str | None,
        trace: str | None,
        now: datetime,
        share: BodyShare | None = None,
    ) -> Mapping[str, Any]:
        with self.tracer.span("order", {"relay.kind": str(packed.order.kind)}, parent=trace, server=True) as span:
            log_context.add(trace=span.traceparent)
            submitting = self.submit(
                caller, packed, idempotency_key=idempotency_key, trace=span.traceparent, now=now, share=share
            )
            del packed  # the flow lets its payload go when it is sent
            task = await submitting
            span.set({"relay.task": task["task_id"]})
            return task


@dataclass(frozen=True, slots=True)
class TracedIngest:
    """The request of a callback. Its parent is known only after the task has been read: the span is made at the end."""

    ingest: Ingest
    tracer: Tracer

    async def callback(
        self, task: UUID, body: bytes, headers: Mapping[str, str], now: datetime, *, is_decoded: bool = True
    ) -> None:
        started_at = self.tracer.clock()
        fault: str | None = None
        try:
            await self.ingest.callback(task, body, headers, now, is_decoded=is_decoded)
        except Exception as error:
            fault = type(error).__name__
            raise
        finally:
            fields = log_context.current_fields()
            self.tracer.record(
                "callback",
                {"relay.task": str(task), "relay.outcome": fields.get("outcome")},
                parent=fields.get("trace"),
                seconds=self.tracer.clock() - started_at,
                link=headers.get(HEADER),
                fault=fault,
            )


@dataclass(frozen=True, slots=True)
class TracedProvider:
    """Orders and polls at the provider, each a child of the task's order."""

    provider: ProviderClient
    tracer: Tracer

    async def submit(
        self,
        operation_path: str,
        body: bytes,
        task: UUID,
        hook: str,
        now: datetime,
        trace: str | None = None,
        *,
        may_send: Callable[[], bool],
    ) -> SubmitOutcome:
        with self.tracer.span("submit", {"relay.task": str(task), "url.path": operation_path}, parent=trace) as span:
            outcome = await self.provider.submit(
                operation_path, body, task, hook, now, span.traceparent, may_send=may_send
            )
            span.set({"relay.outcome": SUBMIT_OUTCOME[type(outcome)]})
            if not isinstance(outcome, Accepted):
                span.fail(SUBMIT_OUTCOME[type(outcome)])
            return outcome

    async def poll(
        self, operation_path: str, provider_task_id: str | None, task: UUID, now: datetime, trace: str | None = None
    ) -> PollResult:
        with self.tracer.span("poll", {"relay.task": str(task), "url.path": operation_path}, parent=trace) as span:
            result = await self.provider.poll(operation_path, provider_task_id, task, now, span.traceparent)
            span.set({"relay.outcome": POLL_OUTCOME[type(result)]})
            if isinstance(result, NoAnswer):
                span.fail(result.reason)
            return result


@dataclass(frozen=True, slots=True)
class TracedWebhookClient:
    """Delivery attempts. The event's trace is in a header, which the span's own replaces."""

    client: SubscriberClient
    tracer: Tracer

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, now: datetime) -> SubscriberResponse:
        attributes = {"server.address": urlsplit(url).hostname, "messaging.message.id": headers.get("webhook-id")}
        with self.tracer.span("deliver", attributes, parent=headers.get(HEADER)) as span:
            response = await self.client.post(url, {**headers, HEADER: span.traceparent}, body, now)
            span.set({"http.response.status_code": response.status})
            if response.status is None or not 200 <= response.status < 300:
                span.fail(response.error or f"status {response.status}")
            return response
