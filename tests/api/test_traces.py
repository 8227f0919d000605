"""Traces: one order is one trace, from the client's span over the provider to the subscriber's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from kling_relay.core.trace import Trace, parse
from kling_relay.observe import tracing as tracing_module
from kling_relay.observe.tracing import MissingExtraError, tracing
from tests.support.service import running, sandboxed, subscriber
from tests.support.waiting import eventually

CLIENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass(slots=True)
class Collector:
    """An OpenTelemetry collector that keeps what it was sent."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        told = ExportTraceServiceRequest.FromString(body)
        for group in told.resource_spans:
            self.resources.append({each.key: each.value.string_value for each in group.resource.attributes})
            for scope in group.scope_spans:
                self.spans.extend(scope.spans)
        return web.Response(content_type="application/x-protobuf")

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    one = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", one.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield one
    finally:
        await runner.cleanup()


def about(span: Span) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def place(span: Span) -> Trace:
    return Trace(int.from_bytes(span.trace_id), int.from_bytes(span.span_id), sampled=True)


async def test_one_trace_leads_from_the_client_over_the_provider_to_the_subscriber(database: str) -> None:
    async with (
        collector() as collected,
        sandboxed() as (_, provider),
        subscriber([503]) as heard,
        running(database, provider, otlp_endpoint=collected.url) as relay,
    ):
        status, said = await relay.call(
            "POST",
            "/kling/v1/videos/text2video",
            json={"prompt": "a rabbit", "notify_hook": heard.url},
            headers={"traceparent": CLIENT},
        )
        assert status == 200, said
        task = said["data"]["task_id"]
        await relay.final(task)
        told = len(await relay.events(task))
        await eventually(lambda: len(heard.ids()) == told and len(heard.heard) == told + 1)
        kept = (await relay.task(task))["trace"]
        # the relay is stopped: everything was sent
    client = parse(CLIENT)
    assert client
    assert {int.from_bytes(span.trace_id) for span in collected.spans} == {client.trace}
    (order,) = collected.named("order")
    (submit,) = collected.named("submit")
    assert int.from_bytes(order.parent_span_id) == client.span
    assert kept == place(order).text
    assert submit.parent_span_id == order.span_id
    assert submit.kind == Span.SPAN_KIND_CLIENT
    assert about(order)["relay.task"] == about(submit)["relay.task"] == task
    assert about(submit)["relay.outcome"] == "accepted"
    callbacks = collected.named("callback")
    assert callbacks
    for span in callbacks:
        assert (span.parent_span_id, span.kind) == (order.span_id, Span.SPAN_KIND_SERVER)
        assert about(span)["relay.outcome"] in {"moved", "stale"}
        assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 5e9
    attempts = {place(span).text: span for span in collected.named("deliver")}
    assert len(attempts) == told + 1
    assert {each.headers["traceparent"] for each in heard.heard} == attempts.keys()
    failed = [span for span in attempts.values() if about(span)["http.response.status_code"] == 503]
    assert [span.status.message for span in failed] == ["status 503"]
    assert all(span.parent_span_id == order.span_id for span in attempts.values())
    assert collected.resources[0]["service.name"] == "kling-relay"


@pytest.mark.long
async def test_polls_of_the_provider_are_part_of_their_tasks_trace(database: str) -> None:
    async with (
        collector() as collected,
        sandboxed() as (_, provider),
        running(database, provider, otlp_endpoint=collected.url, sweep_after="0.1s") as relay,
    ):
        task = await relay.submit("a rabbit [lose][poll-html:1]")
        await relay.final(task)
        # the relay is stopped: everything was sent
    (order,) = collected.named("order")
    polls = collected.named("poll")
    assert {about(span)["relay.outcome"] for span in polls} == {"no answer", "answered"}
    assert all(span.status.message for span in polls if about(span)["relay.outcome"] == "no answer")
    for span in polls:
        assert (span.trace_id, span.parent_span_id) == (order.trace_id, order.span_id)
        assert span.kind == Span.SPAN_KIND_CLIENT
        assert about(span)["relay.task"] == task


async def test_without_a_collector_a_client_s_trace_is_handed_on_as_it_came(database: str) -> None:
    async with sandboxed() as (_, provider), subscriber() as heard, running(database, provider) as relay:
        await relay.subscribe(heard.url)
        order = {"prompt": "a rabbit"}
        _, said = await relay.call("POST", "/kling/v1/videos/text2video", json=order, headers={"traceparent": CLIENT})
        untraced = await relay.submit()
        for task in (said["data"]["task_id"], untraced):
            await relay.final(task)
        await eventually(lambda: {task_of(each.id) for each in heard.heard} == {said["data"]["task_id"], untraced})
        given = {task_of(each.id): each.headers.get("traceparent") for each in heard.heard}
        assert given == {said["data"]["task_id"]: CLIENT, untraced: None}
        assert (await relay.task(untraced))["trace"] is None


def task_of(webhook_id: str) -> str:
    from uuid import UUID

    return str(UUID(webhook_id.split("_")[1]))


@pytest.mark.long
async def test_a_collector_that_is_away_holds_nothing_up(database: str) -> None:
    async with (
        sandboxed() as (_, provider),
        subscriber() as heard,
        running(database, provider, otlp_endpoint="http://127.0.0.1:9") as relay,
    ):
        await relay.subscribe(heard.url)
        await relay.final(await relay.submit())
        await eventually(lambda: heard.heard)


async def test_a_span_of_somebody_else_s_trace_is_linked_and_a_fault_is_marked() -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    other = CLIENT.replace("4bf9", "aaaa")
    async with tracing(None, version="1", now=lambda: now, exporter=kept) as tracer:
        assert tracer
        tracer.record("callback", {"n": 1, "none": None}, parent=CLIENT, seconds=0.25, link=other, fault="NotFound")
        with pytest.raises(ValueError, match="broken"), tracer.span("work", {}, parent="nonsense"):
            raise ValueError("broken")
    callback, work = kept.get_finished_spans()
    assert callback.parent
    assert callback.links[0].context.trace_id == parse(other).trace  # type: ignore[union-attr]  # it can be read
    noon = int(now.timestamp()) * 10**9
    assert (callback.end_time, callback.start_time) == (noon, noon - 250_000_000)
    assert callback.attributes == {"n": 1}
    assert callback.status.description == "NotFound"
    assert work.parent is None
    assert work.status.description == "ValueError"


async def test_an_endpoint_without_the_extra_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(MissingExtraError, match=r"kling-relay\[tracing\]"):
        async with tracing("http://127.0.0.1:4318", version="1", now=lambda: datetime.now(UTC)):
            pass
    assert tracing_module.SERVICE == "kling-relay"
